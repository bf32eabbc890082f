# The queue of imports that found no worker slot: twenty of several roles committed at once, with slots for seven and for
# one; each runs as its own role, in the slot of one that has ended. Waiting for a queued import and cancelling it. A queue
# whose leaders were terminated or killed moves on, and one whose next import belongs to a role that is gone, or may not
# log in any more. Nothing is left behind: no lock, process, shared memory or temporary file.
# allow-log: terminated by signal 9
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use Test::More;

# The launcher of logical replication has one of the eight slots.
my $node = start_server('main', 'max_worker_processes = 8', 'max_logical_replication_workers = 1',
	'dynamic_shared_memory_type = mmap', 'restart_after_crash = on');
my $path = write_file('numbers.csv', numbers(40));

# A table notes who loads its rows, and has a gate.
sub add_role
{
	my ($role) = @_;
	$node->safe_psql('postgres', "CREATE ROLE $role LOGIN; GRANT pg_read_server_files TO $role;
		CREATE TABLE $role (id integer, name text, loader name, login name, pid integer); ALTER TABLE $role OWNER TO $role;
		CREATE TRIGGER note BEFORE INSERT ON $role FOR EACH ROW EXECUTE FUNCTION note()");
	add_gate($node, $role);
	return $role;
}

$node->safe_psql('postgres', 'CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
	NEW.loader := current_user; NEW.login := session_user; NEW.pid := pg_backend_pid(); RETURN NEW; END$$');
my @roles = map { add_role($_) } 'ann', 'bob', 'cat', 'dan';
my $options = 'chunk_size => 10, min_chunks => 1, force => true';

sub as_role
{
	my ($role, $sql) = @_;
	return $node->safe_psql('postgres', $sql, extra_params => [ '-U', $role ]);
}

# Starts an import of this role into its table, with one process.
sub import_of
{
	my ($role) = @_;
	my $id = as_role($role, "SELECT ml_import('$path', '$role', $options, max_workers => 1)");
	note "import $id of $role";
	return $id;
}

sub truncate_all { $node->safe_psql('postgres', "TRUNCATE @{[ join(', ', @roles) ]}"); return }

# Statuses and phases of imports.
sub states
{
	my $ids = join(', ', @_);
	return $node->safe_psql('postgres', "SELECT string_agg(concat_ws(' ', f.status, p.phase), ', ' ORDER BY f.id)
		FROM uploaded_files f LEFT JOIN ml_progress p USING (id) WHERE f.id IN ($ids)");
}

sub completed
{
	my ($name, @ids) = @_;
	is(join(' ', map { my $row = wait_import($node, $_); "$row->{status} $row->{success_count}" } @ids),
		join(' ', ('Completed 40') x @ids), $name);
	return;
}

# So many imports of each role are in, and it has loaded them itself, logged in as itself.
sub loaded_by_owner
{
	my ($name, %imports) = @_;
	my $in = $node->safe_psql('postgres', join(' UNION ALL ', map {
		"SELECT '$_', count(*), count(DISTINCT (id, pid)), bool_and(loader = '$_' AND login = '$_') FROM $_" } sort keys %imports));
	is($in, join("\n", map { my $rows = 40 * $imports{$_}; "$_|$rows|$rows|" . ($rows ? 't' : '') } sort keys %imports), $name);
	return;
}

# The small ones: the server's own record of segments, and those of imports. Statistics have theirs of a megabyte.
sub shared_segments { return scalar grep { -s $_ < 512 * 1024 } glob($node->data_dir . '/pg_dynshmem/mmap.*') }

sub nothing_left
{
	my ($name) = @_;
	processes_gone($node);
	is($node->safe_psql('postgres', "SELECT (SELECT count(*) FROM pg_locks WHERE locktype IN ('object', 'advisory')),
		(SELECT count(*) FROM uploaded_files WHERE status IN ('Queued', 'Processing')), (SELECT count(*) FROM ml_progress),
		(SELECT count(*) FROM pg_ls_tmpdir())"), '0|0|0|0', "$name: no lock, no open import, no temporary file");
	# A process detaches from its segments after it has left pg_stat_activity.
	my $tries = 600;
	select(undef, undef, undef, 0.1) while shared_segments() > 1 && $tries-- > 0;
	is(shared_segments(), 1, "$name: no shared memory");
	return;
}

# --- twenty at once ---

# Their transactions wait to commit until the barrier is taken away.
sub twenty
{
	my ($more) = @_;
	my $barrier = $node->background_psql('postgres');
	$barrier->query_safe('SELECT pg_advisory_lock(2)');
	my @sessions = map {
		my $role = $roles[ $_ % @roles ];
		local $ENV{PGUSER} = $role;
		in_session($node, "SELECT ml_import('$path', '$role', $options, $more); SELECT pg_advisory_xact_lock_shared(2)");
	} 1 .. 20;
	poll($node, "SELECT count(*) = 20 FROM pg_locks WHERE locktype = 'advisory' AND objid = 2 AND NOT granted", 'twenty sessions wait');
	$barrier->query_safe('SELECT pg_advisory_unlock(2)');
	$barrier->quit;
	my (@ids, @errors);
	for (@sessions)
	{
		my ($id, $error) = $_->finish;
		push @ids, $id =~ /^(\d+)/ ? $1 : 0;
		push @errors, $error if $error ne '';
	}
	is("@errors", '', "twenty imports, $more: all are committed");
	return @ids;
}

my $gate = close_gate($node);
my @ids = twenty('max_workers => 1');
wait_at_gate($node, 7);
is($node->safe_psql('postgres', 'SELECT status, phase, count(*) FROM uploaded_files JOIN ml_progress USING (id) GROUP BY 1, 2 ORDER BY 1'),
	"Processing|loading|7\nQueued|queued|13", 'seven run, thirteen are queued');
is(as_role($_, 'SELECT count(*) FROM ml_progress'), 5, "$_ sees five of them") for @roles;
cmp_ok(shared_segments(), '>', 7, 'leaders have shared memory');
is($node->safe_psql('postgres', "SELECT count(DISTINCT pid) FROM pg_locks WHERE locktype = 'object'"), 7, '... and locks');
open_gate($gate);
completed('all twenty complete', @ids);
loaded_by_owner('... each under its own role', map { $_ => 5 } @roles);
nothing_left('after twenty imports');

truncate_all();
completed('twenty with up to four processes each complete', twenty('max_workers => 4'));
my %rows = map { split(/\|/) } split(/\n/, $node->safe_psql('postgres', join(' UNION ALL ', map {
	"SELECT '$_', concat(count(*), ' ', count(DISTINCT id), ' ', bool_and(loader = '$_' AND login = '$_')) FROM $_" } @roles)));
is_deeply(\%rows, { map { $_ => '200 40 t' } @roles }, '... each under its own role');
nothing_left('after twenty parallel imports');

# --- all leaders are killed ---

# Sends KILL to every leader: the server restarts.
sub kill_leaders
{
	my @pids = split(/\n/, $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader'"));
	my $start = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
	my $log = -s $node->logfile;
	# The postmaster ends all others when it sees the first of them dead.
	cmp_ok(kill('KILL', @pids), '>', 0, "KILL for @{[ scalar @pids ]} leaders");
	$node->wait_for_log(qr/all server processes terminated; reinitializing.*database system is ready to accept connections/s, $log);
	is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'), $start, '... the server has restarted its processes');
	return;
}

truncate_all();
for my $call ('ml_import', 'ml_resume')
{
	$gate = close_gate($node);
	my @run = map { import_of($_) } (@roles, @roles)[ 0 .. 6 ];
	my @queued = map { import_of($_) } @roles;
	wait_at_gate($node, 7);
	kill_leaders();
	eval { $gate->quit }; # its server process is gone
	processes_gone($node);
	is(states(@run, @queued), join(', ', ('Processing interrupted') x 7, ('Queued interrupted') x 4),
		"$call: running and queued imports are interrupted");
	if ($call eq 'ml_import')
	{
		fails_like($node, "SELECT ml_wait($queued[0])", '55000', qr/import $queued[0] was interrupted.*ml_resume/s, '... who waits for a queued one is told');
		push @queued, import_of('dan');
	}
	else
	{
		is(as_role('cat', "SELECT ml_resume($queued[2])"), 't', '... one of them is resumed');
	}
	completed("$call: the queue moves on", @queued);
	is(states(@run), join(', ', ('Processing interrupted') x 7), '... those that were running are not resumed by that');
	is($node->safe_psql('postgres', "SELECT bool_and(ml_resume(id)) FROM unnest(ARRAY[@{[ join(', ', @run) ]}]) id"), 't', '... but by ml_resume');
	completed('... and complete', @run);
}
loaded_by_owner('resumed imports ran as their owners', ann => 6, bob => 6, cat => 6, dan => 5);
nothing_left('after leaders were killed');

# --- a single slot, which goes from leader to leader ---

$node->append_conf('postgresql.conf', "max_worker_processes = 1\nmax_logical_replication_workers = 0\n");
$node->restart;

truncate_all();
$gate = close_gate($node);
@ids = map { import_of($_) } @roles, 'ann';
wait_at_gate($node, 1);
is(states(@ids), join(', ', 'Processing loading', ('Queued queued') x 4), 'a single slot: one import runs, the others are queued');
is($node->safe_psql('postgres', "SELECT (ml_wait($ids[2], '10 ms')).status"), 'Queued', 'ml_wait with a timeout returns the row of a queued import');
my $waiter = in_session($node, "SELECT status FROM ml_wait($ids[2])");
poll($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE query = 'SELECT status FROM ml_wait($ids[2])' AND wait_event_type IS NOT NULL", 'a session waits');
open_gate($gate);
is(join('|', $waiter->finish), 'Completed|', 'ml_wait returns after a queued import has run');
completed('the slot goes from leader to leader', @ids);
loaded_by_owner('... of different roles', ann => 2, bob => 1, cat => 1, dan => 1);
is($node->safe_psql('postgres', "SELECT string_agg(id::text, ' ' ORDER BY end_time) FROM uploaded_files WHERE id >= $ids[0]"), "@ids", '... in the order of their calls');
nothing_left('after a slot was handed over');

# One after the other, at every moment of the end of the one before.
truncate_all();
$node->safe_psql('postgres', qq(
	CREATE PROCEDURE one_by_one(count integer) LANGUAGE plpgsql AS \$\$DECLARE id bigint; BEGIN
	FOR i IN 1 .. count LOOP
		id := ml_import('$path', 'dan', force => true);
		COMMIT;
		PERFORM ml_wait(id);
		COMMIT;
		PERFORM pg_sleep(0.01 * i / count);
		COMMIT;
	END LOOP;
	END\$\$));
my ($rc, $stdout, $stderr) = $node->psql('postgres', 'CALL one_by_one(50)');
is($stderr, '', 'fifty imports, each as soon as the one before has ended, find the slot');
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id) FROM dan'), '2000|40', '... and complete');
nothing_left('after imports one by one');

# A leader that is starting takes a slot, but does not look at the queue yet: whoever finds no slot meanwhile waits.
for my $terminate (0, 1)
{
	truncate_all();
	my $session = $node->background_psql('postgres');
	$session->query_safe('SELECT pg_advisory_lock(2), pg_advisory_lock(3)');
	my @calls = map {
		my ($role, $lock) = @$_;
		local $ENV{PGUSER} = $role;
		in_session($node, "SELECT ml_import('$path', '$role', $options); SELECT pg_advisory_xact_lock_shared($lock)");
	} [ 'ann', 2 ], [ 'bob', 3 ];
	wait_at_gate($node, 2);
	my $until = sub {
		my ($query, $what) = @_;
		for (1 .. 600)
		{
			$session->query_safe('SELECT pg_stat_clear_snapshot()');
			return if $session->query_safe($query) eq 't';
			select(undef, undef, undef, 0.1);
		}
		die "timed out: $what";
	};
	# Every process reads this when it starts: now none does, nor can this test connect.
	$session->query_safe('BEGIN; LOCK TABLE pg_database IN ACCESS EXCLUSIVE MODE');
	my $starting = "FROM pg_locks WHERE relation = 'pg_database'::regclass AND NOT granted";
	$session->query_safe('SELECT pg_advisory_unlock(2)');
	$until->("SELECT count(*) = 1 $starting", 'a leader starts');
	$session->query_safe('SELECT pg_advisory_unlock(3)');
	$until->("SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = 'bob' AND wait_event = 'advisory'", 'the other one commits');
	$until->("SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = 'bob' AND wait_event IS NULL", '... and waits, or not');
	if ($terminate)
	{
		is($session->query_safe("SELECT pg_terminate_backend(pid) $starting"), 't', 'a leader that is starting is terminated');
		$until->("SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = 'ann'", 'who waits for it gives up');
	}
	$session->query_safe('COMMIT');
	$session->quit;
	my ($id, $error) = $calls[0]->finish;
	if ($terminate)
	{
		like($error, qr/ERROR:  53000: the leader of import \d+ could not be started/, '... who waited for it is told');
	}
	else
	{
		is($error, '', 'a leader takes its time to start');
		completed('... its import completes', $id =~ /^(\d+)/);
	}
	($id, $error) = $calls[1]->finish;
	is($error, '', '... who found no slot meanwhile has waited');
	completed('... and that import completes', $id =~ /^(\d+)/) if $error eq '';
	loaded_by_owner('... in their tables', ann => 1 - $terminate, bob => 1);
	nothing_left('after a slow start');
}

truncate_all();
completed('twenty through a single slot complete', twenty('max_workers => 2'));
loaded_by_owner('... each under its own role', map { $_ => 5 } @roles);
nothing_left('after twenty imports through a single slot');

# Another role than that of the login.
truncate_all();
$node->safe_psql('postgres', 'GRANT bob TO ann');
$gate = close_gate($node);
@ids = import_of('cat');
push @ids, as_role('ann', "SET ROLE bob; SELECT ml_import('$path', 'bob', $options)");
open_gate($gate);
completed('a queued import under SET ROLE completes', @ids);
is($node->safe_psql('postgres', 'SELECT DISTINCT loader, login FROM bob'), 'bob|ann', '... as that role, in a session of the login role');

# --- ml_cancel of a queued import ---

truncate_all();
$gate = close_gate($node);
@ids = map { import_of($_) } 'ann', 'bob', 'cat';
wait_at_gate($node, 1);
is(as_role('bob', "SELECT ml_cancel($ids[1])"), 't', 'a queued import is cancelled');
my $row = wait_import($node, $ids[1]);
is("$row->{status} $row->{sqlstate}", 'Cancelled 57014', '... it has ended at once');
open_gate($gate);
completed('... the others complete', @ids[ 0, 2 ]);
nothing_left('after ml_cancel of a queued import');
loaded_by_owner('... and it was never loaded', ann => 1, bob => 0, cat => 1);
is(states($ids[1]), 'Cancelled', '... and is Cancelled still');

# The one that runs is cancelled, and the queue moves on.
truncate_all();
$gate = close_gate($node);
@ids = map { import_of($_) } 'ann', 'bob', 'cat';
wait_at_gate($node, 1);
is(as_role('ann', "SELECT ml_cancel($ids[0])"), 't', 'the import that runs is cancelled');
is(wait_import($node, $ids[0])->{status}, 'Cancelled', '... and ends');
wait_at_gate($node, 1);
open_gate($gate);
completed('... the queue moves on', @ids[ 1, 2 ]);

# A transaction that cancels a queued import is open when a leader comes to it.
for my $end ('COMMIT', 'ROLLBACK')
{
	truncate_all();
	$gate = close_gate($node);
	@ids = map { import_of($_) } 'ann', 'bob', 'cat';
	wait_at_gate($node, 1);
	my $session = $node->background_psql('postgres');
	is($session->query_safe("BEGIN; SELECT ml_cancel($ids[1])"), 't', "$end: a queued import is cancelled in a transaction");
	open_gate($gate);
	poll($node, "SELECT count(*) = 1 FROM pg_locks JOIN pg_stat_activity USING (pid)
		WHERE locktype = 'transactionid' AND NOT granted AND backend_type = 'movielens_ingest leader' AND usename = 'bob'", 'a leader comes to it');
	$session->query_safe($end);
	$session->quit;
	is(wait_import($node, $ids[1])->{status}, $end eq 'COMMIT' ? 'Cancelled' : 'Completed', "$end: it ends as the transaction says");
	completed("$end: the next one completes", $ids[2]);
	loaded_by_owner("$end: what is loaded", ann => 1, bob => $end eq 'COMMIT' ? 0 : 1, cat => 1);
}

# ... which cancels one file of a queued data set, and then the other.
my $folder = PostgreSQL::Test::Utils::tempdir('data_set');
for ([ 'movies.csv', "movieId,title,genres\n1,One,Drama\n" ], [ 'genome-tags.csv', "tagId,tag\n1,one\n" ])
{
	open(my $file, '>:raw', "$folder/$_->[0]") or die "could not write to $folder: $!";
	print $file $_->[1];
	close($file) or die;
}
$gate = close_gate($node);
@ids = import_of('ann');
wait_at_gate($node, 1);
my ($first, $second) = split(/\n/, $node->safe_psql('postgres', "SELECT id FROM ml_import_dataset('$folder') ORDER BY id"));
is(states($first, $second), 'Queued queued, Queued queued', 'a data set is queued');
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_safe("SET statement_timeout = '20 s'");
is($session->query_safe("BEGIN; SELECT ml_cancel($second)"), 't', '... one of its files is cancelled in a transaction');
open_gate($gate);
poll($node, "SELECT count(*) = 1 FROM pg_locks JOIN pg_stat_activity USING (pid)
	WHERE locktype = 'transactionid' AND NOT granted AND backend_type = 'movielens_ingest leader'", 'a leader comes to it');
is($session->query("SELECT ml_cancel($first)"), 't', '... and the other one, while the leader of both waits for the transaction');
$session->query('COMMIT');
$session->quit;
is(join(' ', map { wait_import($node, $_)->{status} } @ids, $first, $second), 'Completed Cancelled Cancelled', '... both end as Cancelled');
nothing_left('after ml_cancel');

# --- the leader is terminated ---

sub leader { return $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader'") }

# The process that comes after it in the slot moves the queue on.
truncate_all();
$gate = close_gate($node);
@ids = map { import_of($_) } 'ann', 'bob', 'cat';
wait_at_gate($node, 1);
is($node->safe_psql('postgres', "SELECT pg_terminate_backend(@{[ leader() ]})"), 't', 'the leader is terminated');
poll($node, "SELECT count(*) = 1 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND NOT granted AND usename = 'bob'", 'the next import runs');
open_gate($gate);
completed('... the queue moves on', @ids[ 1, 2 ]);
processes_gone($node);
is(states($ids[0]), 'Processing interrupted', '... its import is interrupted');
is(as_role('ann', "SELECT ml_resume($ids[0])"), 't', '... and can be resumed');
completed('... and completes', $ids[0]);

# It too is terminated: while it waits for the ledger.
for my $call ('ml_import', 'ml_resume')
{
	truncate_all();
	$gate = close_gate($node);
	@ids = map { import_of($_) } 'ann', 'bob', 'cat';
	wait_at_gate($node, 1);
	my $leader = leader();
	my $latch = $node->background_psql('postgres');
	$latch->query_safe('SELECT pg_advisory_lock(3)');
	# It gets the lock when the leader ends, before the one that comes after it.
	my $holder = in_session($node, 'LOCK TABLE uploaded_files IN ACCESS EXCLUSIVE MODE; SELECT pg_advisory_xact_lock_shared(3)');
	poll($node, "SELECT count(*) = 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted", 'a session waits for the ledger');
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($leader)");
	poll($node, "SELECT count(*) = 1 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'relation' AND NOT granted
		AND backend_type = 'movielens_ingest leader' AND pid <> $leader", 'the process that comes after the leader waits');
	$node->safe_psql('postgres', "SELECT pg_terminate_backend(@{[ leader() ]})");
	processes_gone($node);
	$latch->query_safe('SELECT pg_advisory_unlock(3)');
	$latch->quit;
	$holder->finish;
	is(states(@ids), 'Processing interrupted, Queued interrupted, Queued interrupted', 'the leader was terminated, and who came after it');
	open_gate($gate);
	if ($call eq 'ml_import')
	{
		push @ids, import_of('dan');
	}
	else
	{
		is(as_role('cat', "SELECT ml_resume($ids[2])"), 't', '... a queued import is resumed');
	}
	completed("... the queue moves on with $call", @ids[ 1 .. $#ids ]);
	is(as_role('ann', "SELECT ml_resume($ids[0])"), 't', '... and the interrupted one with ml_resume');
	completed('... and completes', $ids[0]);
	loaded_by_owner('... each under its own role', ann => 1, bob => 1, cat => 1, dan => $call eq 'ml_import' ? 1 : 0);
}
nothing_left('after leaders were terminated');

# --- roles that are gone, or may not log in, when their turn has come ---

truncate_all();
add_role('gone');
$gate = close_gate($node);
@ids = map { import_of($_) } 'ann', 'gone', 'bob', 'gone', 'cat', 'dan';
wait_at_gate($node, 1);
$node->safe_psql('postgres', 'ALTER TABLE gone OWNER TO ann; DROP ROLE gone; ALTER ROLE cat NOLOGIN');
open_gate($gate);
completed('the imports of the others complete', @ids[ 0, 2, 5 ]);
for ([ $ids[1], 'a role that was dropped' ], [ $ids[3], '... again' ], [ $ids[4], 'a role that may not log in any more' ])
{
	$row = wait_import($node, $_->[0]);
	is($row->{status}, 'Failed', "$_->[1]: its import has failed");
	like($row->{error}, qr/could not connect/, '... and says why');
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM gone UNION ALL SELECT count(*) FROM cat'), "0\n0", '... with nothing loaded');
$node->safe_psql('postgres', 'ALTER ROLE cat LOGIN');
is(as_role('cat', "SELECT ml_resume($ids[4])"), 't', 'a role that may log in again can resume its import');
completed('... which completes', $ids[4]);

# ... and that of the import that has the slot, too: it has others in the queue.
truncate_all();
$gate = close_gate($node);
@ids = map { import_of($_) } 'ann', 'ann', 'bob', 'cat';
wait_at_gate($node, 1);
$node->safe_psql('postgres', 'ALTER ROLE ann NOLOGIN; ALTER ROLE bob NOLOGIN');
open_gate($gate);
completed('the role of the running import may not log in any more: it completes', $ids[0]);
completed('... so does that of another role at the end of the queue', $ids[3]);
is(join(' ', map { wait_import($node, $_)->{status} } @ids[ 1, 2 ]), 'Failed Failed', '... those of roles that may not log in have failed');
$node->safe_psql('postgres', 'ALTER ROLE ann LOGIN; ALTER ROLE bob LOGIN');

# A table that is gone.
$gate = close_gate($node);
@ids = map { import_of($_) } 'ann', 'dan', 'bob';
wait_at_gate($node, 1);
$node->safe_psql('postgres', 'DROP TABLE dan');
open_gate($gate);
completed('imports beside one whose table was dropped complete', @ids[ 0, 2 ]);
is(wait_import($node, $ids[1])->{status}, 'Failed', '... it has failed');
nothing_left('in the end');

$node->stop;
done_testing();
