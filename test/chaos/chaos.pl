# Imports of all kinds of targets under whatever can happen to them: signals to every kind of process, kills and restarts, cancels and
# resumes, locks and changes of the tables, a full disk, schemas and roles renamed. After each round every import is gone on with until it is
# complete; then the rows are COPY's, the ledger agrees, indexes are right, and nothing is left behind.
#
# TIME=n seconds; SEED=n repeats the choices of a run, but not its moments. CHAOS_SMALL names a small file system for the database, so
# that the disk can be full.
#
# allow-log: terminated by signal 9: Killed
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Chaos::Acts;
use Chaos::Check;
use Chaos::Targets;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $seconds = $ENV{TIME} || 60;
my $seed = $ENV{SEED} || int(time) % 1_000_000;
my $end = time + $seconds;
diag "SEED=$seed TIME=$seconds";
srand($seed);

my $node = PostgreSQL::Test::Cluster->new('chaos');
$node->init(extra => ['--data-checksums']);
$node->append_conf('postgresql.conf', join("\n", 'max_worker_processes = 12', 'max_connections = 50', 'restart_after_crash = on', 'dynamic_shared_memory_type = mmap', 'autovacuum_naptime = 1s',
	"movielens_ingest.retry_delay = '10ms'", 'movielens_ingest.defer_indexes = on', 'log_statement = none', 'max_parallel_workers_per_gather = 0'));
$node->start;

my %chaos = (node => $node, database => 'postgres', ingest => 'ingest', loader => 'loader', preloaded => 0, failed => {}, sessions => [], undo => []);
if (my $small = $ENV{CHAOS_SMALL})
{
	$chaos{small} = $small;
	mkdir("$small/space") or die "could not make $small/space: $!";
	$node->safe_psql('postgres', "CREATE TABLESPACE small LOCATION '$small/space'");
	$node->safe_psql('postgres', 'CREATE DATABASE chaos TABLESPACE small');
	$chaos{database} = 'chaos';
}
my $folder = PostgreSQL::Test::Utils::tempdir('files');
run_sql(\%chaos, 'CREATE SCHEMA ingest; CREATE EXTENSION movielens_ingest SCHEMA ingest; CREATE EXTENSION amcheck; CREATE ROLE loader LOGIN; GRANT pg_read_server_files TO loader; GRANT USAGE ON SCHEMA ingest TO loader');
make_files(sub { run_sql(\%chaos, @_) }, $folder, $seed);

my ($rounds, $imports, %happened) = (0, 0);
my @wrong;
while (!@wrong && time < $end)
{
	my @kinds = target_kinds();
	my @targets = map { create_target($kinds[ rand @kinds ], "target_$_", $chaos{loader}, $folder, $chaos{ingest}) } 1 .. 1 + int(rand(3));
	$chaos{targets} = \@targets;
	$chaos{imports} = [];
	$chaos{crashes} = 0;
	start_import($_) for @targets;
	$rounds++;
	$imports += @{ $chaos{imports} };

	my @acts;
	my $until = time + 0.5 + rand(4);
	sleep(rand(0.3));
	while (time < $until)
	{
		my $act = random_act(\%chaos);
		push @acts, $act if defined $act;
		$happened{ $act =~ s/target_\d\.\w+/TABLE/r =~ s/\d+/n/gr }++ if defined $act;
		sleep(rand() < 0.5 ? rand(0.05) : rand(0.6));
	}
	calm(\%chaos);
	my $name = "round $rounds: " . join(', ', map { $_->{name} } @targets) . ' (' . join('; ', @acts) . ')';
	@wrong = finish_imports(\%chaos);
	@wrong = broken_promises(\%chaos) if !@wrong;
	ok(!@wrong, $name) or diag(join("\n", @wrong));
	last if @wrong;
	run_sql(\%chaos, drop_target($_)) for @targets;
}
diag(sprintf('%d rounds with %d imports, %d acts', $rounds, $imports, eval { my $n = 0; $n += $_ for values %happened; $n }));
note("$_: $happened{$_}") for sort keys %happened;
note("an act met: $_: $chaos{failed}{$_}") for sort keys %{ $chaos{failed} };
$node->stop(@wrong ? 'immediate' : 'fast') if server_answers(\%chaos);
done_testing();

sub start_import
{
	my ($target) = @_;
	run_sql(\%chaos, drop_target($target));
	run_sql(\%chaos, $target->{create});
	my $options = join(', ', 'chunk_size => ' . (200, 1000, 5000)[ rand 3 ], 'max_workers => ' . (1 + int(rand(4))), 'max_retries => ' . int(rand(4)), 'force => true');
	my $writer = 'auto';
	$writer = ('auto', 'multi_insert', 'spi')[ rand 3 ] if $target->{name} !~ /^(partitioned|triggered)$/;
	my $call = $target->{data_set} ? "SELECT id || ' ' || file_name FROM $chaos{ingest}.ml_import_dataset('$target->{path}', $options)"
	  : "SELECT $chaos{ingest}.ml_import('$target->{path}', '" . (values %{ $target->{tables} })[0]{table} . "', $options)";
	my $said = run_sql(\%chaos, "SET search_path = $target->{schema}; SET movielens_ingest.writer = $writer; $call", rand() < 0.5 ? $chaos{loader} : undef);
	for my $line (split(/\n/, $said))
	{
		my ($id, $file) = split(/ /, $line);
		push @{ $chaos{imports} }, $id;
		($target->{data_set} ? $target->{tables}{$file} : (values %{ $target->{tables} })[0])->{import} = $id;
	}
	return;
}
