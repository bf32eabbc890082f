# What imports are to reach on two cores with the tuned configuration. Times are shown, never asserted.
package Floors;
use strict;
use warnings;

use JSON::PP;
use List::Util qw(max);

# title, how many times as fast, which way, than which
my @ratios = (
	[ 'bare table, two processes : COPY', 3.0, 'heap/import-2', 'heap/copy' ],
	[ 'bare table, two processes : two COPYs', 2.0, 'heap/import-2', 'heap/copy-2' ],
	[ 'bare table, one process : COPY', 2.0, 'heap/import-1', 'heap/copy' ],
	[ 'ratings, import : COPY', 12, 'ratings/import', 'ratings/copy' ],
	[ 'ratings, import : by hand', 1.6, 'ratings/import', 'ratings/by-hand' ],
	[ 'data set, import : COPY file by file', 10, 'dataset/import', 'dataset/copy' ],);

sub entry
{
	my ($title, $value, $unit, $sense, $bound) = @_;
	my $met = $sense eq 'at least' ? $value >= $bound : $value <= $bound;
	return { title => $title, value => 0 + sprintf('%.2f', $value), unit => $unit, sense => $sense, bound => $bound,
		met => $met ? JSON::PP::true : JSON::PP::false };
}

# judge PLANNING, RESULT...: of each floor that something was measured for, what was reached
sub judge
{
	my ($planning, @results) = @_;
	my %result = map { ($_->{way} => $_) } @results;
	my @entries;
	foreach (@ratios)
	{
		my ($title, $bound, $way, $than) = @$_;
		push @entries, entry($title, $result{$than}{median} / $result{$way}{median}, 'times', 'at least', $bound)
		  if $result{$way} && $result{$than};
	}
	my ($all, $quarter, $small) = @result{ 'ratings/import', 'growth/quarter', 'small/one-row-import' };
	my $per_row = sub { return $_[0]{median} / $_[0]{rows} };
	push @entries, entry('time per row, all ratings : a quarter', $per_row->($all) / $per_row->($quarter), 'times',
		'at most', 1.15) if $all && $quarter;
	my $peak = max(map { $_->{peak_load_kb} // 0 } grep { $_->{title} =~ /import/ } @results);
	push @entries, entry('private memory of a process that loads', $peak / 1024, 'MB', 'at most', 64) if $peak;
	push @entries, entry('a file of one row, to Completed', $small->{median} * 1000, 'ms', 'at most', 50) if $small;
	push @entries, entry('planning with checksum, one core', $planning, 'GB/s', 'at least', 2) if $planning;
	return \@entries;
}

sub print_table
{
	my ($entries, $configuration, $scale) = @_;
	return unless @$entries;
	printf "\n%-42s %10s %17s\n", "floors ($configuration)", 'reached', $scale == 1 ? 'wanted' : 'wanted at scale 1';
	foreach my $entry (@$entries)
	{
		printf "%-42s %10.2f %17s  %s\n", $entry->{title}, $entry->{value}, "$entry->{sense} $entry->{bound} $entry->{unit}",
		  $entry->{met} ? 'met' : 'MISSED';
	}
}

1;
