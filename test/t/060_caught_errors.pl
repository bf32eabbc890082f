# Errors that leader, worker or session catch leave nothing behind: cancels are heard as before, lock_timeout of the caller
# fails no import that COPY would not fail for, and an attempt that a dying worker could not end is no crash.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_server('main', "movielens_ingest.retry_delay = '20ms'", "deadlock_timeout = '5s'");
my $path = write_file('numbers.csv', numbers(100));
my $options = 'chunk_size => 10, min_chunks => 1, force => true';
my ($id, $gate, @workers);
END { kill 'CONT', @workers if @workers }

sub query { return $node->safe_psql('postgres', @_) }

my $is_worker = "(SELECT backend_type FROM pg_stat_activity WHERE pid = pg_backend_pid()) = 'movielens_ingest worker'";

sub new_table
{
	my ($body) = @_;
	query('DROP TABLE IF EXISTS t CASCADE; CREATE TABLE t (id integer, name text)');
	query(qq(CREATE OR REPLACE FUNCTION body() RETURNS trigger LANGUAGE plpgsql AS \$\$BEGIN $body; RETURN NEW; END\$\$;
		CREATE TRIGGER body BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION body())) if defined $body;
	return;
}

# --- the leader catches a deadlock while it writes the counts, and is cancelled later ---

my $directory = PostgreSQL::Test::Utils::tempdir('dataset');
my %lines = ('genome-tags' => [ 'tagId,tag', map { "$_,tag" } 1 .. 20 ], movies => [ 'movieId,title,genres', map { "$_,title,genres" } 1 .. 100 ]);
for my $name (keys %lines)
{
	open(my $handle, '>:raw', "$directory/$name.csv") or die "could not write $name.csv: $!";
	print $handle map { "$_\n" } @{ $lines{$name} };
	close($handle) or die;
}
# Two workers wait at the gate, one with a chunk of either file, and the leader for them. When the gate opens they put their
# chunks off, and the leader takes them.
query(qq(
	CREATE TABLE movies (movieid integer, title text, genres text); CREATE TABLE genome_tags (tagid integer, tag text);
	CREATE TABLE tried (number integer);
	CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS \$\$
	BEGIN
		IF $is_worker THEN
			PERFORM pg_advisory_xact_lock_shared(1);
			RAISE EXCEPTION 'not beside others' USING ERRCODE = '40P01';
		ELSIF (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1) = 0 THEN
			PERFORM pg_sleep(600);
		ELSE
			WHILE (SELECT count(*) < 2 FROM pg_locks WHERE locktype = 'advisory' AND objid = 1 AND NOT granted) LOOP
				PERFORM pg_sleep(0.01);
			END LOOP;
		END IF;
		RETURN NEW;
	END\$\$;
	CREATE TRIGGER hold BEFORE INSERT ON movies FOR EACH ROW EXECUTE FUNCTION hold();
	CREATE TRIGGER hold BEFORE INSERT ON genome_tags FOR EACH ROW EXECUTE FUNCTION hold()));
$gate = close_gate($node);
my %file = map { reverse split(/\|/) } split(/\n/, query("SELECT id, target FROM ml_import_dataset('$directory', $options, max_workers => 3)"));
wait_at_gate($node, 2);
poll($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader' AND query LIKE '%waiting for the workers%'", 'the leader waits for the workers');
my $enemy = $node->background_psql('postgres');
# It locks the row that the leader comes to second.
$enemy->query_safe("SET deadlock_timeout = '1h'; BEGIN; SELECT FROM uploaded_files WHERE id = $file{movies} FOR UPDATE");
poll($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader' AND wait_event = 'transactionid'", 'the leader waits for the row');
$enemy->query_safe("SELECT FROM uploaded_files WHERE id = $file{genome_tags} FOR UPDATE");
like(slurp_file($node->logfile), qr/could not (attend to import|write)[^\n]*deadlock detected/, 'the leader is in a deadlock, and gives up');
$enemy->query_safe('COMMIT');
$enemy->quit;
open_gate($gate);
poll($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader' AND wait_event = 'PgSleep' AND query LIKE '%loading chunk%'", 'the leader loads a chunk alone');
is(query("SELECT ml_cancel(id) FROM unnest(ARRAY[$file{genome_tags}, $file{movies}]) id"), "t\nt", '... then it is cancelled in a chunk');
is(query("SELECT status FROM ml_wait($_, '20 s')"), 'Cancelled', '... and hears it') for @file{qw(genome_tags movies)};
processes_gone($node);

# --- lock_timeout of the caller: locks of our own ---

# A gate that is not waited for on a lock.
my $patient = 'WHILE NOT pg_try_advisory_xact_lock_shared(1) LOOP PERFORM pg_sleep(0.01); END LOOP';
sub all_patient
{
	my ($count) = @_;
	poll($node, "SELECT count(*) = $count FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%' AND wait_event = 'PgSleep'", "$count processes wait at the gate");
	return;
}

# Leader and worker wait for a lock on the ledger between two chunks.
new_table($patient);
$gate = close_gate($node);
my $caller = "SET lock_timeout = '1ms'; ";
$id = query("${caller}SELECT ml_import('$path', 't', $options, max_retries => 0, max_workers => 2)");
all_patient(2);
my $guard = $node->background_psql('postgres');
$guard->query_safe('SELECT pg_advisory_lock(2)');
my $holder = in_session($node, 'BEGIN; LOCK TABLE uploaded_files IN SHARE MODE; SELECT pg_advisory_lock(2); COMMIT');
poll($node, "SELECT count(*) = 1 FROM pg_locks WHERE relation = 'uploaded_files'::regclass AND NOT granted", 'LOCK TABLE waits for both processes');
open_gate($gate);
poll($node, "SELECT count(*) = 2 FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE relation = 'uploaded_files'::regclass AND NOT granted AND backend_type LIKE 'movielens_ingest%'",
	'leader and worker wait for a table of the ledger');
$guard->query_safe('SELECT pg_advisory_unlock(2)');
$holder->finish;
my $row = wait_import($node, $id);
is("$row->{status} $row->{success_count} " . ($row->{sqlstate} // ''), 'Completed 100 ', 'lock_timeout = 1ms: the import waits for the ledger all the same');
is(query("SELECT count(*) FROM process_chunks WHERE uploaded_file_id = $id AND errors IS NOT NULL"), 0, '... and no chunk met an error');
processes_gone($node);

# User code has set one for the session.
new_table(q(SET lock_timeout = '1ms'));
$id = query("SELECT ml_import('$path', 't', $options, max_retries => 0, max_workers => 2)");
is(wait_import($node, $id)->{status}, 'Completed', 'a trigger sets lock_timeout = 1ms: the import completes');
processes_gone($node);

# --- lock_timeout of the caller: two chunks with the same key ---

my $twice = write_file('twice.csv', "id,name\n" . join('', map { ($_ % 10 || 10) . ",name\n" } 1 .. 20));
query('DROP TABLE t; CREATE TABLE t (id integer PRIMARY KEY, name text)');
query("CREATE OR REPLACE FUNCTION body() RETURNS trigger LANGUAGE plpgsql AS \$\$BEGIN $patient; RETURN NEW; END\$\$;
	CREATE TRIGGER body BEFORE INSERT ON t FOR EACH ROW WHEN (NEW.id = 10) EXECUTE FUNCTION body()");
$gate = close_gate($node);
$id = query("SET lock_timeout = '100ms'; SELECT ml_import('$twice', 't', $options, max_retries => 0, max_workers => 2)");
poll($node, "SELECT count(*) > 0 FROM process_chunks WHERE uploaded_file_id = $id AND sqlstate = '55P03'", 'a chunk waits in vain');
open_gate($gate);
$row = wait_import($node, $id);
is("$row->{status} $row->{success_count} $row->{error_count}", 'Completed with errors 10 10', 'chunks with the same keys, lock_timeout: one is put off, and loaded alone');
is(query("SELECT max(attempts) FROM process_chunks WHERE uploaded_file_id = $id"), 1, '... in an attempt that counts');
processes_gone($node);

# --- lock_timeout of the caller: a lock that user code takes, as COPY heeds it ---

new_table('PERFORM pg_advisory_xact_lock(3)');
$guard->query_safe('SELECT pg_advisory_lock(3)');
my ($rc, undef, $stderr) = $node->psql('postgres', "SET lock_timeout = '10ms'; COPY t FROM '$path' (FORMAT csv, HEADER)", on_error_stop => 1);
like($stderr, qr/canceling statement due to lock timeout/, 'COPY heeds lock_timeout in a trigger');
$id = query("SET lock_timeout = '10ms'; SELECT ml_import('$path', 't', $options, max_retries => 1, max_workers => 2)");
$row = wait_import($node, $id);
is("$row->{status} $row->{sqlstate} $row->{success_count}", 'Failed 55P03 0', '... and so does an import');
is(query("SELECT max(attempts), min(attempts) FROM process_chunks WHERE uploaded_file_id = $id AND status = 'Failed'"), '2|2', '... after it has tried again');
$guard->query_safe('SELECT pg_advisory_unlock(3)');
processes_gone($node);

# --- resumed while the workers of a leader that died still end ---

# They are stopped in their chunks: what they give back of their attempts comes when others want these chunks.
for my $round (1 .. 3)
{
	new_table();
	add_gate($node, 't');
	$gate = close_gate($node);
	$id = start_import($node, $path, 't', "$options, max_workers => 6");
	wait_at_gate($node, 6);
	@workers = split(/\n/, query("SELECT pid FROM pg_stat_activity WHERE backend_type = 'movielens_ingest worker'"));
	kill('STOP', @workers) == 5 or die;
	query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader'");
	poll($node, "SELECT phase = 'interrupted' FROM ml_progress WHERE id = $id", 'the leader ends');
	open_gate($gate);
	is(query("SELECT ml_resume($id)"), 't', 'resumed while the workers of the dead leader are about to end');
	poll($node, "SELECT count(*) = 5 FROM process_chunks WHERE uploaded_file_id = $id AND status = 'Completed'", 'the other chunks are loaded');
	poll($node, "SELECT count(*) > 0 FROM pg_stat_activity WHERE pg_blocking_pids(pid) && ARRAY[" . join(', ', @workers) . "] AND backend_type LIKE 'movielens_ingest%'",
		'somebody waits for a chunk of theirs');
	kill('CONT', splice @workers) == 5 or die;
	$row = wait_import($node, $id);
	is("$row->{status} $row->{success_count}", 'Completed 100', '... it completes');
	processes_gone($node);
	is(query("SELECT count(*) FILTER (WHERE crashes <> 0), max(attempts) FROM process_chunks WHERE uploaded_file_id = $id"), '0|2', '... and no chunk has seen a crash');
}
$guard->quit;

# --- a cancel just before indexes are built ---

my $big = write_file('big.csv', numbers(1000));
query('DROP TABLE t; CREATE TABLE t (id integer CHECK (id <> 99 OR pg_advisory_xact_lock_shared(1) IS NOT NULL), name text); CREATE INDEX numbers_idx ON t (id)');
$gate = close_gate($node);
$id = query("SET movielens_ingest.defer_indexes = 'on'; SELECT ml_import('$big', 't', min_chunks => 1, max_workers => 1, force => true)");
wait_at_gate($node, 1);
is(query("SELECT indexes_missing FROM ml_progress WHERE id = $id"), '{numbers_idx}', 'an index is put off');
my $reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN; SELECT FROM t');
$guard = $node->background_psql('postgres');
$guard->query_safe('BEGIN; LOCK TABLE _deferred_indexes IN SHARE MODE');
open_gate($gate);
poll($node, "SELECT count(*) = 1 FROM pg_locks WHERE relation = '_deferred_indexes'::regclass AND NOT granted", 'the leader looks for indexes that are to be built');
is(query("SELECT ml_cancel($id)"), 't', '... just then the import is cancelled');
$guard->query_safe('COMMIT');
$guard->quit;
is(query("SELECT status, success_count, error FROM ml_wait($id, '20 s')"),
	'Cancelled|1000|canceling statement due to user request; could not build index public.numbers_idx: canceling statement due to user request',
	'... which ends it, though somebody reads the table');
$reader->quit;
is(query("SELECT ml_resume($id)"), 't', '... resumed');
is(query("SELECT status FROM ml_wait($id); SELECT indisvalid FROM pg_index WHERE indexrelid = 'numbers_idx'::regclass"), "Completed\nt", '... the index is built');
processes_gone($node);

$node->stop;

# --- ml_load catches an error while it cancels what it has begun, and its session is cancelled later ---

$node = start_server('small', 'max_worker_processes = 1', 'max_logical_replication_workers = 0');
my $gated = 'id integer CHECK (id <> 99 OR pg_advisory_xact_lock_shared(1) IS NOT NULL), name text';
query("CREATE TABLE t ($gated); CREATE INDEX numbers_idx ON t (id); CREATE TABLE other ($gated)");
$gate = close_gate($node);
$id = query("SET movielens_ingest.defer_indexes = 'on'; SELECT ml_import('$big', 't', min_chunks => 1)");
wait_at_gate($node, 1);
query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader'");
processes_gone($node);
is(query("SELECT phase, indexes_missing FROM ml_progress WHERE id = $id"), 'interrupted|{numbers_idx}', 'an index is put off, and nobody is there to build it');
my $running = start_import($node, $big, 'other', 'min_chunks => 1');
wait_at_gate($node, 1);
$reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN; LOCK TABLE t IN ROW EXCLUSIVE MODE');
my ($stdout, @calls) = ('', "SET lock_timeout = '100ms'", "CALL ml_load('$path', 't')", "SET statement_timeout = '100ms'", 'SELECT pg_sleep(600)');
$stderr = '';
my $session = IPC::Run::start([ $node->installed_command('psql'), '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $node->connstr('postgres'), map { ('-c', $_) } @calls ],
	'<', '/dev/null', '>', \$stdout, '2>', \$stderr, IPC::Run::timeout(60));
poll($node, "SELECT count(*) = 1 FROM ml_progress WHERE phase = 'queued'", 'ml_load waits in the queue');
query("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL ml\\_load%'");
$session->finish;
like($stderr, qr/WARNING:  01000: could not build index public.numbers_idx: canceling statement due to lock timeout\n/, 'ml_load is cancelled, and cannot build the index');
like($stderr, qr/ERROR:  57014: canceling statement due to user request\n.*ERROR:  57014: canceling statement due to statement timeout\n/s, '... and its session can be cancelled again');
is(query("SELECT status FROM ml_wait((SELECT max(id) FROM uploaded_files))"), 'Cancelled', '... the import of the call is');
$reader->quit;
open_gate($gate);
is(wait_import($node, $running)->{status}, 'Completed', '... the one that ran completes');

$node->stop;
done_testing();
