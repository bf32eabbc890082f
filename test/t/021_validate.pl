# The processes of ml_validate(): workers help, and the result is the same when there are none, when they are terminated or
# cancelled in the middle of a chunk, and when somebody waits for a lock on the table. When the session is cancelled or
# terminated, or its time is up, they go away. Many errors take no memory that grows with them.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_server('main', "movielens_ingest.chunk_size = 10", "movielens_ingest.min_chunks = 1");

# Every tenth record is bad. The session and two workers stop at the gate, in the first record of a chunk.
my $bytes = "id,name\n" . join('', map { ($_ % 10 == 5 ? 'bad' : $_) . ",name $_\n" } 1 .. 300);
my $path = write_file('numbers.csv', $bytes);
$node->safe_psql('postgres', q(
	CREATE FUNCTION pass(id integer) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		IF id % 10 = 1 THEN
			PERFORM pg_advisory_xact_lock_shared(1);
		END IF;
		RETURN true;
	END$$;
	CREATE TABLE t (id integer CHECK (pass(id)), name text)));
my $refused = 'SELECT count(*), count(DISTINCT row_number), sum(row_number), min(line_number), max(byte_offset)';
my $call = "$refused FROM ml_validate('$path', 't', max_workers => 3)";
my $expected = $node->safe_psql('postgres', "$refused FROM ml_validate('$path', 't', max_workers => 1)");
like($expected, qr/^30\|30\|4500\|6\|/, 'a session alone finds the bad records');
is($node->safe_psql('postgres', $call), $expected, '... and with workers the same');

my $workers = "FROM pg_stat_activity WHERE backend_type = 'movielens_ingest worker'";
my $sessions = "FROM pg_stat_activity WHERE backend_type = 'client backend' AND query LIKE '%ml_validate(%' AND pid <> pg_backend_pid()";

# Starts a validation and lets its three processes come to the gate.
sub held_validation
{
	my $gate = close_gate($node);
	my $session = in_session($node, $call);
	wait_at_gate($node, 3);
	return ($gate, $session);
}

my ($gate, $session) = held_validation();
is($node->safe_psql('postgres', "SELECT count(*), count(*) FILTER (WHERE leader_pid = (SELECT pid $sessions)),
	count(*) FILTER (WHERE query LIKE 'movielens_ingest: validating chunk % of file %') $workers"), '2|2|2', 'two workers are seen, and whose they are');
open_gate($gate);
my ($said, $error) = $session->finish;
is($said, $expected, '... they finish the work');
is($node->safe_psql('postgres', "SELECT count(*) $workers"), 0, '... and have ended when the call returns');

# --- workers are lost ---

for my $function ('terminate', 'cancel')
{
	($gate, $session) = held_validation();
	my $pid = $node->safe_psql('postgres', "SELECT min(pid) $workers");
	is($node->safe_psql('postgres', "SELECT pg_${function}_backend($pid)"), 't', "$function a worker");
	poll($node, "SELECT count(*) = 1 $workers", 'the worker ends');
	open_gate($gate);
	($said, $error) = $session->finish;
	is($said, $expected, '... no record is lost, and none comes twice') or diag($error);
}
($gate, $session) = held_validation();
is($node->safe_psql('postgres', "SELECT count(pg_terminate_backend(pid)) $workers"), 2, 'terminate all workers');
open_gate($gate);
($said, $error) = $session->finish;
is($said, $expected, '... the session goes on alone') or diag($error);

# --- the session is lost ---

($gate, $session) = held_validation();
$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) $sessions");
($said, $error) = $session->finish;
like($error, qr/ERROR:  57014: canceling statement due to user request/, 'the call is cancelled');
processes_gone($node);
open_gate($gate);

$gate = close_gate($node);
($said, $error) = in_session($node, "SET statement_timeout = '1s'; $call")->finish;
like($error, qr/ERROR:  57014: canceling statement due to statement timeout/, 'the time of the call is up');
processes_gone($node);
open_gate($gate);

($gate, $session) = held_validation();
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) $sessions");
($said, $error) = $session->finish;
like($error, qr/57P01: terminating connection/, 'the session is terminated');
processes_gone($node);
open_gate($gate);
pass('... and its workers are gone');

# An error of the call that is caught ends the workers too.
$node->safe_psql('postgres', q(
	CREATE FUNCTION once(id integer) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RETURN CASE WHEN id = 291 THEN no_such_function() ELSE true END; END$$;
	CREATE TABLE once (id integer CHECK (once(id)), name text)));
$node->safe_psql('postgres', qq(
	DO \$\$BEGIN
		PERFORM ml_validate('$path', 'once', max_workers => 3);
	EXCEPTION WHEN undefined_function THEN
		CREATE TABLE caught AS SELECT 1;
	END\$\$));
is($node->safe_psql('postgres', "SELECT count(*) FROM caught"), 1, 'an error that is no record\'s own is raised in the session, with its SQLSTATE');
processes_gone($node);

# --- somebody waits for a lock on the table, and the workers have chunks to begin ---

($gate, $session) = held_validation();
my $locker = in_session($node, 'BEGIN; LOCK TABLE t; COMMIT');
poll($node, "SELECT count(*) = 1 FROM pg_locks WHERE relation = 't'::regclass AND mode = 'AccessExclusiveLock' AND NOT granted", 'LOCK TABLE waits');
open_gate($gate);
($said, $error) = $session->finish;
is($said, $expected, 'a waiting LOCK TABLE does not stop the workers') or diag($error);
($said, $error) = $locker->finish;
is($error, '', '... and gets its lock then');

# --- many ---

my $many = write_file('many.csv', "id,name\n" . join('', map { "bad $_,\n" } 1 .. 100_000));
my $memory = $node->safe_psql('postgres', qq(
	SET work_mem = '1MB'; SET movielens_ingest.chunk_size = 5000; SET log_temp_files = 0;
	SELECT count(*), count(DISTINCT row_number), max(row_number) FROM ml_validate('$many', 't', max_workers => 2);
	SELECT sum(used_bytes) < 30000000 FROM pg_backend_memory_contexts));
is($memory, "100000|100000|100000\nt", '100,000 refused records');
like(slurp_file($node->logfile), qr/temporary file: path .*pgsql_tmp/, '... which do not stay in memory');

# --- no worker slots: the launcher of logical replication has the only one ---

$node->append_conf('postgresql.conf', 'max_worker_processes = 1');
$node->restart;
my ($rc, $stdout, $stderr) = $node->psql('postgres', "SET client_min_messages = debug1; $call");
is("$rc $stdout", "0 $expected", 'without a worker slot the session validates alone');
like($stderr, qr/DEBUG:  ml_validate\(\) goes on with 0 of 1 workers/, '... and says so at DEBUG1');

$node->stop;
done_testing();
