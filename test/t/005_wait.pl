# ml_wait sleeps without using the processor, can be cancelled or limited, and tells an import that has ended from one
# whose processes are gone; the ledger says what is in after a crash or a restart, and the next import works.
#
# A worker is killed here:
# allow-log: terminated by signal 9: Killed
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = start_server('main', 'restart_after_crash = on');
my $path = write_file('numbers.csv', numbers(100));
$node->safe_psql('postgres', "CREATE TABLE t (id integer, name text); CREATE TABLE copied (LIKE t); COPY copied FROM '$path' (FORMAT csv, HEADER)");
add_gate($node, 't', 'NEW.id IN (45, 55)');
my $options = 'chunk_size => 10, min_chunks => 1, max_workers => 2, force => true';
my $sleeping = "FROM pg_stat_activity WHERE query LIKE '%ml\\_wait%' AND backend_type = 'client backend' AND wait_event_type = 'Lock'";

sub held_import
{
	$node->safe_psql('postgres', 'TRUNCATE t');
	my $gate = close_gate($node);
	my $id = start_import($node, $path, 't', $options);
	wait_at_gate($node, 2);
	return ($gate, $id);
}

# How often the process went to sleep of itself, and the clock ticks that it used.
sub activity
{
	my ($pid) = @_;
	my ($switches) = slurp_file("/proc/$pid/status") =~ /^voluntary_ctxt_switches:\s+(\d+)/m;
	my @stat = split(/ /, slurp_file("/proc/$pid/stat") =~ s/^.*\) //sr);
	return ($switches, $stat[11] + $stat[12]);
}

my ($gate, $id) = held_import();
my @waiters = map { in_session($node, "SET deadlock_timeout = '10ms'; SELECT status FROM ml_wait($id)") } 1 .. 3;
push @waiters, in_session($node, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t; SELECT status FROM ml_wait($id)");
push @waiters, in_session($node, "SELECT status FROM ml_wait($id, '1 hour')");
push @waiters, in_session($node, "SET lock_timeout = '1ms'; SELECT status FROM ml_wait($id)");
my $cancelled = in_session($node, "SELECT status FROM ml_wait($id) AS victim");
my $limited = in_session($node, "SET statement_timeout = '50ms'; SELECT status FROM ml_wait($id) AS timed");
poll($node, "SELECT count(*) = @{[ @waiters + 1 ]} $sleeping AND query NOT LIKE '%timed%'", 'all sessions wait');

my ($pid) = split(/\n/, $node->safe_psql('postgres', "SELECT pid $sleeping AND query LIKE '%hour%' LIMIT 1"));
my ($switches, $ticks) = activity($pid);
sleep(1);
my ($later_switches, $later_ticks) = activity($pid);
# In half of deadlock_timeout it wakes up to look for deadlocks, and for the next slice of its wait.
cmp_ok($later_switches - $switches, '<=', 10, 'a waiting session wakes up a few times in a second');
cmp_ok($later_ticks - $ticks, '<=', 1, 'and uses no processor time');

like(($limited->finish)[1], qr/ERROR:  57014: canceling statement due to statement timeout/, 'statement_timeout ends a wait');
$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) $sleeping AND query LIKE '%victim'");
like(($cancelled->finish)[1], qr/ERROR:  57014: canceling statement due to user request/, 'a wait can be cancelled');

for my $timeout ('0', '100 ms')
{
	my $start = time;
	my $row = json_row($node, "SELECT * FROM ml_wait($id, '$timeout')");
	is($row->{status}, 'Processing', "timeout of $timeout: the row as it stands");
	cmp_ok(time - $start, '>=', 0.1, "... after $timeout") if $timeout ne '0';
}
is($node->safe_psql('postgres', "BEGIN; SELECT status FROM ml_wait($id, '1 ms'); SELECT 'goes on'; COMMIT"), "Processing\ngoes on",
	'the transaction goes on after a timeout');
fails_like($node, "SELECT ml_wait($id, '-1 s')", '22023', qr/timeout must not be negative/, 'a negative timeout is refused');
fails_like($node, "SELECT ml_wait($id + 1)", '42704', qr/import @{[ $id + 1 ]} does not exist/, 'an unknown id');
fails_like($node, 'SELECT ml_wait(NULL)', '22004', qr/must not be null/, 'no id');

is($node->safe_psql('postgres', "SELECT status FROM uploaded_files WHERE id = $id"), 'Processing', 'the import has not suffered');
open_gate($gate);
is(join(' ', map { ($_->finish)[0] =~ s/^\d+\n//r } @waiters), join(' ', ('Completed') x @waiters),
	'every session sees the end, in whatever transaction and with whatever lock_timeout');
is($node->safe_psql('postgres', "SELECT status FROM ml_wait($id)"), 'Completed', 'afterwards there is nothing to wait for');
processes_gone($node);

sub interrupted
{
	my ($name, $import) = @_;
	fails_like($node, "SELECT ml_wait($import)", '55000', qr/import $import was interrupted/, "$name: interrupted");
	is($node->safe_psql('postgres', "SELECT (SELECT count(*) FROM t WHERE EXISTS (SELECT FROM process_chunks
		WHERE uploaded_file_id = $import AND status = 'Completed' AND t.id BETWEEN start_row AND end_row)) - (SELECT count(*) FROM t),
		sum(success_count) - (SELECT count(*) FROM t), count(*) FILTER (WHERE status = 'Completed') >= 4, bool_or(status = 'Pending')
		FROM process_chunks WHERE uploaded_file_id = $import"), '0|0|t|t', '... and the chunks tell what is in');
	$node->safe_psql('postgres', 'TRUNCATE t');
	my $next = start_import($node, $path, 't', $options);
	is(wait_import($node, $next)->{status}, 'Completed', '... the next import completes');
	ledger_holds($node, $next, 't', '... with its counts');
	is($node->safe_psql('postgres', '(TABLE t EXCEPT ALL TABLE copied) UNION ALL (TABLE copied EXCEPT ALL TABLE t)'), '',
		'... and the table is as after COPY');
	processes_gone($node);
	return;
}

for my $mode ('immediate', 'fast')
{
	($gate, $id) = held_import();
	$node->stop($mode);
	$gate->{run}->finish;
	$node->start;
	interrupted("stopped ($mode)", $id);
}

# kill -9: the server starts again by itself.
($gate, $id) = held_import();
my $worker = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'movielens_ingest worker'");
my $started = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
my $position = -s $node->logfile;
kill 'KILL', $worker;
$node->wait_for_log(qr/database system is ready to accept connections/, $position);
$gate->{run}->finish;
interrupted('a worker killed', $id);
is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'), $started, 'the server had restarted its processes only');

# A restart between two imports.
$node->safe_psql('postgres', 'TRUNCATE t');
my $before = imported($node, $path, 't', $options);
$node->restart;
is($node->safe_psql('postgres', "SELECT status FROM ml_wait($before->{id})"), 'Completed', 'after a restart an ended import has ended');
fails_like($node, "SELECT ml_import('$path', 't')", '42710', qr/was already imported.*HINT: .*force => true/s, '... and its file is known');
cmp_ok(imported($node, $path, 't', $options)->{id}, '>', $before->{id}, '... and the next import gets a fresh id');

$node->stop;
done_testing();
