# ml_cancel() ends an import whatever its user code does with the cancel of a statement: catches it and goes on, or for ever,
# or makes another error of it; in the leader, in workers, in triggers, CHECKs, and in ANALYZE. The request stands in the
# ledger: it outlives the leader and the server, until ml_resume() overrules it, and no transaction waits for another.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use Test::More;

my $node = start_server('main', "movielens_ingest.retry_delay = '30s'");
my $path = write_file('numbers.csv', numbers(100));
my $options = 'chunk_size => 10, min_chunks => 1, force => true';
my ($id, $gate);

sub query { return $node->safe_psql('postgres', @_) }

# What the functions do with a cancel.
my %body = (
	'goes on' => 'BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN NULL; END',
	'goes on for ever' => 'LOOP BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP',
	'raises an error of the record' => q(BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN RAISE 'no cancel'; END),
	'raises an error of the import' => q(BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN RAISE 'no cancel' USING ERRCODE = '58P01'; END),
	'raises a transient error' => q(BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN RAISE 'no cancel' USING ERRCODE = '55P03'; END));

# A table of which the records from 21 on are handled by such a function.
sub new_table
{
	my ($where, $what) = @_;
	query(qq(
		DROP TABLE IF EXISTS t CASCADE; CREATE TABLE t (id integer, name text);
		CREATE OR REPLACE FUNCTION handle(number integer) RETURNS boolean LANGUAGE plpgsql AS
		\$\$BEGIN IF number > 20 THEN $body{$what}; END IF; RETURN true; END\$\$;
		CREATE OR REPLACE FUNCTION handle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM handle(NEW.id); RETURN NEW; END'));
	query($where eq 'trigger' ? 'CREATE TRIGGER handle BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION handle()' : 'ALTER TABLE t ADD CHECK (handle(id))');
	return;
}

# Until so many processes are in such a function.
sub all_sleep
{
	my ($count) = @_;
	poll($node, "SELECT count(*) = $count FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%' AND wait_event = 'PgSleep'", "$count processes are in the function");
	return;
}

sub started
{
	my ($where, $what, $workers) = @_;
	new_table($where, $what);
	$id = start_import($node, $path, 't', "$options, max_workers => $workers");
	all_sleep($workers);
	return;
}

# It has ended Cancelled with the first 20 rows in; without the function it completes when it is resumed.
sub cancelled
{
	my ($name) = @_;
	my $end = wait_import($node, $id);
	is("$end->{status} $end->{sqlstate} $end->{success_count} $end->{error_count}", 'Cancelled 57014 20 0', "$name: Cancelled, 20 rows are in");
	processes_gone($node);
	is(query('SELECT count(*) FROM t'), 20, '... and in the table');
	is(query("SELECT string_agg(DISTINCT status, ' ') || ' ' || max(crashes) FROM process_chunks WHERE uploaded_file_id = $id"), 'Completed Pending 0',
		'... the other chunks are pending');
	resumed();
	return;
}

sub resumed
{
	query('CREATE OR REPLACE FUNCTION handle(number integer) RETURNS boolean LANGUAGE sql AS $$SELECT true$$');
	is(query("SELECT ml_resume($id)"), 't', '... resumed');
	my $end = wait_import($node, $id);
	is("$end->{status} $end->{success_count}", 'Completed 100', '... it completes');
	ledger_holds($node, $id, 't', '... with its counts');
	processes_gone($node);
	is(query('SELECT count(*) FROM _cancel_requests'), 0, '... and nothing is left of the request');
	return;
}

for my $where ('trigger', 'CHECK')
{
	for my $what (sort keys %body)
	{
		for my $workers ($what eq 'goes on for ever' ? (1, 3) : 2)
		{
			next if $where eq 'CHECK' && $what ne 'goes on' && $what ne 'raises an error of the record';
			started($where, $what, $workers);
			is(query("SELECT ml_cancel($id)"), 't', "a $where catches a cancel and $what, max_workers => $workers: cancelled");
			cancelled("a $where $what");
		}
	}
}

# --- while it is analyzed, all is in ---

query(q(
	DROP TABLE t; CREATE TABLE t (id integer, name text);
	CREATE FUNCTION sleepless(integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$
	BEGIN
		IF (SELECT query FROM pg_catalog.pg_stat_activity WHERE pid = pg_backend_pid()) LIKE '%analyzing%' THEN
			LOOP BEGIN PERFORM pg_catalog.pg_sleep(600); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP;
		END IF;
		RETURN $1;
	END$$;
	CREATE INDEX ON t (sleepless(id))));
$id = start_import($node, $path, 't', "$options, max_workers => 2");
all_sleep(1);
is(query("SELECT ml_cancel($id)"), 't', 'ANALYZE runs a function that catches cancels: cancelled');
my $end = wait_import($node, $id);
is("$end->{status} $end->{success_count}", 'Completed 100', '... the import is complete all the same');
processes_gone($node);

# --- transactions ---

started('trigger', 'goes on', 2);
my $canceller = $node->background_psql('postgres');
is($canceller->query_safe("BEGIN; SELECT ml_cancel($id)"), 't', 'a cancel in a transaction that stays open');
is(wait_import($node, $id)->{status}, 'Cancelled', '... ends the import at once');
processes_gone($node);
# A worker waits at the gate, and the leader for the worker.
query(q(CREATE OR REPLACE FUNCTION handle(number integer) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		IF (SELECT backend_type FROM pg_stat_activity WHERE pid = pg_backend_pid()) = 'movielens_ingest worker' THEN
			PERFORM pg_advisory_xact_lock_shared(1);
		ELSE
			WHILE (SELECT count(*) = 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted) LOOP PERFORM pg_sleep(0.01); END LOOP;
		END IF;
		RETURN true;
	END$$));
$gate = close_gate($node);
is(query("SELECT ml_resume($id)"), 't', '... it is resumed meanwhile');
wait_at_gate($node, 1);
$canceller->query_safe('COMMIT');
is(query("SELECT count(*) FROM _cancel_requests WHERE uploaded_file_id = $id"), 1, '... then the transaction commits');
# The leader writes the counts, and looks for requests, once a second.
for (1, 2)
{
	my $now = query('SELECT clock_timestamp()');
	poll($node, "SELECT end_time > '$now' FROM uploaded_files WHERE id = $id", 'the leader looks around');
}
is(query("SELECT status FROM ml_wait($id, '0')"), 'Processing', '... which does not end what was resumed since');
open_gate($gate);
is(wait_import($node, $id)->{status}, 'Completed', '... that completes');
processes_gone($node);
is(query('SELECT count(*) FROM _cancel_requests'), 0, '... and nothing is left of the request');

started('trigger', 'goes on', 2);
is($canceller->query_safe("BEGIN; SELECT ml_cancel($id); ROLLBACK"), 't', 'a cancel that is rolled back has been obeyed already');
cancelled('rolled back');

started('trigger', 'goes on for ever', 2);
is($canceller->query_safe("BEGIN; SELECT ml_cancel($id)"), 't', 'two cancels at once');
is(query("SELECT ml_cancel($id)"), 't', '... the second does not wait for the first');
$canceller->query_safe('COMMIT');
cancelled('two cancels');
$canceller->quit;

started('trigger', 'goes on', 2);
fails_like($node, "BEGIN READ ONLY; SELECT ml_cancel($id)", '25006', qr/cannot execute ml_cancel\(\) in a read-only transaction/, 'a read-only transaction cancels nothing');
is(query("SELECT status FROM uploaded_files WHERE id = $id"), 'Processing', '... the import goes on');

# --- the leader is terminated before it has obeyed ---

query("SELECT ml_cancel($id)");
wait_import($node, $id);
processes_gone($node);
for my $workers (1, 2)
{
	started('trigger', 'goes on for ever', $workers);
	my $both = query("SELECT ml_cancel($id); SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader'");
	is($both, "t\n1", "cancelled, and the leader terminated, max_workers => $workers");
	cancelled('terminated for ever');
}

# --- the server crashes before it has been obeyed ---

started('trigger', 'goes on for ever', 2);
query("SELECT ml_cancel($id)");
$node->stop('immediate');
$node->start;
is(query("SELECT phase FROM ml_progress WHERE id = $id"), 'interrupted', 'cancelled, and the server crashes: nothing goes on');
resumed();

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'movielens_ingest'");
$node->restart;
started('trigger', 'goes on for ever', 2);
query("SELECT ml_cancel($id)");
$node->stop('immediate');
$node->start;
poll($node, "SELECT status <> 'Processing' FROM uploaded_files WHERE id = $id", 'the import ends');
is(query("SELECT status, success_count FROM uploaded_files WHERE id = $id"), 'Cancelled|20', '... with the library preloaded it ends, and does not go on');
poll($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest leader'", 'the scout ends');
is(query('SELECT count(*) FROM t'), 20, '... with the rows that were in');
is(query('SELECT count(*) FROM _cancel_requests'), 0, '... and nothing is left of the request');

$node->stop;
done_testing();
