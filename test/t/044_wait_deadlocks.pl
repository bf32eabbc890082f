# Who waits for an import, and has what somebody else waits for that the import waits for, gives up himself: a deadlock is never the
# import's, nor that of the third one. CALL ml_load() has nothing that others would wait for.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_server('main', 'movielens_ingest.defer_indexes = on', "movielens_ingest.retry_delay = '10ms'", 'log_lock_waits = on');
my $path = write_file('numbers.csv', numbers(100));
my $options = 'chunk_size => 10, min_chunks => 1, max_workers => 2, force => true';
my $waiting = "FROM pg_stat_activity WHERE backend_type = 'client backend' AND wait_event_type = 'Lock'";

sub sql { return $node->safe_psql('postgres', $_[0]) }

sql('CREATE TABLE t (id integer, name text); CREATE INDEX t_id ON t (id)');
add_gate($node, 't');
# A gate is a trigger, and a table with triggers keeps its indexes: this one waits in what checks a value.
sql(q(
	CREATE FUNCTION passes(text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN true; END$$;
	DROP TRIGGER gate ON t;
	CREATE DOMAIN held AS text CHECK (passes(VALUE));
	CREATE TABLE deferred (id integer, name held); CREATE INDEX deferred_id ON deferred (id)));

sub index_is_built
{
	my ($name) = @_;
	is(sql("SELECT indisvalid AND indisready FROM pg_index WHERE indexrelid = '$name'::regclass"), 't', "... $name is built");
	return;
}

sub all_in
{
	my ($id, $table) = @_;
	my $row = wait_import($node, $id);
	is($row->{status}, 'Completed', '... and the import completes') or diag($row->{error});
	is(sql("SELECT count(*), count(DISTINCT id) FROM $table"), '100|100', '... with all its rows');
	return;
}

# An import that the gate holds up.
sub held_import
{
	my $gate = close_gate($node);
	my $id = start_import($node, $path, 'deferred', $options);
	poll($node, "SELECT count(*) >= 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", 'the import is held up');
	return ($gate, $id);
}

# Sessions that wait: for the end of an import, and for the snapshots of others.
sub waiter
{
	my $session = in_session($node, $_[0]);
	poll($node, "SELECT count(*) = 1 $waiting AND query LIKE '%ml\\_wait%'", 'a session waits');
	return $session;
}

sub builder
{
	my $session = in_session($node, $_[0]);
	poll($node, "SELECT count(*) = 1 $waiting AND query LIKE '%CONCURRENTLY%'", 'another one builds an index');
	return $session;
}

# CREATE INDEX CONCURRENTLY and REINDEX CONCURRENTLY wait for the snapshots of others with a lock that a build waits for.
for my $case ([ 'CREATE INDEX CONCURRENTLY other ON deferred (name)', 'other' ], [ 'REINDEX INDEX CONCURRENTLY other', 'other' ])
{
	my ($command, $index) = @$case;
	sql('TRUNCATE deferred');
	my ($gate, $id) = held_import();
	my $waiter = waiter("SELECT status FROM ml_wait($id)");
	my $builder = builder($command);
	open_gate($gate);
	my ($row, $error) = $waiter->finish;
	like($error, qr/ERROR:  40P01: deadlock detected.*HINT:  The import goes on\..*ml_load/s, "$command: who waits gives up");
	is(($builder->finish)[1], '', '... and not who builds');
	all_in($id, 'deferred');
	index_is_built($_) for 'deferred_id', $index;
}

# Where no index was put off, only ANALYZE wants the table, for a moment: that ends by itself, and nobody gives up.
{
	sql("TRUNCATE deferred; DROP INDEX other; INSERT INTO deferred VALUES (0, 'a row')");
	my ($gate, $id) = held_import();
	my $waiter = waiter("SELECT status FROM ml_wait($id)");
	my $builder = builder('CREATE INDEX CONCURRENTLY other ON deferred (name)');
	open_gate($gate);
	is(join(' ', $waiter->finish), 'Completed ', 'ANALYZE wants the table for a moment: who waits does not give up');
	is(($builder->finish)[1], '', '... nor who builds');
	like(slurp_file($node->logfile), qr/could not analyze .*deferred.* after import $id: canceling statement due to lock timeout/, '... but ANALYZE');
	index_is_built('other');
}

# ml_load sleeps without a snapshot, whatever the default isolation is.
for my $isolation ('read committed', 'serializable')
{
	sql('TRUNCATE deferred; DROP INDEX IF EXISTS other');
	my $gate = close_gate($node);
	my $loader = $node->background_psql('postgres', on_error_stop => 0);
	$loader->query_safe("SET default_transaction_isolation = '$isolation'");
	$loader->query_until(qr/^$/, "CALL ml_load('$path', 'deferred', $options);\nSELECT 'loaded' AS done;\n");
	poll($node, "SELECT count(*) >= 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", 'the import is held up');
	my $builder = builder('CREATE INDEX CONCURRENTLY other ON deferred (name)');
	open_gate($gate);
	is(($builder->finish)[1], '', "ml_load under $isolation: who builds an index is not held up");
	$loader->query_until(qr/loaded/, "\n");
	$loader->quit;
	all_in(sql('SELECT max(id) FROM uploaded_files'), 'deferred');
	index_is_built($_) for 'deferred_id', 'other';
}

# Who has locked the table, and waits for an import into it.
{
	sql('TRUNCATE deferred; DROP INDEX other');
	my ($gate, $id) = held_import();
	my $waiter = waiter("BEGIN; LOCK TABLE deferred IN SHARE UPDATE EXCLUSIVE MODE; SELECT status FROM ml_wait($id)");
	open_gate($gate);
	like(($waiter->finish)[1], qr/ERROR:  40P01: deadlock detected/, 'who waits with a lock on the table gives up');
	all_in($id, 'deferred');
	index_is_built('deferred_id');
}

my $log = slurp_file($node->logfile);
unlike($log, qr/failed in attempt/, 'no build had to be tried again');
is(scalar(() = $log =~ /still waiting for .*\n.*\n?.*ml_wait/g), 0, 'a wait in slices does not fill the log');

# One who waits for an import in the queue waits for those before it.
$node->append_conf('postgresql.conf', "max_worker_processes = 1\nmax_logical_replication_workers = 0");
$node->restart;
{
	sql('TRUNCATE deferred; CREATE TABLE later (LIKE t)');
	my $gate = close_gate($node);
	my $id = start_import($node, $path, 'deferred', $options);
	poll($node, "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", 'the import is held up');
	my $queued = start_import($node, $path, 'later', $options);
	is(sql("SELECT status FROM uploaded_files WHERE id = $queued"), 'Queued', 'another import is queued');
	my $waiter = in_session($node, "SELECT status FROM ml_wait($queued)");
	poll($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'SELECT status FROM ml\\_wait($queued)' AND state = 'active'", 'a session waits for it');
	my $builder = builder('CREATE INDEX CONCURRENTLY other ON deferred (name)');
	open_gate($gate);
	like(($waiter->finish)[1], qr/ERROR:  40P01: deadlock detected/, 'who waits for a queued import gives up');
	is(($builder->finish)[1], '', '... and not who builds');
	all_in($id, 'deferred');
	all_in($queued, 'later');
}

done_testing();
