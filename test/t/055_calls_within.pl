# What user code of an import is told when it calls the extension itself, in the leader or in a worker: of its own import
# that it runs, and that nobody can wait for it there; it can cancel it; other imports begin when the chunk commits.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use Test::More;

my $node = start_server('main');
my $path = write_file('numbers.csv', numbers(60));
my $other = write_file('other.csv', numbers(7));
my $options = 'chunk_size => 10, min_chunks => 1, force => true';

sub query { return $node->safe_psql('postgres', @_) }

# The first record of each chunk calls, and notes what it was told, or the SQLSTATE, and where.
query(q(
	CREATE TABLE said (what text, place text); CREATE TABLE plain (id integer, name text); CREATE TABLE switch (call text);
	CREATE SEQUENCE numbers;
	CREATE FUNCTION call() RETURNS trigger LANGUAGE plpgsql AS $$
	DECLARE
		answer text;
		own bigint := (SELECT max(id) FROM uploaded_files WHERE target = 'public.t');
		place text := (SELECT backend_type FROM pg_stat_activity WHERE pid = pg_backend_pid());
	BEGIN
		IF NEW.id % 10 = 1 THEN
			BEGIN
				EXECUTE replace((SELECT call FROM switch), 'OWN', own::text) INTO answer;
			EXCEPTION WHEN query_canceled THEN RAISE;
				WHEN others THEN answer := SQLSTATE || ' ' || SQLERRM;
			END;
			INSERT INTO said VALUES (regexp_replace(answer, format('\m%s\M', own), 'OWN'), place);
		END IF;
		RETURN NEW;
	END$$));

# The leader waits until the worker has a chunk, so that both call. Returns the import's row.
sub import_that_calls
{
	my ($call, $workers) = @_;
	query('DROP TABLE IF EXISTS t; CREATE TABLE t (id integer, name text); TRUNCATE said, plain, switch; CREATE TRIGGER call BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION call()');
	query("INSERT INTO switch VALUES (\$call\$$call\$call\$)");
	add_gate($node, 't', 'NEW.id = 1 OR NEW.id = 11');
	query('DROP TRIGGER gate ON t; CREATE TRIGGER a_gate BEFORE INSERT ON t FOR EACH ROW WHEN (NEW.id = 1 OR NEW.id = 11) EXECUTE FUNCTION gate()');
	my $gate = close_gate($node);
	my $id = start_import($node, $path, 't', "$options, max_workers => $workers");
	wait_at_gate($node, $workers);
	open_gate($gate);
	return wait_import($node, $id);
}

sub told { return query(q(SELECT string_agg(DISTINCT what, ', ') || ' ' || count(DISTINCT place) || ' ' || count(*) FROM said)) }

for my $case (
	[ 'ml_resume', 'SELECT ml_resume(OWN)', 'false' ],
	[ 'ml_resume, after the locks of the process were released', 'SELECT ml_resume(OWN) FROM (SELECT pg_advisory_unlock_all() OFFSET 0) u', 'false' ],
	[ 'ml_wait', 'SELECT (ml_wait(OWN)).status', '55000 cannot wait for import OWN in a process that loads it' ],
	[ 'ml_wait with a timeout', "SELECT (ml_wait(OWN, '1 ms')).status", '55000 cannot wait for import OWN in a process that loads it' ],
	[ 'ml_validate', "SELECT count(*) FROM ml_validate('$other', 'plain')", '0' ],
	[ 'CALL ml_load', "CALL ml_load('$other', 'plain')", '25001 ml_load() cannot run inside a transaction block' ])
{
	my ($name, $call, $told) = @$case;
	for my $workers (1, 2)
	{
		my $row = import_that_calls($call, $workers);
		is("$row->{status} $row->{success_count}", 'Completed 60', "user code calls $name, max_workers => $workers: the import completes");
		is(told(), "$told $workers 6", '... and what it was told');
		processes_gone($node);
		ledger_holds($node, $row->{id}, 't', '... the counts are right');
	}
}

for my $workers (1, 2)
{
	my $row = import_that_calls('SELECT ml_cancel(OWN)', $workers);
	is("$row->{status} $row->{sqlstate}", 'Cancelled 57014', "user code cancels its own import, max_workers => $workers: Cancelled");
	processes_gone($node);
	query('UPDATE switch SET call = $$SELECT 1$$');
	is(query("SELECT ml_resume($row->{id})"), 't', '... resumed');
	is(wait_import($node, $row->{id})->{success_count}, 60, '... all its records are in');
	processes_gone($node);
}

# Each chunk commits an import of its own.
for my $workers (1, 2)
{
	my $row = import_that_calls("SELECT ml_import('$other', 'plain', force => true) IS NOT NULL", $workers);
	is("$row->{status} $row->{success_count}", 'Completed 60', "user code imports, max_workers => $workers: the import completes");
	is(told(), "true $workers 6", '... and what it was told');
	is(query("SELECT string_agg(DISTINCT (ml_wait(id)).status, ' ') || ' ' || count(*) FROM uploaded_files WHERE id > $row->{id}"), 'Completed 6', '... so do its imports');
	is(query('SELECT count(*) FROM plain'), 42, '... with their rows');
	processes_gone($node);
}
$node->stop;

# The only slot is the leader's: what it imports waits until it has ended.
$node = start_server('small', 'max_worker_processes = 1', 'max_logical_replication_workers = 0');
query(qq(CREATE TABLE t (id integer, name text); CREATE TABLE plain (id integer, name text);
	CREATE FUNCTION call() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM ml_import(''$other'', ''plain''); RETURN NEW; END';
	CREATE TRIGGER call BEFORE INSERT ON t FOR EACH ROW WHEN (NEW.id = 1) EXECUTE FUNCTION call()));
my $id = start_import($node, $path, 't', $options);
is(wait_import($node, $id)->{status}, 'Completed', 'user code imports where no slot is free: the import completes');
is(query("SELECT status, success_count FROM ml_wait($id + 1)"), 'Completed|7', '... and then the other one');
$node->stop;
done_testing();
