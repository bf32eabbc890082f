# Line breaks, line ends and halves of characters right at the edges of chunks and buffers, and quotes that never close in the
# middle of a large file: as COPY has it, whatever the size of chunks and the number of processes.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AsCopy;
use ImportTest;
use Test::More;

my $node = start_server('main', 'max_wal_size = 4GB');

# --- edges ---

as_copy($node, 'line breaks at the edges of records', 'a text, b text', "a,b\r\n" . join('', map { "\"\r\n\",\"\n\"\r\n\"\r\",\"\r\n\r\n\"\r\n\"\"\"\",\"\r\n\"\"\"\r\n\"x\n\",\"\"\r\n" } 1 .. 5));

my @whole = ([ 30000, 1 ]);

# A piece of a chunk has 16 MB, a buffer of the planner 1 MB; both are counted from the first record. Long records are cut
# there at each byte of what is in their quotes, then at each byte of a record's end.
my $period = "\"\"\r\n\303\251\360\237\216\254,\n";
for my $shift (0 .. length($period) - 1)
{
	my $bytes = "a,b\r\n";
	$bytes .= "$_,\"" . 'x' x $shift . $period x (80000 + $_) . "\"\r\n" for 1 .. 20;
	is(as_copy($node, "quoted line breaks at the edges of buffers, $shift", 'a integer, b text', $bytes, ways => \@whole), 0, '... none');
}
for my $shift (0 .. 4)
{
	my $bytes = "a,b\r\n";
	for my $n (1 .. 18)
	{
		my $start = sprintf('%02d,"', $n);
		$bytes .= $start . 'y' x ((1 << 20) - length("$start\"\"\"\r\n") + ($n == 1 ? $shift : 0)) . "\"\"\"\r\n";
	}
	is(as_copy($node, "line ends at the edges of buffers, $shift", 'a integer, b text', $bytes, ways => \@whole), 0, '... none');
	next if $shift > 2;
	$bytes =~ s/\r//g;
	substr($bytes, (1 << 20) + 4 - $shift, 1) = "\303";
	substr($bytes, 16 * (1 << 20) + 20 - $shift, 1) = "\303";
	as_copy($node, "half a character at the edges of buffers, $shift", 'a integer, b text', $bytes, ways => \@whole, reason => 0);
}

# --- a quote that never closes, in the middle ---

my @large = map { "$_,\"say \"\"$_\"\", twice\"" } 1 .. 60000;
my @ways = ([ 1000, 3 ], [ 29999, 2 ], [ 30000, 1 ], [ 100000, 1 ]);
{
	local $large[29999] = '30000,"open';
	is(as_copy($node, 'a quote that never closes', 'a integer, b text', join("\n", 'a,b', @large, ''), ways => \@ways), 1, '... only its line is refused');
	is($node->safe_psql('postgres', 'SELECT line_number, sqlstate, message, raw_line FROM rejected_rows ORDER BY id DESC LIMIT 1'),
		'30001|22P04|unterminated CSV quoted field|30000,"open', '... with its number');
	is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT a), max(b) FROM t'), '59999|59999|say "9999", twice', '... and the others are in');
	# A line break in quotes further on ends the record there; behind it each line is a record.
	local $large[40000] = "40001,\"two\nlines\"";
	local $large[50000] = "50001,\"two\nlines\"";
	as_copy($node, 'a quote that closes much later', 'a integer, b text', join("\n", 'a,b', @large, ''), ways => \@ways);
	local $large[50001] = '50002,"open';
	as_copy($node, 'quotes that never close', 'a integer, b text', join("\r\n", 'a,b', @large, ''), ways => \@ways);
}

$node->stop;
done_testing();
