# A random file for a table: its dialect, its header, its records; some of these are as they should not be.
package Property::File;

use strict;
use warnings;

use Encode ();
use Exporter qw(import);
use List::Util qw(any shuffle);
use Property::Random;
use Property::Table;

our @EXPORT = qw(random_dialect random_head random_records);

my %line_ends = (LF => "\n", CRLF => "\r\n", CR => "\r");

# Those whose characters contain ASCII, and the names that Encode has for them, or for what is much the same.
my %client_encodings = (SJIS => 'cp932', SHIFT_JIS_2004 => 'shiftjis', BIG5 => 'cp950', GBK => 'cp936', GB18030 => 'cp936', UHC => 'cp949', JOHAB => 'johab');

# delimiter, quote, escape, null_string, header, columns, force_null, force_not_null, encoding: as the options of an import
# line_end, bom
sub random_dialect
{
	my ($table) = @_;
	my %dialect = (delimiter => ',', quote => '"', null_string => '');
	$dialect{encoding} = chance(0.3) ? one_of('LATIN1', sort keys %client_encodings) : 'UTF8';
	if (chance(0.4))
	{
		$dialect{delimiter} = one_of(';', '|', "\t", ':', ' ', 'a', '0', '.', '\\', "\001");
		$dialect{quote} = one_of('\'', '"', '|', '%', 'x', '\\');
		$dialect{quote} = '"' if $dialect{quote} eq $dialect{delimiter};
	}
	$dialect{escape} = chance(0.75) ? $dialect{quote} : one_of('\\', '/', '"', $dialect{delimiter}, 'e');
	if (chance(0.3))
	{
		my $null = one_of('NULL', '\\N', 'x', '0', ' ', '-', "\303\251", 'null value');
		$dialect{null_string} = $null if index($null, $dialect{quote}) < 0 && index($null, $dialect{delimiter}) < 0;
	}
	# Bytes that can be a part of another character: README, "Options".
	$dialect{quote} = $dialect{delimiter} eq '"' ? '\'' : '"' if $client_encodings{ $dialect{encoding} } && $dialect{quote} ge '0';
	$dialect{escape} = $dialect{quote} if $client_encodings{ $dialect{encoding} } && $dialect{escape} ge '0';
	$dialect{line_end} = $line_ends{ one_of('LF', 'LF', 'CRLF', 'CRLF', 'CR') };
	$dialect{header} = chance(0.7);
	my @names = map { $_->{name} } @{ $table->{columns} };
	# Without a header that is read, the fields are for all columns of the table, or those that are named.
	$dialect{columns} = [@names] if !$dialect{header} || chance(0.2);
	$dialect{force_null} = [ some_of(0.3, @names) ] if chance(0.15);
	$dialect{force_not_null} = [ some_of(0.3, @names) ] if chance(0.15);
	$dialect{bom} = $dialect{encoding} eq 'UTF8' && chance(0.15);
	return \%dialect;
}

sub quoted
{
	my ($value, $dialect) = @_;
	my ($quote, $escape) = @$dialect{qw(quote escape)};
	$value =~ s/(\Q$quote\E|\Q$escape\E)/$escape$1/g;
	return $quote . $value . $quote;
}

# As COPY TO would write it, but that quotes stand where they need not be too.
sub field
{
	my ($value, $dialect) = @_;
	return $dialect->{null_string} if !defined $value;
	my $needed = $value eq $dialect->{null_string} || $value =~ /[\r\n]/ || any { index($value, $_) >= 0 } @$dialect{qw(delimiter quote)};
	return $needed || $value eq '\\.' || chance(0.15) ? quoted($value, $dialect) : $value;
}

sub in_encoding
{
	my ($bytes, $dialect) = @_;
	return $bytes if $dialect->{encoding} eq 'UTF8' || chance(0.1);
	my $copy = $bytes;
	my $text = eval { Encode::decode('UTF-8', $copy, Encode::FB_CROAK) } // return $bytes;
	return Encode::encode($client_encodings{ $dialect->{encoding} } // 'iso-8859-1', $text);
}

# The bytes before the first record.
sub random_head
{
	my ($table, $dialect) = @_;
	my $head = $dialect->{bom} ? "\357\273\277" : '';
	return $head if !$dialect->{header};
	return $head . 'whatever' . $dialect->{line_end} if $dialect->{columns} && chance(0.5);
	my @names = map { my $name = $_->{name}; chance(0.1) ? uc $name : $name } @{ $table->{columns} };
	return $head . join($dialect->{delimiter}, map { quoted($_, $dialect) } @names) . $dialect->{line_end};
}

# What befalls a record as a whole; it has no line end yet.
sub mangled
{
	my ($record, $dialect) = @_;
	my ($delimiter, $quote, $escape) = @$dialect{qw(delimiter quote escape)};
	my $at = int(rand(length($record) + 1));
	return one_of(
		sub { $record . $delimiter },
		sub { $record . $delimiter . one_of('x', "$quote$quote", "${quote}a${delimiter}b$quote") },
		sub { $record =~ s/\Q$delimiter\E(?!.*\Q$delimiter\E).*//sr },
		sub { '' },
		sub { one_of('\\.', ' \\.', '\\. ', '\\.\\.', "$quote\\.$quote") },
		sub { substr($record, 0, $at) . $quote . substr($record, $at) },
		sub { substr($record, 0, $at) . one_of($quote, "$quote$quote", "$quote$quote$quote", "$escape$quote", $escape, "$quote\n$quote", "$quote\r$quote") . substr($record, $at) },
		sub { my $inside = one_of('text', ' ', "\n", "$delimiter"); $record . $inside . $quote . $inside . $quote . $inside },
		sub { $quote . $record },
		sub { $record . $quote },
		sub { substr($record, 0, $at) . one_of("\r", "\n", "\r\n", "\n\r", "\r\r\n") . substr($record, $at) },
		sub { substr($record, 0, $at) . one_of("\0", "\377", "\303", "\342\202", "\200", "\203\\", "\201\060", "\244\"") . substr($record, $at) },
		sub { substr($record, 0, $at) },
		sub { $record . one_of("\303", "\342\202", "\\") },
		sub { join('', map { chr(rand 256) } 1 .. between(1, 40)) },
		sub { join('', map { one_of($delimiter, $quote, $escape, "\n", "\r", 'a', '1', '\\', '.') } 1 .. between(1, 12)) })->();
}

# Each with its line end.
sub random_records
{
	my ($table, $dialect) = @_;
	my $count = one_of(0, 1, 2, 3, 8, 20, 20, 60, 60, 200);
	my $hostile = one_of(0, 0.01, 0.05, 0.05, 0.2, 0.6); # share of the fields
	my $mangled = one_of(0, 0, 0.02, 0.05, 0.3);         # of the records
	my $broken = one_of(0, 0, 0.02);                     # of the line ends
	my $long = chance(0.2) ? 0.02 : 0;
	my @records;
	for (1 .. $count)
	{
		my @fields = map {
			my $kind = chance($hostile) ? chance(0.1) ? 'bytes' : 'hostile' : chance($long) ? 'long' : 'good';
			my $value = random_value($table, $_, $kind);
			$kind eq 'hostile' && chance(0.2) ? $value : field($value, $dialect)
		} @{ $table->{columns} };
		my $record = join($dialect->{delimiter}, @fields);
		$record = mangled($record, $dialect) if chance($mangled);
		push @records, in_encoding($record, $dialect) . (chance($broken) ? one_of("\n", "\r", "\r\n", "\n\n", '') : $dialect->{line_end});
	}
	push @records, ($dialect->{line_end}) x between(1, 2) if chance(0.05);
	$records[-1] =~ s/[\r\n]+\z// if @records && chance(0.3);
	return \@records;
}

1;
