# The processes of ml_validate(): workers help, and the result is the same when there are none, when they are terminated or
# cancelled in the middle of a chunk, when somebody waits for a lock on the table, and when only the session may judge. When the session is cancelled or
# terminated, or its time is up, they go away. Many errors take no memory that grows with them.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_server('main', "movielens_ingest.chunk_size = 10", "movielens_ingest.min_chunks = 1");

# Every tenth record is bad. The session and two workers stop at the gate, in the first record of a chunk: they ask again
# and again for its lock, for a worker that waits for one gives up.
my $bytes = "id,name\n" . join('', map { ($_ % 10 == 5 ? 'bad' : $_) . ",name $_\n" } 1 .. 300);
my $path = write_file("numbers\033.csv", $bytes); # activity shows it, and must not do so as it is
$node->safe_psql('postgres', q(
	CREATE FUNCTION pass(id integer) RETURNS boolean LANGUAGE plpgsql PARALLEL SAFE AS $$
	BEGIN
		WHILE id % 10 = 1 AND NOT pg_try_advisory_xact_lock_shared(1) LOOP
			PERFORM pg_sleep(0.01);
		END LOOP;
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

# Starts a validation and lets so many processes come to the gate.
sub held_validation
{
	my ($sql, $processes) = @_;
	my $gate = close_gate($node);
	my $session = in_session($node, $sql // $call);
	poll($node, 'SELECT count(*) = ' . ($processes // 3) . " FROM pg_stat_activity WHERE wait_event = 'PgSleep'", 'the processes stop at the gate');
	return ($gate, $session);
}

my ($gate, $session) = held_validation();
is($node->safe_psql('postgres', "SELECT count(*), count(*) FILTER (WHERE query LIKE 'movielens_ingest: validating chunk % of file % for process '
	|| (SELECT pid $sessions)), count(*) FILTER (WHERE strpos(query, 'numbers\\x1B.csv') > 0) $workers"), '2|2|2', 'two workers are seen, and whose they are');
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
	CREATE FUNCTION once(id integer) RETURNS boolean LANGUAGE plpgsql PARALLEL SAFE AS $$BEGIN RETURN CASE WHEN id = 291 THEN no_such_function() ELSE true END; END$$;
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

# --- what only the session may judge ---

# Whether it said that it works alone.
sub alone
{
	my ($reason, $sql, $name, $database) = @_;
	my ($rc, $stdout, $stderr) = $node->psql('postgres', "SET client_min_messages = debug1; $sql");
	is($rc, 0, $name) or diag($stderr);
	my ($said) = $stderr =~ /DEBUG:  ml_validate\(\) works alone: (.*)/;
	is($said, $reason, defined $reason ? '... by the session alone' : '... with workers');
	return $stdout;
}
is(alone(undef, $call, 'a PARALLEL SAFE function'), $expected, '... and its result');
is(alone("workers do not have the snapshot of its transaction", "BEGIN ISOLATION LEVEL REPEATABLE READ; $call; COMMIT", 'REPEATABLE READ'), $expected, '... and its result');
is(alone("workers do not see what its transaction has changed", "BEGIN; CREATE TABLE changed (); $call; COMMIT", 'a transaction that has changed something'), $expected, '... and its result');
my $unsafe = "not all that runs for a record is PARALLEL SAFE";
$node->safe_psql('postgres', q(
	CREATE FUNCTION unsafe(id integer) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
	CREATE FUNCTION stable_unsafe(id integer) RETURNS integer STABLE LANGUAGE plpgsql AS 'BEGIN RETURN id; END';
	CREATE FUNCTION immutable_unsafe(id integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN id; END';
	CREATE FUNCTION restricted(id integer) RETURNS boolean LANGUAGE plpgsql PARALLEL RESTRICTED AS 'BEGIN RETURN true; END';
	CREATE DOMAIN unsafe_domain AS integer CHECK (unsafe(VALUE));
	CREATE DOMAIN domain_of_it AS unsafe_domain CHECK (VALUE > 0);
	CREATE DOMAIN safe_domain AS integer CHECK (VALUE <> 0);
	CREATE TYPE composite AS (a integer, b domain_of_it[]);
	CREATE TYPE own_range AS RANGE (SUBTYPE = integer, SUBTYPE_DIFF = int4range_subdiff);
	CREATE TYPE mood AS ENUM ('happy')));
for my $case (
	[ 'id integer CHECK (unsafe(id))', $unsafe, 'a CHECK' ], [ 'id integer CHECK (restricted(id))', $unsafe, 'a RESTRICTED function in a CHECK' ],
	[ 'id unsafe_domain', $unsafe, 'a domain' ], [ 'id domain_of_it', $unsafe, 'a domain over it' ],
	[ 'id integer, other composite', $unsafe, 'an array of it in a composite type' ],
	[ 'id integer, other integer GENERATED ALWAYS AS (immutable_unsafe(id)) STORED', $unsafe, 'a generated column' ],
	[ 'id integer, other integer DEFAULT stable_unsafe(1)', $unsafe, 'a default' ],
	[ 'id serial, other safe_domain, made timestamptz DEFAULT clock_timestamp(), who bigint GENERATED ALWAYS AS IDENTITY, r own_range, '
		  . 'm int4multirange, e mood[], l text COLLATE "C" DEFAULT upper(current_user), g integer GENERATED ALWAYS AS (id + 1) STORED, '
		  . "CHECK (id > 0 OR g IN (1, 2) OR e = '{happy}')", undef, 'a table with much that is PARALLEL SAFE' ])
{
	my ($columns, $reason, $name) = @$case;
	$node->safe_psql('postgres', "DROP TABLE IF EXISTS safety; CREATE TABLE safety ($columns, name text)");
	is(alone($reason, $call =~ s/'t'/'safety'/r, $name), $expected, '... and its result');
}

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
