# How many processes imports may have: on the server, where the default leaves some slots to others, and for a role, which
# cannot change that itself. Workers, the parallel workers of index builds and those of ml_validate() count. Who waits is
# the next when its role has fewest processes; a role that has more leaves one at a chunk's end. Nothing that user code
# can do gives a process back that is there still.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use Test::More;

my $node = start_server('limits', 'max_logical_replication_workers = 0', 'movielens_ingest.max_processes = 0');
my $path = write_file('numbers.csv', numbers(40));
my $long = write_file('long.csv', numbers(3000));
my $options = 'force => true, chunk_size => 1';

$node->safe_psql('postgres', "CREATE ROLE $_ LOGIN; GRANT pg_read_server_files TO $_; CREATE TABLE $_ (id integer, name text); ALTER TABLE $_ OWNER TO $_") for 'ann', 'bob', 'cat';
$node->safe_psql('postgres', 'CREATE TABLE free (id integer, name text); GRANT INSERT ON free TO PUBLIC; GRANT bob TO ann');
add_gate($node, $_) for 'ann', 'bob', 'cat';

sub as_role { my ($role, $sql, $database) = @_; return $node->safe_psql($database // 'postgres', $sql, extra_params => [ '-U', $role ]) }
sub import_of { my ($role, $more, $file, $target) = @_; $target //= $role; $file //= $path; return as_role($role, "SELECT ml_import('$file', '$target', $options, $more)") }
sub status { return $node->safe_psql('postgres', "SELECT status FROM uploaded_files WHERE id = $_[0]") }
sub set_limit
{
	my ($limit) = @_;
	$node->append_conf('postgresql.conf', "movielens_ingest.max_processes = $limit");
	$node->reload;
	$node->safe_psql('postgres', 'SELECT 1'); # the server has read it
	return;
}
sub completed
{
	my ($name, @ids) = @_;
	is(join(' ', map { wait_import($node, $_)->{status} } @ids), join(' ', ('Completed') x @ids), $name);
	return;
}

# What pg_locks has of processes: how many of this role, or of all.
my $permits = "FROM pg_locks WHERE locktype = 'object' AND database = 0 AND classid = 'pg_extension'::regclass AND objid <> 0 AND objsubid > 0";
sub permits { my ($role) = @_; return $node->safe_psql('postgres', "SELECT count(DISTINCT (objid, objsubid)) $permits" . ($role ? " AND objid = '$role'::regrole" : '')) }
sub processes { return $node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ '^movielens_ingest (leader|worker)'") }
sub nothing_left
{
	my ($name) = @_;
	processes_gone($node);
	poll($node, "SELECT count(*) = 0 FROM pg_locks WHERE locktype = 'object' AND database = 0", "$name: nothing is held");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM ml_progress'), '0', "$name: no open import");
	return;
}
sub log_since { my ($position) = @_; return PostgreSQL::Test::Utils::slurp_file($node->logfile, $position) }

# A turnstile: a dozen chunks waits for lock 1, the next dozen for lock 2, and so on, so that it is a dozen that is loaded
# when one of them is let go.
sub close_turnstile
{
	my ($table) = @_;
	$node->safe_psql('postgres', qq(
		CREATE FUNCTION turnstile() RETURNS trigger LANGUAGE plpgsql
		AS \$\$BEGIN PERFORM pg_advisory_xact_lock_shared(1 + NEW.id / 12 % 2); RETURN NEW; END\$\$;
		DROP TRIGGER gate ON $table;
		CREATE TRIGGER gate BEFORE INSERT ON $table FOR EACH ROW EXECUTE FUNCTION turnstile()));
	my $session = close_gate($node);
	$session->query_safe('SELECT pg_advisory_lock(2)');
	return $session;
}

# Lets dozen after dozen pass until the query returns true.
sub step_until
{
	my ($gate, $query, $name) = @_;
	for my $step (1 .. 1200)
	{
		return pass($name) if $gate->query_safe($query) eq 't';
		my $lock = 2 - $step % 2;
		$gate->query_safe("SELECT pg_advisory_unlock($lock)");
		$gate->query_safe("SELECT pg_advisory_lock($lock)");
		select(undef, undef, undef, 0.05);
	}
	return fail($name);
}

# --- the server ---

my $position = -s $node->logfile;
my $gate = close_turnstile('ann');
my $hog = import_of('ann', 'max_workers => 20', $long);
wait_at_gate($node, 12);
is(permits('ann'), '12', 'three quarters of the slots are taken');
like(log_since($position), qr/import $hog goes on with 11 of 19 workers.*HINT:  You may need to increase max_worker_processes or movielens_ingest.max_processes\./s, '... the log says why there are no more');
my $other = import_of('bob', 'max_workers => 1', $path, 'free');
is(status($other), 'Queued', 'another role waits');
step_until($gate, "SELECT status <> 'Queued' FROM uploaded_files WHERE id = $other", '... until a worker has loaded its chunk, and left');
completed('... and is loaded', $other);
is(status($hog), 'Processing', '... beside the import that had all processes');
my (undef, undef, $said) = $node->psql('postgres', "SET client_min_messages = debug1; SELECT count(*) FROM ml_validate('$path', 'free', max_workers => 12)");
like($said, qr/ml_validate\(\) goes on with [0-3] of 1[12] workers/, '... the workers of ml_validate count too');

# Fewer processes are allowed while it runs.
set_limit(3);
step_until($gate, "SELECT count(DISTINCT pid) = 3 AND (SELECT count(*) = 3 FROM pg_stat_activity WHERE backend_type ~ '^movielens_ingest (leader|worker)') $permits",
	'fewer processes are allowed: workers leave until there are no more');
is(status($hog), 'Processing', '... the import goes on');
open_gate($gate);
completed('... and completes', $hog);
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id) FROM ann'), '3000|3000', '... with every record once');
nothing_left('the server');

# --- whose turn it is ---

set_limit(2);
$node->safe_psql('postgres', 'TRUNCATE ann, bob, cat, free; DROP TRIGGER gate ON ann');
add_gate($node, 'ann');
$gate = close_gate($node);
my $held = import_of('ann', 'max_workers => 1');
my $first = import_of('cat', 'max_workers => 1');
wait_at_gate($node, 2);
my @queued = ((map { import_of('ann', 'max_workers => 1', $path, 'free') } 1 .. 5), import_of('bob', 'max_workers => 1', $path, 'free'));
is(join(' ', map { status($_) } @queued), join(' ', ('Queued') x 6), 'six imports wait');
is(as_role('cat', "SELECT ml_cancel($first)"), 't', 'one import ends');
completed('... the others complete, while one is held', @queued);
is(status($held), 'Processing', '... still');
is($node->safe_psql('postgres', "SELECT string_agg(id::text, ' ' ORDER BY start_time) FROM uploaded_files WHERE id IN (" . join(', ', @queued) . ')'),
	join(' ', @queued[ 5, 0 .. 4 ]), '... that of the role without a process first, then the others in the order of their calls');
open_gate($gate);
completed('the held one completes', $held);
nothing_left('turns');

# --- a role ---

set_limit(0);
$node->safe_psql('postgres', 'TRUNCATE ann, bob, cat, free; ALTER ROLE ann SET movielens_ingest.max_processes_per_role = 2');
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION movielens_ingest; CREATE TABLE free (id integer, name text); GRANT INSERT ON free TO PUBLIC; CREATE TABLE bob (id integer, name text); GRANT INSERT ON bob TO bob');
add_gate_to_other();
sub add_gate_to_other
{
	$node->safe_psql('other', q(CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END$$;
		CREATE TRIGGER gate BEFORE INSERT ON bob EXECUTE FUNCTION gate()));
	return;
}
for my $set ('SET movielens_ingest.max_processes_per_role = 0', 'LOAD $$movielens_ingest$$; SET movielens_ingest.max_processes_per_role = 0', 'ALTER ROLE ann SET movielens_ingest.max_processes_per_role = 0',
	'SET movielens_ingest.max_processes = 1000')
{
	# What is not known yet can be set, and is not what counts when it is.
	my ($rc, $stdout, $message) = $node->psql('postgres', "$set; SELECT count(*) FROM ml_validate('$path', 'ann'); SHOW movielens_ingest.max_processes_per_role; SHOW movielens_ingest.max_processes", extra_params => [ '-U', 'ann' ], on_error_stop => 0);
	like($stdout, qr/2\n0$/, "not by the role itself: $set") or diag($message);
}
$position = -s $node->logfile;
$gate = close_gate($node);
my @ann = import_of('ann', 'max_workers => 6');
wait_at_gate($node, 2);
is(permits('ann'), '2', 'a role has as many processes as it may');
like(log_since($position), qr/import $ann[0] goes on with 1 of 5 workers.*HINT:  You may need to increase movielens_ingest.max_processes_per_role for the role\./s, '... the log says why');
push @ann, import_of('ann', 'max_workers => 1', $path, 'free');
push @ann, as_role('ann', "SET ROLE bob; SELECT ml_import('$path', 'free', $options, max_workers => 1)");
is(status($_), 'Queued', 'its next import waits, as whatever role') for @ann[ 1, 2 ];
my $bob = import_of('bob', 'max_workers => 4');
wait_at_gate($node, 6);
is(permits('bob'), '4', '... but another role does not');
fails_like($node, "SELECT ml_import('$path', 'free')", '53400', qr/too many processes of imports for role "ann" to start import 1\n.*HINT:  You may need to increase movielens_ingest.max_processes_per_role for the role\./s,
	'in a database without imports: an error', connstr => $node->connstr('other') . ' user=ann');

# What the last leader of a database leaves in the queue may begin only when its role has a process again.
my $other_gate = $node->background_psql('other');
$other_gate->query_safe('SELECT pg_advisory_lock(1)');
my ($led) = $node->safe_psql('other', "SELECT ml_import('$path', 'bob', max_workers => 1)", extra_params => [ '-U', 'bob' ]);
wait_at_gate($node, 7);
my $late = $node->safe_psql('other', "SELECT ml_import('$path', 'free', max_workers => 1)", extra_params => [ '-U', 'ann' ]);
$node->safe_psql('other', "SELECT ml_cancel($led)");
poll($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = 'other' AND query = 'movielens_ingest: waiting until a queued import may begin'", 'the leader stays for the queue');
is($node->safe_psql('other', "SELECT phase FROM ml_progress WHERE id = $late"), 'queued', '... and the import is queued');
is(permits('bob'), '4', '... the process that waits does not count');
my $never = $node->safe_psql('other', "SELECT ml_import('$path', 'free', max_workers => 1, force => true)", extra_params => [ '-U', 'ann' ]);
is($node->safe_psql('other', "SELECT ml_cancel($never)", extra_params => [ '-U', 'ann' ]), 't', '... and another one, which is cancelled');
is(json_row($node, "SELECT * FROM ml_wait($never)", 'other')->{status}, 'Cancelled', '... and ends');
open_gate($gate);
$other_gate->quit;
completed('all complete', @ann, $bob);
is(json_row($node, "SELECT * FROM ml_wait($late)", 'other')->{status}, 'Completed', '... and that of the other database');
nothing_left('a role');
is($node->safe_psql('postgres', 'SELECT (SELECT count(*) FROM ann), (SELECT count(*) FROM bob), (SELECT count(*) FROM free)'), '40|40|80', '... with every record once');

# Without an import of the server, too.
set_limit(1);
$gate = close_gate($node);
$held = import_of('bob', 'max_workers => 4');
wait_at_gate($node, 1);
fails_like($node, "SELECT ml_import('$path', 'free', force => true)", '53400', qr/too many processes of imports to start import \d+\n.*HINT:  You may need to increase movielens_ingest.max_processes\./s,
	'too many processes of all imports: an error', dbname => 'other');
open_gate($gate);
completed('the import that had the process completes', $held);
nothing_left('one process');

# --- what user code does ---

set_limit(3);
$node->safe_psql('postgres', q(
	TRUNCATE ann, bob, cat, free;
	CREATE FUNCTION unlock() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_advisory_unlock_all(); RETURN NEW; END$$;
	CREATE TRIGGER a_unlock BEFORE INSERT ON cat FOR EACH ROW WHEN (NEW.id <= 35) EXECUTE FUNCTION unlock();
	CREATE FUNCTION refuse_chunk() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
	IF (SELECT count(*) FROM cat) < 30 AND random() < 0.3 THEN RAISE EXCEPTION 'not now' USING ERRCODE = '40001'; END IF; RETURN NULL; END$$;
	CREATE TRIGGER refuse AFTER INSERT ON cat EXECUTE FUNCTION refuse_chunk();
	CREATE TRIGGER z_gate BEFORE INSERT ON cat FOR EACH ROW WHEN (NEW.id > 35) EXECUTE FUNCTION gate();
	DROP TRIGGER gate ON cat));
$gate = close_gate($node);
$held = as_role('cat', "SET movielens_ingest.retry_delay = 0; SELECT ml_import('$path', 'cat', $options, max_workers => 3, max_retries => 100)");
wait_at_gate($node, 3);
is(permits('cat'), '3', 'locks that user code releases, and transactions that are aborted, give no process back');
is($node->safe_psql('postgres', "SELECT count(DISTINCT pid) $permits"), '3', '... each has its own');
is(status(my $waits = import_of('bob', 'max_workers => 1', $path, 'free')), 'Queued', '... and there is none more');
open_gate($gate);
completed('both complete', $held, $waits);
nothing_left('user code');

# Processes that are terminated give theirs back.
$gate = close_gate($node);
$held = import_of('bob', 'max_workers => 3');
wait_at_gate($node, 3);
# The leader's end terminates the workers too, and may come before we do.
is($node->safe_psql('postgres', "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type ~ '^movielens_ingest (leader|worker)'"), '3', 'all processes are terminated');
poll($node, "SELECT count(*) = 0 $permits", 'what they had is free');
open_gate($gate);
processes_gone($node);
is($node->safe_psql('postgres', "SELECT ml_resume($held)"), 't', '... and the import resumes');
completed('... and completes', $held);
nothing_left('terminated processes');

# --- index builds ---

$node->safe_psql('postgres', 'CREATE TABLE indexed (id integer, name text); CREATE INDEX indexed_id ON indexed (id)');
for ([ 1, qr/building index "indexed_id" on table "indexed" serially/ ], [ 2, qr/building index "indexed_id" on table "indexed" with request for 1 parallel worker/ ],
	[ 5, qr/building index "indexed_id" on table "indexed" with request for 2 parallel workers/ ])
{
	my ($limit, $built) = @$_;
	set_limit($limit);
	$node->safe_psql('postgres', 'TRUNCATE indexed');
	$position = -s $node->logfile;
	completed("an index is built, $limit processes",
		$node->safe_psql('postgres', "SET log_min_messages = debug1; SET movielens_ingest.defer_indexes = on; SET min_parallel_table_scan_size = 0;
			SET max_parallel_maintenance_workers = 2; SET maintenance_work_mem = '128MB'; SELECT ml_import('$long', 'indexed', force => true, max_workers => 1)"));
	like(log_since($position), $built, '... with as many parallel workers as there are processes left');
	is($node->safe_psql('postgres', "SELECT indisvalid FROM pg_index WHERE indexrelid = 'indexed_id'::regclass"), 't', '... and is valid');
}
nothing_left('index builds');

$node->stop;
done_testing();
