#!/usr/bin/env perl
# What was measured, for people and programs: report.pl FOLDER CONFIGURATION...
# Reads FOLDER/CONFIGURATION.json, and FOLDER/planning if there is one; prints tables, and writes FOLDER/results.json,
# and for the chart FOLDER/chart.tsv and chart.title.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Floors;
use JSON::PP;
use Meter;
use Ways;

my ($folder, @configurations) = @ARGV;
# The groups that the chart shows, of the first configuration.
my @charted = qw(heap ratings dataset);
my ($import_colour, $copy_colour) = (0x1f6fb4, 0xb0b0b0);

sub grouped
{
	my ($number) = @_;
	1 while $number =~ s/^(\d+)(\d{3})/$1,$2/;
	return $number;
}

sub seconds { return sprintf($_[0] < 0.1 ? '%.4f' : $_[0] < 1 ? '%.3f' : '%.2f', $_[0]) }

sub machine
{
	my ($processor) = Meter::slurp('/proc/cpuinfo') =~ /^(?:model name|Model)\s*:\s*(.*)/m;
	my ($kb) = Meter::slurp('/proc/meminfo') =~ /^MemTotal:\s*(\d+)/m;
	my ($kernel) = Meter::slurp('/proc/sys/kernel/osrelease') =~ /^(\d+\.\d+)/;
	my $cores = () = Meter::slurp('/proc/cpuinfo') =~ /^processor\b/mg;
	return { processor => $processor // 'unknown', cores => $cores, memory_gb => 0 + sprintf('%.0f', $kb / 1024 / 1024),
		kernel => "Linux $kernel" };
}

sub wal_mb { return sprintf($_[0] < 1e7 ? '%.2f' : '%.0f', $_[0] / 1024 / 1024) }

sub mb { return defined $_[0] ? sprintf('%.0f', $_[0] / 1024) : '-' }

sub print_table
{
	my ($results) = @_;
	my $group = '';
	foreach my $result (@$results)
	{
		if ($result->{group} ne $group)
		{
			$group = $result->{group};
			printf "\n%-27s %10s %8s %17s %10s %8s %7s %7s %8s\n", $Ways::group_titles{$group}, 'rows', 'seconds',
			  'min - max', 'rows/s', 'WAL MB', 'CPU s', 'load MB', 'index MB';
		}
		printf "  %-25s %10s %8s %17s %10s %8s %7s %7s %8s\n", $result->{title}, grouped($result->{rows}),
		  seconds($result->{median}), seconds($result->{min}) . ' - ' . seconds($result->{max}),
		  grouped($result->{rows_per_second}), wal_mb($result->{wal_bytes}), $result->{cpu_seconds},
		  mb($result->{peak_load_kb}), mb($result->{peak_index_kb});
	}
}

# What a row costs as the file grows, against the one of a quarter of the rows.
sub print_growth
{
	my %result = map { ($_->{way} => $_) } @{ $_[0] };
	my @results = grep { $_ } @result{qw(growth/twentieth growth/quarter ratings/import)};
	return if @results < 3;
	my ($small, $quarter, $all) = map { $_->{median} / $_->{rows} } @results;
	printf "\nratings as shipped, import: time per row with %s, %s, %s rows as %.2f : 1 : %.2f\n",
	  (map { grouped($_->{rows}) } @results), $small / $quarter, $all / $quarter;
}

# Bars of rows a second, a scale that every group shares, from the top downwards: place, label, rate, the lowest and the
# highest, colour, what is written at its end.
sub write_chart
{
	my ($results) = @_;
	open(my $file, '>', "$folder/chart.tsv") or die "chart.tsv: $!\n";
	my $place = 0;
	foreach my $group (@charted)
	{
		my @results = grep { $_->{group} eq $group } @$results or next;
		printf $file "%d\t{/:Bold %s}\t0\t0\t0\t0\t\n", $place--, $Ways::group_titles{$group};
		foreach my $result (@results)
		{
			my ($rate, $lowest, $highest) = map { $result->{rows} / $result->{$_} / 1e6 } qw(median max min);
			print $file join("\t", $place--, $result->{title}, $rate, $lowest, $highest,
				$result->{title} =~ /import/ ? $import_colour : $copy_colour, seconds($result->{median}) . ' s'), "\n";
		}
		$place--;
	}
	close($file) or die "chart.tsv: $!\n";
}

my %report = (scale => 0 + $ENV{SCALE}, seed => 0 + $ENV{SEED}, rounds => 0 + $ENV{ROUNDS}, machine => machine());
foreach my $configuration (@configurations)
{
	my $measured = decode_json(Meter::slurp("$folder/$configuration.json"));
	$report{versions}{$_} = delete $measured->{$_} foreach qw(postgresql movielens_ingest);
	$report{configurations}{$configuration} = $measured;
}
my $planning = Meter::slurp("$folder/planning");
$report{planning_gb_per_second} = 0 + $planning if $planning;
my ($first) = map { $report{configurations}{$_}{results} } @configurations;
$report{floors} = Floors::judge($report{planning_gb_per_second}, @$first);

my ($machine, $versions) = @report{qw(machine versions)};
my $where = "PostgreSQL " . $versions->{postgresql} =~ s/ .*//r . ", movielens_ingest $versions->{movielens_ingest}, "
  . "$machine->{processor}, $machine->{cores} cores, $machine->{memory_gb} GB, $machine->{kernel}";
print "\n$where\nscale $report{scale} of MovieLens 20M, seed $report{seed}; medians of $report{rounds} rounds\n";
foreach my $configuration (@configurations)
{
	my $measured = $report{configurations}{$configuration};
	my $settings = $measured->{settings};
	print "\n--- $configuration: ", join(', ', map { "$_ $settings->{$_}" } qw(shared_buffers maintenance_work_mem wal_buffers
		  max_wal_size checkpoint_timeout fsync synchronous_commit full_page_writes autovacuum)), "\n";
	print_table($measured->{results});
	print_growth($measured->{results});
}
Floors::print_table($report{floors}, $configurations[0], $report{scale});

write_chart($first);
open(my $file, '>', "$folder/chart.title") or die "chart.title: $!\n";
print $file "scale $report{scale} of MovieLens 20M, $configurations[0] settings; medians of $report{rounds} rounds\n$where\n";
close($file) or die "chart.title: $!\n";
open($file, '>', "$folder/results.json") or die "results.json: $!\n";
print $file JSON::PP->new->canonical->pretty->encode(\%report);
close($file) or die "results.json: $!\n";
