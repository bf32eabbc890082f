# In shared_preload_libraries the launcher goes on with interrupted imports by itself: in every database that has the
# extension, after an immediate stop and after a crash, also with more imports than slots; without it nothing is resumed
# by itself. A chunk that crashes the server each time is given up after three crashes, and the others are loaded; a chunk
# that restarts have interrupted three times is not.
# allow-log: terminated by signal 9
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use Test::More;

my $node = start_server('main', "shared_preload_libraries = 'movielens_ingest'", 'restart_after_crash = on',
	"movielens_ingest.retry_delay = '10ms'");
my $path = write_file('numbers.csv', numbers(100));
my $options = 'chunk_size => 10, min_chunks => 1, force => true';
my @databases = ('postgres', 'other');
$node->safe_psql('postgres', "CREATE DATABASE $_") for 'other', 'plain';
$node->safe_psql('other', 'CREATE SCHEMA ledger; CREATE EXTENSION movielens_ingest SCHEMA ledger; ALTER DATABASE other SET search_path = public, ledger');

# While there is a row in closed, records 45 and 55 wait: another gate than that of the other tests, which a restart opens.
# Two loaders stop there: chunks 1 to 4 are in then, 5 and 6 are being loaded.
for my $database (@databases)
{
	$node->safe_psql($database, qq(
		CREATE TABLE t (id integer, name text); CREATE TABLE copied (LIKE t); COPY copied FROM '$path' (FORMAT csv, HEADER);
		CREATE TABLE closed (); INSERT INTO closed DEFAULT VALUES;
		CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS \$\$BEGIN
			WHILE EXISTS (SELECT FROM public.closed) LOOP PERFORM pg_sleep(0.01); END LOOP; RETURN NEW; END\$\$;
		CREATE TRIGGER gate BEFORE INSERT ON t FOR EACH ROW WHEN (NEW.id IN (45, 55)) EXECUTE FUNCTION gate()));
}

sub close_all { $node->safe_psql($_, 'DELETE FROM closed; INSERT INTO closed DEFAULT VALUES; TRUNCATE t') for @databases; return }
sub open_all { $node->safe_psql($_, 'DELETE FROM closed') for @databases; return }

sub import_into
{
	my ($database, $table, $max_workers, @role) = @_;
	my $id = $node->safe_psql($database, "SELECT ml_import('$path', '$table', $options, max_workers => @{[ $max_workers // 2 ]})",
		extra_params => \@role);
	note "import $id in $database";
	return $id;
}

# Until so many processes wait at the gate.
sub at_gate
{
	my ($count) = @_;
	poll($node, "SELECT count(*) = $count FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%' AND wait_event = 'PgSleep'",
		"$count processes wait at the gate");
	return;
}

# An import that nobody has resumed by a call.
sub completes
{
	my ($name, $database, $id, $table) = @_;
	$table //= 't';
	poll($node, "SELECT status NOT IN ('Queued', 'Processing') FROM uploaded_files WHERE id = $id", "$name: the import ends", $database);
	is($node->safe_psql($database, "SELECT status, row_count, success_count, error_count, skipped_count, unprocessed_count,
		(SELECT sum(success_count) FROM process_chunks WHERE uploaded_file_id = f.id) FROM uploaded_files f WHERE id = $id"),
		'Completed|100|100|0|0|0|100', "$name: it completes");
	is($node->safe_psql($database, "(TABLE $table EXCEPT ALL TABLE copied) UNION ALL (TABLE copied EXCEPT ALL TABLE $table)"), '',
		'... and the table is as after COPY');
	return;
}

# The launcher is always there; scouts look into each database, and end.
sub scouts_gone
{
	poll($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%' AND backend_type <> 'movielens_ingest launcher'",
		'processes of imports end');
	return;
}

# Until the server has restarted its processes.
sub crashed
{
	my ($log) = @_;
	$node->wait_for_log(qr/all server processes terminated; reinitializing.*database system is ready to accept connections/s, $log);
	return;
}

scouts_gone();
is($node->safe_psql('postgres', "SELECT backend_type FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%'"),
	'movielens_ingest launcher', 'a launcher runs, and nothing else while there is nothing to do');

# --- an immediate stop ---

my %id = map { $_ => import_into($_, 't') } @databases;
at_gate(4);
my $log = -s $node->logfile;
$node->stop('immediate');
$node->start;
at_gate(4);
is($node->safe_psql($_, 'SELECT count(*) FROM t'), 40, "$_: what had been committed is in after an immediate stop") for @databases;
is($node->safe_psql($_, "SELECT string_agg(chunk_number || ' ' || crashes, ', ' ORDER BY chunk_number) FROM process_chunks
	WHERE uploaded_file_id = $id{$_} AND crashes > 0"), '5 2, 6 2', '... its chunks have been begun twice') for @databases;
is($node->safe_psql($_, "SELECT phase, resume IS NULL FROM ml_progress WHERE id = $id{$_}"), 'loading|t', '... it goes on') for @databases;
open_all();
completes("$_: after an immediate stop", $_, $id{$_}) for @databases;
like(PostgreSQL::Test::Utils::slurp_file($node->logfile, $log), qr/import $id{$_} was interrupted and goes on/, '... and the log says so') for @databases;
is($node->safe_psql($_, "SELECT count(*) FROM process_chunks WHERE uploaded_file_id = $id{$_} AND crashes > 0"), '2', '... whose crash stays in the ledger') for @databases;
scouts_gone();

# --- a worker is killed ---

close_all();
$node->safe_psql('other', 'CREATE ROLE ann LOGIN; GRANT pg_read_server_files TO ann; GRANT USAGE ON SCHEMA ledger TO ann;
	GRANT INSERT ON t TO ann; GRANT SELECT ON closed TO ann');
%id = (postgres => import_into('postgres', 't'), other => import_into('other', 't', 2, '-U', 'ann'));
at_gate(4);
my $worker = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'movielens_ingest worker' AND datname = 'other'");
$log = -s $node->logfile;
is(kill('KILL', $worker), 1, 'KILL for a worker');
crashed($log);
at_gate(4);
poll($node, "SELECT string_agg(DISTINCT datname, ' ') = 'other' AND count(*) = 2 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND usename = 'ann'",
	'after a crash an import goes on as the role that started it');
open_all();
completes("$_: after a crash", $_, $id{$_}) for @databases;
scouts_gone();

# --- restarts are no crashes ---

close_all();
%id = map { $_ => import_into($_, 't') } @databases;
for my $round (1 .. 3)
{
	at_gate(4);
	$node->restart;
}
at_gate(4);
is($node->safe_psql($_, "SELECT string_agg(chunk_number || ' ' || crashes, ', ' ORDER BY chunk_number) FROM process_chunks
	WHERE uploaded_file_id = $id{$_} AND crashes > 0"), '5 1, 6 1', "$_: three fast restarts in the middle of a chunk are not counted as crashes") for @databases;
open_all();
completes("$_: after fast restarts", $_, $id{$_}) for @databases;
scouts_gone();

# --- more imports than slots ---

close_all();
$node->safe_psql('postgres', "CREATE TABLE t$_ (LIKE t); CREATE TRIGGER gate BEFORE INSERT ON t$_ FOR EACH ROW WHEN (NEW.id = 45) EXECUTE FUNCTION gate()") for 1 .. 6;
my @many = map { import_into('postgres', "t$_", 1) } 1 .. 6;
my $other = import_into('other', 't', 1);
at_gate(7);
$node->append_conf('postgresql.conf', 'max_worker_processes = 4'); # two of them are launchers
$node->stop('immediate');
$node->start;
at_gate(2);
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader'"), 2, 'two imports for two slots go on');
open_all();
completes("import $_ of six", 'postgres', $many[ $_ - 1 ], "t$_") for 1 .. 6;
completes('other: import beside six', 'other', $other);
scouts_gone();
$node->append_conf('postgresql.conf', 'max_worker_processes = 16');
$node->restart;

# --- a chunk that crashes the server each time ---

# Chunk 4 of c does it: twice while chunk 5 of c and chunk 5 of d, another import, are being loaded. These three are suspects
# then, of which one is loaded at a time: chunk 4 waits a while for another one before it crashes the server a third time,
# and so does chunk 5 of d for chunk 4.
close_all();
$node->safe_psql('postgres', q(
	CREATE TABLE c (LIKE t); CREATE TABLE d (LIKE t); CREATE TABLE armed ();
	CREATE FUNCTION crashes(name text, number integer) RETURNS integer LANGUAGE sql
		AS $$SELECT crashes FROM process_chunks JOIN uploaded_files f ON f.id = uploaded_file_id WHERE target = name AND chunk_number = number$$;
	CREATE FUNCTION crash() RETURNS trigger LANGUAGE plpgsql AS $$DECLARE third boolean := crashes('public.c', 4) = 3; BEGIN
		WHILE NOT EXISTS (SELECT FROM armed) LOOP PERFORM pg_sleep(0.01); END LOOP;
		FOR i IN 1 .. CASE WHEN third THEN 20 ELSE 600 END LOOP
			PERFORM pg_sleep(0.1), pg_stat_clear_snapshot();
			EXIT WHEN (SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND pid <> pg_backend_pid()) = CASE WHEN third THEN 1 ELSE 2 END;
		END LOOP;
		EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', 'kill -KILL ' || pg_backend_pid());
		RETURN NEW;
	END$$;
	CREATE FUNCTION beside() RETURNS trigger LANGUAGE plpgsql AS $$DECLARE third boolean := crashes('public.d', 5) = 3; BEGIN
		FOR i IN 1 .. CASE WHEN third THEN 20 ELSE 600 END LOOP
			PERFORM pg_sleep(0.1);
		END LOOP;
		RETURN NEW;
	END$$;
	CREATE TRIGGER crash BEFORE INSERT ON c FOR EACH ROW WHEN (NEW.id = 35) EXECUTE FUNCTION crash();
	CREATE TRIGGER gate BEFORE INSERT ON c FOR EACH ROW WHEN (NEW.id = 45) EXECUTE FUNCTION gate();
	CREATE TRIGGER beside BEFORE INSERT ON d FOR EACH ROW WHEN (NEW.id = 45) EXECUTE FUNCTION beside()));
$log = -s $node->logfile;
my ($id, $innocent) = map { import_into('postgres', $_) } 'c', 'd';
$node->psql('postgres', 'INSERT INTO armed DEFAULT VALUES'); # may not be told that it has committed
poll($node, "SELECT count(*) = 1 FROM process_chunks WHERE uploaded_file_id = $id AND status = 'Failed'", 'a chunk is given up');
open_all();
poll($node, "SELECT status NOT IN ('Queued', 'Processing') FROM uploaded_files WHERE id = $id", 'the import ends');
my @crashes = PostgreSQL::Test::Utils::slurp_file($node->logfile, $log) =~ /(all server processes terminated; reinitializing)/g;
is(scalar(@crashes), 3, 'a chunk crashes the server three times');
my $row = json_row($node, "SELECT * FROM uploaded_files WHERE id = $id");
is("$row->{status} $row->{sqlstate} $row->{success_count} $row->{unprocessed_count}", 'Failed 57P02 90 10', '... then its import has failed, with all other chunks loaded');
sub blamed
{
	return join(', ', map { "$_->{chunk_number} $_->{status} $_->{crashes}" } grep { $_->{status} ne 'Completed' || $_->{crashes} > 0 } chunk_list($node, $_[0]));
}
is(blamed($id), '4 Failed 3, 5 Completed 2', '... also the one that was beside it in two of them');
my $chunk = (chunk_list($node, $id))[3];
is("$chunk->{sqlstate} $chunk->{errors}", '57P02 the server crashed 3 times while the chunk was being loaded', '... the chunk says why');
is($node->safe_psql('postgres', 'TABLE copied EXCEPT ALL TABLE c ORDER BY id'), join("\n", map { "$_|name $_" } 31 .. 40), '... and its rows only are missing');
ledger_holds($node, $id, 'c', '... as the ledger says');
completes('an import beside it', 'postgres', $innocent, 'd');
is(blamed($innocent), '5 Completed 2', '... whose chunk was beside it in two crashes');
scouts_gone();
$node->stop('immediate');
$node->start;
scouts_gone();
is($node->safe_psql('postgres', "SELECT status FROM uploaded_files WHERE id = $id"), 'Failed', '... it is not tried again by itself');
$node->safe_psql('postgres', 'DROP TRIGGER crash ON c');
is($node->safe_psql('postgres', "SELECT ml_resume($id)"), 't', 'once the chunk does no harm, ml_resume');
completes('resumed', 'postgres', $id, 'c');
scouts_gone();

# --- without the library preloaded ---

close_all();
%id = map { $_ => import_into($_, 't') } @databases;
at_gate(4);
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%'"), 0, 'not preloaded: no launcher');
open_all();
# Another import, which runs from its beginning to its end, does not change that.
$node->safe_psql($_, 'CREATE TABLE u (LIKE t)') for @databases;
is(json_row($node, "SELECT * FROM ml_wait(@{[ import_into($_, 'u') ]})", $_)->{status}, 'Completed', "$_: another import completes") for @databases;
processes_gone($node);
for my $database (@databases)
{
	my $in = $database eq 'other' ? 'ledger' : 'public';
	is($node->safe_psql($database, "SELECT status, phase, resume, chunks_done, (SELECT count(*) FROM t) FROM ml_progress JOIN uploaded_files USING (id)"),
		"Processing|interrupted|SELECT $in.ml_resume($id{$database})|4|40", "$database: the interrupted import is where it was");
	my $resume = $node->safe_psql($database, 'SELECT resume FROM ml_progress');
	is($node->safe_psql($database, $resume), 't', '... and can be resumed as ml_progress says');
	completes("$database: resumed", $database, $id{$database});
}

$node->stop;
done_testing();
