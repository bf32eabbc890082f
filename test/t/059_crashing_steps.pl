# What crashes the server besides chunks is counted too, and not tried for ever: planning, records that wait for others of
# their table, the build of an index and ANALYZE. All but the last make the import Failed after the third crash, until ml_resume; without statistics it is complete after the
# second. What ends in an orderly way is no crash.
# allow-log: terminated by signal 9
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_server('main', "shared_preload_libraries = 'movielens_ingest'", 'restart_after_crash = on', 'max_prepared_transactions = 5',
	"movielens_ingest.retry_delay = '10ms'", 'movielens_ingest.defer_indexes = on', 'autovacuum = off');
my $path = write_file('numbers.csv', numbers(100));
my $options = 'chunk_size => 10, min_chunks => 1, max_workers => 2, force => true';
my $folder = PostgreSQL::Test::Utils::tempdir('armed');
my $imports = 0;
my ($id, $log, $row);

sub sql { return $node->safe_psql('postgres', @_) }
sub arm { open(my $file, '>', "$folder/$_[0]") or die; close($file); return }
sub disarm { unlink("$folder/$_[0]") or die; return }

# While there is a file of that name one kills its process, the other waits. A file outlives a crash.
sql(qq(
	CREATE FUNCTION kills(what text) RETURNS boolean LANGUAGE plpgsql AS \$\$BEGIN
		IF (pg_stat_file('$folder/' || what, true)).size IS NOT NULL THEN
			EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', 'kill -KILL ' || pg_backend_pid());
			PERFORM pg_sleep(60);
		END IF;
		RETURN true;
	END\$\$;
	CREATE FUNCTION waits(what text) RETURNS boolean LANGUAGE plpgsql AS \$\$BEGIN
		WHILE (pg_stat_file('$folder/' || what, true)).size IS NOT NULL LOOP PERFORM pg_sleep(0.01); END LOOP;
		RETURN true;
	END\$\$;
	CREATE TABLE t (id integer CHECK (CASE WHEN id = 95 THEN waits('gate') ELSE true END), name text);
	CREATE INDEX t_id ON t (id);
	ALTER TABLE process_chunks ADD CONSTRAINT planned CHECK (kills('planning') AND waits('plan'))));

sub crashes
{
	my @found = slurp_file($node->logfile, $log) =~ /(all server processes terminated; reinitializing)/g;
	return scalar(@found);
}

# Where it crashes the server, the call may not be told that it has committed.
sub begin
{
	sql('TRUNCATE t');
	$log = -s $node->logfile;
	$node->psql('postgres', "SELECT ml_import('$path', 't', $options)");
	$imports++;
	return;
}

sub held { begin(); $id = sql('SELECT id FROM ml_progress'); return }

sub ends
{
	my ($expected, $name) = @_;
	poll($node, "SELECT count(*) = $imports AND bool_and(status NOT IN ('Queued', 'Processing')) FROM uploaded_files", "$name: the import ends");
	$id = sql('SELECT max(id) FROM uploaded_files');
	$row = json_row($node, "SELECT * FROM uploaded_files WHERE id = $id");
	is(join(' ', map { $_ // '-' } @$row{qw(status sqlstate success_count error)}), $expected, $name);
	poll($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%'", 'leader and workers end');
	return;
}

sub resumed
{
	is(sql("SELECT ml_resume($id)"), 't', '... it is resumed');
	ends('Completed - 100 -', '... and completes');
	is(sql("SELECT count(*), count(DISTINCT id), (SELECT bool_and(indisvalid) FROM pg_index WHERE indrelid = 't'::regclass) FROM t"), '100|100|t', '... with each row, and its index');
	return;
}

sub kill_leader
{
	my $position = -s $node->logfile;
	is(kill('KILL', sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader'")), 1, 'KILL for the leader');
	$node->wait_for_log(qr/all server processes terminated; reinitializing.*database system is ready to accept connections/s, $position);
	return;
}

# --- planning ---

arm('planning');
begin();
ends('Failed 57P02 0 the server crashed 3 times while the import was being planned', 'an import whose planning crashes the server');
is(crashes(), 3, '... three times');
$node->stop('immediate');
$node->start;
is(sql("SELECT status FROM uploaded_files WHERE id = $id"), 'Failed', '... is not tried again by itself');
disarm('planning');
resumed();
is(sql("SELECT plan ->> 'planning_crashes' FROM uploaded_files WHERE id = $id"), '0', '... and counts from 0 again');

# Shut down three times, and terminated.
arm('plan');
held();
for my $round (1 .. 3)
{
	poll($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader' AND wait_event = 'PgSleep'", 'the leader is at the plan');
	is(sql("SELECT plan ->> 'planning_crashes' FROM uploaded_files WHERE id = $id"), 1, "planning is going on, and counted, round $round");
	$node->restart;
}
poll($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader' AND wait_event = 'PgSleep'", 'the leader is at the plan');
my $locker = $node->background_psql('postgres');
$locker->query_safe("BEGIN; SELECT FROM uploaded_files WHERE id = $id FOR UPDATE");
is(sql("SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader'"), 't', 'a leader whose row somebody has locked ends when it is terminated');
$locker->query_safe('COMMIT');
$locker->quit;
is(sql("SELECT ml_resume($id)"), 't', '... and its import is resumed');
disarm('plan');
ends('Completed - 100 -', 'orderly ends are no crashes');
is(sql("SELECT plan ->> 'planning_crashes' FROM uploaded_files WHERE id = $id"), '0', '... and none is counted');

# --- the build of an index ---

# It waits for whoever has the table locked, also after a crash.
sub at_index
{
	my ($crashes) = @_;
	poll($node, "SELECT count(*) = 1 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND relation = 't'::regclass AND backend_type = 'movielens_ingest leader'",
		'the leader waits to build the index');
	is(sql('SELECT crashes FROM _deferred_indexes'), $crashes, "... which is counted: $crashes");
	return;
}

arm('gate');
held();
poll($node, "SELECT count(*) = 9 FROM process_chunks WHERE uploaded_file_id = $id AND status = 'Completed'", 'all chunks but the last are in');
sql("BEGIN; SELECT FROM t LIMIT 1; PREPARE TRANSACTION 'reader'");
disarm('gate');
at_index(1);
$node->restart;
at_index(1);
for my $crashes (1 .. 3)
{
	at_index($crashes);
	kill_leader();
}
ends('Failed 57P02 100 could not build index public.t_id: the server crashed several times while it was being built', 'an import whose index crashes the server');
is(sql("SELECT indisready FROM pg_index WHERE indexrelid = 't_id'::regclass"), 'f', '... which is not built');
$node->stop('immediate');
$node->start;
is(sql("SELECT status FROM uploaded_files WHERE id = $id"), 'Failed', '... and not tried again by itself');
sql("ROLLBACK PREPARED 'reader'");
resumed();

# --- the build by who ends it in the leader's place ---

sub at_index_again
{
	my ($name) = @_;
	poll($node, "SELECT count(*) = 1 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND relation = 't_id'::regclass AND backend_type = 'movielens_ingest leader'",
		'who ends a cancelled import waits to build its index');
	is(sql('SELECT crashes FROM _deferred_indexes'), 2, $name);
	return;
}

arm('gate');
held();
poll($node, "SELECT count(*) = 9 FROM process_chunks WHERE uploaded_file_id = $id AND status = 'Completed'", 'all chunks but the last are in');
sql("BEGIN; SELECT FROM t LIMIT 1; PREPARE TRANSACTION 'reader'");
disarm('gate');
at_index(1);
my $stopped = sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader'");
is(kill('STOP', $stopped), 1, 'STOP for the leader');
is(sql("SELECT ml_cancel($id)"), 't', 'its import is cancelled');
kill_leader();
at_index_again('after a crash of the server it is built by another process, which counts too');
for my $round (1 .. 2)
{
	$node->restart;
	at_index_again("... and is no crash when the server is shut down, round $round");
}
sql("ROLLBACK PREPARED 'reader'");
ends('Completed - 100 -', 'all of it is in, and its index is built');
is(sql("SELECT indisvalid FROM pg_index WHERE indexrelid = 't_id'::regclass"), 't', '... valid');

# --- records that wait for others of their table ---

sql(q(CREATE TABLE u (id integer PRIMARY KEY, parent integer REFERENCES u);
	CREATE FUNCTION in_round() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF NEW.id = 1 AND EXISTS (SELECT FROM u WHERE id = 2) THEN PERFORM kills('round'); END IF;
		RETURN NEW;
	END$$;
	CREATE TRIGGER in_round BEFORE INSERT ON u FOR EACH ROW EXECUTE FUNCTION in_round()));
my $children = write_file('children.csv', "id,parent\n1,2\n2,\n");
arm('round');
$log = -s $node->logfile;
$node->psql('postgres', "SELECT ml_import('$children', 'u', chunk_size => 1, min_chunks => 1, max_workers => 1)");
$imports++;
ends('Failed 57P02 1 the server crashed 3 times while records that wait for others of their table were being loaded', 'an import whose pending records crash the server');
is(crashes(), 3, '... three times');
disarm('round');
is(sql("SELECT ml_resume($id)"), 't', '... it is resumed');
ends('Completed - 2 -', '... and completes');
is(sql("SELECT plan ->> 'pending_crashes' FROM uploaded_files WHERE id = $id"), '0', '... and counts from 0 again');

# --- ANALYZE ---

sql(q(CREATE FUNCTION kills_analyze(id integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS $$BEGIN RETURN CASE WHEN public.kills('analyze') THEN id END; END$$;
	CREATE STATISTICS s ON (kills_analyze(id)) FROM t; ALTER FUNCTION kills_analyze VOLATILE));
arm('analyze');
begin();
ends('Completed - 100 -', 'an import whose ANALYZE crashes the server completes without it');
is(crashes(), 2, '... after the second crash');
like(slurp_file($node->logfile, $log), qr/WARNING:  could not analyze public\.t after import $id: the server crashed 2 times while it was being analyzed/, '... and the log says so');
disarm('analyze');

$node->stop;
done_testing();
