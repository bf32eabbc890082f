# The law, held to random tables and random files of hostile fields (test/t/lib/Property). A case that fails is printed with its
# number, and a script that shows it with as little as possible is left beside the server's data.
#
# SEED=n begins with case n, CASES=n sets how many; TIME=n runs for so many seconds instead.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use Property::Case;
use Property::Law;
use Property::Session;
use Property::Table;
use Test::More;
use Time::HiRes qw(time);

my $seed = $ENV{SEED} || 1;
my $cases = $ENV{CASES} || 100;
my $seconds = $ENV{TIME};

my $node = start_server('main', 'fsync = off', 'autovacuum = off', 'max_parallel_workers_per_gather = 0', 'log_min_messages = log');
my $session = Property::Session->new($node, 'postgres', 'UTF8');
prepare_server($session);
$session->query(shared_objects());

my ($run, $failed, $records, $told, $start) = (0, 0, 0, 0, time);
while (!$failed && ($seconds ? time - $start < $seconds : $run < $cases))
{
	my $case = random_case($seed + $run++);
	$records += @{ $case->{records} };
	my @wrong = broken_laws($session, $case);
	my $name = "case $case->{seed}: " . @{ $case->{records} } . ' records';
	ok(!@wrong, $name) if !$seconds || @wrong;
	if (@wrong)
	{
		$failed = 1;
		my $least = minimised($session, $case, 120);
		my @still = broken_laws($session, $least);
		($least, @still) = ($case, @wrong) if !@still;
		my $script = "$ENV{TESTDIR}/case-$case->{seed}.sh";
		PostgreSQL::Test::Utils::append_to_file($script, script_of($least, @still));
		diag(join("\n", "SEED=$case->{seed} CASES=1 runs it again", @wrong, "and with less, $script:", PostgreSQL::Test::Utils::slurp_file($script)));
	}
	if ($seconds && time - $told > 10)
	{
		$told = time;
		diag(progress());
	}
}
diag(progress()) if $seconds;
note progress();
ok(!$failed, 'the law holds in all cases');

sub progress { return sprintf('%d cases, %d records, seeds %d to %d, %.1f cases a second', $run, $records, $seed, $seed + $run - 1, $run / (time - $start)) }

note $session->query("SELECT format('%s x %s %s', count(*), sqlstate, left(regexp_replace(message, '[^a-z ].*', ''), 60)) FROM rejected_rows GROUP BY sqlstate, left(regexp_replace(message, '[^a-z ].*', ''), 60) ORDER BY count(*) DESC");

$session->quit;
$node->stop;
done_testing();
