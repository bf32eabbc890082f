#!/usr/bin/env perl
# Measures the ways of Ways.pm on a running server, in rounds: measure.pl CONFIGURATION PGDATA DATA RESULT
# Every way runs once a round, in an order that is rotated. One that leaves other rows than COPY does ends it all.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use List::Util qw(max min);
use Meter;
use Ways;

my ($configuration, $pgdata, $data, $result) = @ARGV;
my $rounds = $ENV{ROUNDS};
my ($postmaster) = Meter::slurp("$pgdata/postmaster.pid") =~ /^(\d+)/ or die "no server runs in $pgdata\n";
my @psql = qw(psql -XqAt -v ON_ERROR_STOP=1);
$| = 1;
$ENV{PGOPTIONS} = '-c client_min_messages=warning';

sub sql
{
	my @statements = @_;
	open(my $psql, '-|', @psql, map { ('-c', $_) } @statements) or die "psql: $!\n";
	my @lines = <$psql>;
	close($psql) or die "failed: @statements\n";
	chomp(@lines);
	return wantarray ? @lines : $lines[-1];
}

# start_session NUMBER, STATEMENTS: a psql that runs them, told by a file.
sub start_session
{
	my ($number, $statements) = @_;
	my $script = "$result.$number.sql";
	open(my $file, '>', $script) or die "$script: $!\n";
	print $file map { /\\gset$/ ? "$_\n" : "$_;\n" } @$statements;
	close($file) or die "$script: $!\n";
	open(my $psql, '-|', @psql, '-f', $script) or die "psql: $!\n";
	return { psql => $psql, script => $script };
}

# run WAY: runs its sessions at once, and returns the seconds and the bytes of WAL of each repetition.
sub run
{
	my ($way) = @_;
	my $mark = sub { "SELECT '$_[0]', extract(epoch FROM clock_timestamp()), pg_current_wal_insert_lsn() - '0/0'" };
	my @sessions;
	foreach my $statements (@{ $way->{sessions} })
	{
		my @once = ($way->{reset} // (), $mark->('start'), @$statements, $mark->('end'));
		push @sessions, start_session(scalar(@sessions), [ (@once) x $way->{repeat} ]);
	}
	my (@starts, @ends);
	foreach my $session (@sessions)
	{
		my ($started, $ended) = (0, 0);
		my $psql = $session->{psql};
		while (my $line = <$psql>)
		{
			if ($line =~ /^start\|(.*)\|(.*)/) { push @{ $starts[ $started++ ] }, [ $1, $2 ] }
			elsif ($line =~ /^end\|(.*)\|(.*)/) { push @{ $ends[ $ended++ ] }, [ $1, $2 ] }
			elsif ($line ne "Completed\n") { die "$way->{name}: $line" }
		}
		close($psql) or die "$way->{name} failed\n";
		unlink($session->{script});
	}
	my $between = sub {
		my ($repetition, $what) = @_;
		return max(map { $_->[$what] } @{ $ends[$repetition] }) - min(map { $_->[$what] } @{ $starts[$repetition] });
	};
	return map { { seconds => $between->($_, 0), wal => $between->($_, 1) } } 0 .. $#starts;
}

# The number and a sum over the rows of a table, in whatever order they stand.
sub rows_of
{
	my ($table) = @_;
	return sql("SELECT count(*) || ' ' || coalesce(sum(hash_record_extended(t, 0)), 0) FROM $table t");
}

sub fresh_tables
{
	my ($way) = @_;
	sql('DROP SCHEMA IF EXISTS bench CASCADE', 'CREATE SCHEMA bench', @{ $way->{prepare} }, 'CHECKPOINT');
	sql(q(SELECT pg_prewarm('ingest.other'))) if $configuration eq 'full';
	return;
}

# Into the page cache.
sub read_files
{
	foreach my $path (@_)
	{
		open(my $file, '<:raw', $path) or die "$path: $!\n";
		1 while read($file, my $buffer, 1 << 20);
	}
	return;
}

# The rows of a file as COPY reads them, into a table with no more than its columns.
my %expected;

sub expected
{
	my ($table, $file) = @_;
	return $expected{$file} //= do
	{
		fresh_tables({ prepare =>
			  [ "SELECT FROM ml_create_tables('bench')", "CREATE TABLE copied (LIKE $table)", Ways::copy('copied', $file) ] });
		rows_of('copied');
	};
}

sub check
{
	my ($way) = @_;
	my $tables = $way->{tables};
	foreach my $table (sort keys %$tables)
	{
		my ($expected, $rows) = ($expected{ $tables->{$table} }, rows_of($table));
		die "$way->{name}: $table has the rows $rows, COPY's are $expected\n" unless $rows eq $expected;
	}
	my $invalid = sql("SELECT count(*) FROM pg_index WHERE NOT indisvalid OR NOT indisready");
	die "$way->{name}: an index is not valid\n" if $invalid;
	return;
}

# once WAY: measures it, adds to its results, and returns its seconds.
sub once
{
	my ($way) = @_;
	fresh_tables($way);
	read_files(values %{ $way->{tables} });
	my $watch = Meter::watch($postmaster);
	my $cpu = Meter::cpu_seconds($postmaster);
	my @repetitions = run($way);
	my @seconds = map { $_->{seconds} } @repetitions;
	# What came between repetitions is in these: a TRUNCATE.
	push @{ $way->{cpu_seconds} }, (Meter::cpu_seconds($postmaster) - $cpu) / @repetitions;
	push @{ $way->{wal_bytes} }, map { $_->{wal} } @repetitions;
	push @{ $way->{seconds} }, @seconds;
	my $peaks = Meter::peaks($watch);
	$way->{peak_kb}{$_} = max($way->{peak_kb}{$_} // 0, $peaks->{$_}) foreach keys %$peaks;
	check($way);
	return min(@seconds);
}

sub median
{
	my @sorted = sort { $a <=> $b } @_;
	return ($sorted[ $#sorted / 2 ] + $sorted[ @sorted / 2 ]) / 2;
}

sub result_of
{
	my ($way) = @_;
	my $rows = 0;
	$rows += (split(' ', $expected{$_}))[0] foreach values %{ $way->{tables} };
	my @seconds = @{ $way->{seconds} };
	my %result = (
		way => $way->{name}, group => Ways::group_of($way), title => $way->{title}, rows => $rows,
		seconds => [ map { 0 + sprintf('%.4f', $_) } @seconds ],
		median => 0 + sprintf('%.4f', median(@seconds)), min => 0 + sprintf('%.4f', min(@seconds)),
		max => 0 + sprintf('%.4f', max(@seconds)), rows_per_second => int($rows / median(@seconds)));
	$result{wal_bytes} = int(median(@{ $way->{wal_bytes} }));
	$result{cpu_seconds} = 0 + sprintf($way->{repeat} > 1 ? '%.4f' : '%.2f', median(@{ $way->{cpu_seconds} }));
	$result{"peak_${_}_kb"} = $way->{peak_kb}{$_} foreach keys %{ $way->{peak_kb} };
	return \%result;
}

my @ways = Ways::selected($configuration, $ENV{WAYS}, Ways::all($data));
sql('CREATE SCHEMA ingest', 'CREATE EXTENSION movielens_ingest SCHEMA ingest',
	'ALTER DATABASE postgres SET search_path = bench, ingest');
if ($configuration eq 'full')
{
	sql('CREATE EXTENSION pg_prewarm', q(CREATE TABLE ingest.other AS SELECT repeat('x', 1900)
		FROM generate_series(1, 4 * pg_size_bytes(current_setting('shared_buffers')) / 8192)));
}
foreach my $way (@ways)
{
	expected($_, $way->{tables}{$_}) foreach sort keys %{ $way->{tables} };
}
foreach my $round (1 .. $rounds)
{
	foreach my $way (@ways)
	{
		printf "%s, round %d of %d: %-26s %9.3f s\n", $configuration, $round, $rounds, $way->{name}, once($way);
	}
	# Each way stands once early and once late.
	push @ways, splice(@ways, 0, @ways > $rounds ? @ways / $rounds : 1);
}

my @settings = qw(shared_buffers maintenance_work_mem wal_buffers max_wal_size min_wal_size checkpoint_timeout wal_level
  fsync synchronous_commit full_page_writes max_parallel_maintenance_workers max_worker_processes autovacuum);
my %report = (
	postgresql => sql('SHOW server_version'),
	movielens_ingest => sql("SELECT extversion FROM pg_extension WHERE extname = 'movielens_ingest'"),
	settings => { map { ($_ => scalar sql("SHOW $_")) } @settings },
	results => [ map { result_of($_) } sort { $a->{number} <=> $b->{number} } @ways ]);
open(my $file, '>', $result) or die "$result: $!\n";
print $file JSON::PP->new->canonical->encode(\%report);
close($file) or die "$result: $!\n";
