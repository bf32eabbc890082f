# Records whose bytes are text of an encoding, nearly so, or not at all. All choices come from rand(): srand() repeats them.
package EncodedRecords;

use strict;
use warnings;

use Exporter qw(import);
use Property::Random;

our @EXPORT = qw(random_codes random_form random_record);

# Unicode blocks that the encodings have something of.
my @blocks = ([ 0xA0, 0xFF ], [ 0x100, 0x24F ], [ 0x370, 0x52F ], [ 0x5D0, 0x64A ], [ 0xE01, 0xE5B ], [ 0x1E02, 0x1EF9 ], [ 0x2010, 0x203E ], [ 0x2100, 0x266F ], [ 0x3000, 0x30FF ],
	[ 0x4E00, 0x9FFF ], [ 0x4E00, 0x5FFF ], [ 0xAC00, 0xD7A3 ], [ 0xE000, 0xF8FF ], [ 0xFF01, 0xFFE6 ], [ 0x1F300, 0x1F6FF ], [ 0x20000, 0x2A6D6 ]);

sub random_codes { return map { between(@{ one_of(@blocks) }) } 1 .. $_[0] }

# delimiter, quote, escape: as the options of an import; line_end. A quote that can be a part of another character is refused
# where text is converted: README, "Options".
sub random_form
{
	my ($converted) = @_;
	my %form = (delimiter => one_of(',', '|', '\\', '@', 'A', '0', '~', '['), quote => one_of('"', '"', '\'', $converted ? () : '^'), line_end => one_of("\n", "\r\n"));
	$form{escape} = one_of($form{quote}, $form{quote}, '/');
	return \%form;
}

sub bytes { return join('', map { chr(rand 256) } 1 .. $_[0]) }

sub cut { my ($character) = @_; return substr($character, 0, between(1, length($character) - 1) || 1) }

# A few characters of the pool, or what is left of them.
sub random_text
{
	my ($pool, $form, $broken) = @_;
	my $character = sub { chance(0.3) ? one_of('a', 'B', '7', ' ', '.') : one_of(@$pool) };
	my @parts = map { $character->() } 1 .. between(0, 6);
	return join('', @parts) if !$broken;

	my $at = int(rand(@parts + 1));
	splice(@parts, $at, 0, one_of(
		sub { bytes(between(1, 4)) },
		sub { cut(one_of(@$pool)) },
		# A last byte that means something, or a digit, as GB18030 has them.
		sub { cut(one_of(@$pool)) . one_of(@$form{qw(delimiter quote escape)}, '\\', '|', '0', '9', "\n", "\0") },
		sub { one_of(@$pool) . substr(one_of(@$pool), -1) },
		sub { my $both = one_of(@$pool) . one_of(@$pool); substr($both, rand length $both, 1) = chr(rand 256); $both },
		sub { chr(between(0x80, 0xFF)) . one_of(@$pool) },
		sub { pack('C4', between(0x81, 0xFE), between(0x30, 0x39), between(0x81, 0xFE), between(0x30, 0x39)) },
		sub { chr(one_of(0x80 .. 0x9F)) . bytes(between(0, 3)) })->());
	return join('', @parts);
}

# As it stands in a file. Only in quotes a line end does not end the record.
sub field
{
	my ($text, $form) = @_;
	my ($quote, $escape) = @$form{qw(quote escape)};
	return $text =~ s/[\r\n\Q$quote\E]//gr if chance(0.5);
	return $quote . $text =~ s/(\Q$quote\E|\Q$escape\E)/$escape$1/gr . $quote;
}

# { name, fields (two, as they stand in the record), bytes (without line end) }. The name consists of letters that no form
# gives a meaning to.
sub random_record
{
	my ($number, $pool, $form) = @_;
	my $name = sprintf('%04x', $number) =~ tr/0-9a-f/g-v/r;
	my $broken = chance(0.5) ? between(1, 3) : 0;
	my @fields = map { field(random_text($pool, $form, $broken & $_), $form) } 1, 2;
	return { name => $name, fields => \@fields, bytes => join($form->{delimiter}, $name, @fields) };
}

1;
