# User code that ml_validate() runs in its workers, though it is made for the session: it lies about being PARALLEL SAFE.
# Parallel plans of its own, writes, locks that the session holds, and errors that it catches: the result is what the session
# alone finds, and nobody hangs.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use Test::More;

my $node = start_server('main', 'movielens_ingest.chunk_size = 10', 'movielens_ingest.min_chunks = 1');

# Every tenth record is bad. All processes stop in the first record of a chunk, until the gate is open: so workers take part.
my $path = write_file('numbers.csv', "id,name\n" . join('', map { ($_ % 10 == 5 ? 'bad' : $_) . ",name $_\n" } 1 .. 300));
$node->safe_psql('postgres', q(
	CREATE TABLE many AS SELECT n FROM generate_series(1, 20000) n;
	CREATE TABLE counter AS SELECT 0 AS n;
	CREATE FUNCTION pass(id integer) RETURNS void LANGUAGE plpgsql PARALLEL SAFE AS $$
	BEGIN
		WHILE id % 10 = 1 AND NOT pg_try_advisory_xact_lock_shared(1) LOOP
			PERFORM pg_sleep(0.01);
		END LOOP;
	END$$));

my $refused = 'SELECT count(*), count(DISTINCT row_number), sum(row_number), min(line_number), max(byte_offset) FROM ml_validate';
my $expected = '30|30|4500|6|3625';

# A function of the integer id, PARALLEL SAFE, with this body, in a CHECK and in a domain. $before: what the session does first.
sub hostile
{
	my ($name, $body, $options, $before) = @_;
	$node->safe_psql('postgres', qq(
		DROP TABLE IF EXISTS t, d;
		DROP DOMAIN IF EXISTS hostile_domain;
		CREATE OR REPLACE FUNCTION hostile(id integer) RETURNS boolean LANGUAGE plpgsql PARALLEL SAFE $options
		AS \$f\$BEGIN PERFORM pass(id); $body END\$f\$;
		CREATE TABLE t (id integer CHECK (hostile(id)), name text);
		CREATE DOMAIN hostile_domain AS integer CHECK (hostile(VALUE));
		CREATE TABLE d (id hostile_domain, name text)));
	for my $table ('t', 'd')
	{
		my $gate = close_gate($node);
		my $session = in_session($node, join(' ', map { "$_;" } grep { defined } $before, "SET client_min_messages = debug1", "$refused('$path', '$table', max_workers => 3)"));
		poll($node, "SELECT count(*) = 3 FROM pg_stat_activity WHERE wait_event = 'PgSleep'", "$name: session and workers stop at the gate");
		open_gate($gate);
		my ($said, $error) = $session->finish;
		$said =~ s/^\s+//;
		is($said, $expected, "$name, " . ($table eq 't' ? 'a CHECK' : 'a domain')) or diag($error);
		unlike($error, qr/works alone/, '... with workers');
		processes_gone($node);
	}
	return;
}

# A parallel plan, with every right to it, in session and workers.
my $parallel = 'SET max_parallel_workers_per_gather = 2 SET parallel_setup_cost = 0 SET parallel_tuple_cost = 0 SET min_parallel_table_scan_size = 0';
like($node->safe_psql('postgres', ($parallel =~ s/ SET/; SET/gr) . '; EXPLAIN SELECT count(*) FROM many WHERE n >= 5'), qr/Workers Planned/, 'a parallel plan');
hostile('a parallel plan', 'RETURN (SELECT count(*) > 0 FROM many WHERE n >= id);', $parallel);
# debug_parallel_query from 16 on.
my $want_all = $node->safe_psql('postgres', "SELECT name FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query')");
hostile('a parallel plan in a session that wants them all', 'RETURN (SELECT count(*) > 0 FROM many WHERE n >= id);', '', $parallel =~ s/ SET/; SET/gr . "; SET $want_all = on");

# Writes: a worker that waited for the row of the session's would wait for ever. Its own error is no verdict either.
hostile('an UPDATE', 'UPDATE counter SET n = n + 1; RETURN true;', '');
hostile('an UPDATE whose error is caught', 'UPDATE counter SET n = n + 1; RETURN true; EXCEPTION WHEN OTHERS THEN RETURN false;', '');
hostile('FOR UPDATE', 'PERFORM FROM counter FOR UPDATE; RETURN true;', '');
hostile('a read-write transaction wanted', q(PERFORM set_config('transaction_read_only', 'off', true); UPDATE counter SET n = n + 1; RETURN true; EXCEPTION WHEN OTHERS THEN RETURN false;), '');
is($node->safe_psql('postgres', 'SELECT n FROM counter'), 0, 'nothing of it is left');

# Locks that the session holds: a worker gives up soon, also where the code has set another lock_timeout.
my $held = 'SELECT pg_advisory_lock(2)';
hostile('a lock of the session', 'PERFORM pg_advisory_xact_lock(2); RETURN true;', '', $held);
hostile('a lock of the session, and its error caught', 'PERFORM pg_advisory_xact_lock(2); RETURN true; EXCEPTION WHEN OTHERS THEN RETURN false;', '', $held);
hostile('a lock of the session, for as long as it takes', 'PERFORM pg_advisory_xact_lock(2); RETURN true;', 'SET lock_timeout = 0', $held);
hostile('a lock that is never given back', 'PERFORM pg_advisory_lock(3); RETURN true;', '');

# Interrupts that it catches.
hostile('a cancel that is caught', q{IF (SELECT backend_type FROM pg_stat_activity WHERE pid = pg_backend_pid()) <> 'client backend' THEN
	PERFORM pg_cancel_backend(pg_backend_pid()); PERFORM pg_sleep(10); END IF; RETURN true; EXCEPTION WHEN query_canceled THEN RETURN false;}, '');

# A lock of the session's on the target itself: no worker gets so far as its first record.
my ($said, $error) = in_session($node, "BEGIN; LOCK TABLE t IN SHARE ROW EXCLUSIVE MODE; SET LOCAL client_min_messages = debug1; $refused('$path', 't', max_workers => 3); COMMIT")->finish;
is($said, $expected, 'a target that the session has locked') or diag($error);
unlike($error, qr/works alone/, '... with workers, which give up');
processes_gone($node);

is($node->safe_psql('postgres', "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), 0, 'no lock is left');
$node->stop;
done_testing();
