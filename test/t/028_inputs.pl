# Input that nobody has cleaned, against COPY: numbers, line ends, many columns, encodings whose characters contain ASCII;
# and files that are no CSV.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AsCopy;
use ImportTest;
use Test::More;

my $node = start_server('main');

# --- numbers ---

my @numbers = ('1_000', '0x1F', ' 7 ', "\331\243", '1e400', '1e-400', 'NaN', '-0', '1.', '.1', '+5', '1e5', '0b1', '0o7', '1,5', '--1', '+-1', '1 2', '', '""', ' ', "\t8", "8\013", "\302\2408",
	'Infinity', '-inf', 'nan(1)', '1e', '1d', '1f', '0x', '007', '32767', '32768', '-2147483648', '-2147483649', '9223372036854775808', '4e-46', '3.5e38', '0.1', '9' x 100, '1' . '0' x 400, "5\0");
for my $type ('smallint', 'integer', 'bigint', 'real', 'double precision', 'numeric', 'numeric(4, 1)', 'oid', 'money')
{
	as_copy($node, "numbers, $type", "n $type", join('', map { "$_\n" } 'n', map { /,/ ? qq("$_") : $_ } @numbers), ways => [ [ 1, 2 ], [ 30000, 1 ] ]);
}

# --- records that are hardly there ---

for my $end ("\n", "\r\n", "\r")
{
	my $shown = $end =~ s/\r/CR/r =~ s/\n/LF/r;
	is(as_copy($node, "only a header, $shown", 'a integer, b text', "a,b$end"), 0, '... none');
	is(as_copy($node, "blank lines for two columns, $shown", 'a integer, b text', join($end, 'a,b', '', '1,x', '', '', '2,y', '', '')), 4, '... each is a record');
	is(as_copy($node, "blank lines for one column, $shown", 'b text', join($end, 'b', '', 'x', '', '')), 0, '... NULL');
	is(as_copy($node, "blank lines for one column that must not be null, $shown", 'b text NOT NULL', join($end, 'b', '', 'x', '', '')), 2, '... refused');
	is(as_copy($node, "blank lines for one column of numbers, $shown", 'a integer', join($end, 'a', '', '1', ' ', '')), 1, '... NULL, but not a blank');
	is(as_copy($node, "no last line end, $shown", 'a integer, b text', join($end, 'a,b', '1,x', '2,"y"')), 0, '... the last record counts');
}
is(as_copy($node, 'a header without a line end', 'a integer, b text', 'a,b'), 0, '... is a header');
is(as_copy($node, 'an empty file without a header', 'a integer, b text', '', header => 'false'), 0, '... has no records');
is(as_copy($node, 'one line end without a header', 'a integer, b text', "\n", header => 'false'), 1, '... is a record');
is(as_copy($node, 'NUL bytes', 'a integer, b text', "a,b\n1,\0\n\0,b\n\0\n2,\"\0\"\n3,x\n\0", reason => 0), 5, '... are refused');
as_copy($node, 'a byte order mark inside', 'a integer, b text', "a,b\n1,\357\273\277x\n\357\273\2772,y\n");

# --- as many columns as a table can have ---

my @wide = (join(',', map { "c$_" } 1 .. 1600), map { my $n = $_; join(',', map { $n * $_ % 997 } 1 .. 1600) } 1 .. 40);
splice(@wide, 10, 0, ',' x 1599, ',' x 1598, ',' x 1600, ',' x 1599 . 'x', 'x' . ',' x 1599, '1' x 1600);
for my $writer (@writers)
{
	local $ENV{PGOPTIONS} = "-c movielens_ingest.writer=$writer";
	is(as_copy($node, "1,600 columns, writer $writer", join(', ', map { "c$_ smallint" } 1 .. 1600), join("\n", @wide, ''), ways => [ [ 1, 2 ], [ 30000, 1 ] ]), 5, '... those that do not fit');
}

# --- encodings whose characters contain ASCII ---

# Leads and trails of characters, some of which mean nothing. JOHAB's are all refused by COPY but for those without ASCII.
my %encodings = (
	SJIS    => [ [ 0x83, 0x88, 0x93, 0xE0 ], [ 0x40, 0x5C, 0x7C, 0x41, 0x7E, 0x80, 0xFC ] ],
	BIG5    => [ [ 0xA5, 0xA6, 0xB3, 0xC9 ], [ 0x40, 0x5C, 0x7C, 0x41, 0x7E, 0xA1, 0xFE ] ],
	GBK     => [ [ 0x81, 0xA0, 0xB0, 0xFE ], [ 0x40, 0x5C, 0x7C, 0x41, 0x7E, 0x80, 0xFE ] ],
	UHC     => [ [ 0x81, 0xA0, 0xB0, 0xC8 ], [ 0x41, 0x5A, 0x61, 0x7A, 0x81, 0xFE ] ],
	GB18030 => [ [ 0x81, 0xA0, 0xB0, 0xFE ], [ 0x40, 0x5C, 0x7C, 0x41, 0x7E, 0x80, 0xFE ] ],
	JOHAB   => [ [ 0x88, 0xB0, 0xD0, 0xE0 ], [ 0x41, 0x5C, 0x7C, 0x7E, 0xA1, 0xFE ] ]);
for my $encoding (sort keys %encodings)
{
	my @characters = map { my $lead = $_; map { pack('C2', $lead, $_) } @{ $encodings{$encoding}[1] } } @{ $encodings{$encoding}[0] };
	push @characters, pack('C4', 0x81, 0x30, 0x84, 0x36), pack('C4', 0x90, 0x30, 0x81, 0x30) if $encoding eq 'GB18030';
	my $lead = pack('C', $encodings{$encoding}[0][0]);
	for my $delimiter (',', '|', '\\', '@', 'A', '0')
	{
		my $d = $delimiter;
		my @records = ('1' . $d . 'plain', "2$d\"a\r\n\"\"b$d\"", (map { ("5$d$_", "5$d\"$_$d$_\"", "\"5\"$d$_\"$_\"\"$_\"$_", "x$_$d$_") } @characters), "$lead", "6$d$lead", "6$d\"$lead\"", "6$lead${d}x",
			"6$d\"$lead\r\n\"", "7$d\"\"\"$lead\"\"\"", "8${d}last");
		my $refused = as_copy($node, "$encoding, delimiter $delimiter", 'a integer, b text', join("\r\n", "a${d}b", @records, ''), options => "encoding => '$encoding', delimiter => '$delimiter'",
			copy => "ENCODING '$encoding', DELIMITER '$delimiter'", reason => 0, ways => [ [ 1, 3 ], [ 30000, 1 ] ]);
		cmp_ok($refused, '<', $encoding eq 'JOHAB' ? @records - 3 : @records * 0.6, '... most are loaded');
	}
}
{
	# The name of a column and the null string in SJIS; what is refused is shown, kept, and comes back.
	my $file = write_file('sjis.csv', "id,\203\\\n1,\203|\n2,\"\203\@\"\nx,\203\\\203|\n3,\203\n4,\"\203|\"\n");
	my $options = "encoding => 'SJIS', null_string => '\343\203\235', force_null => ARRAY['\343\202\275']";
	$node->safe_psql('postgres', "DROP TABLE IF EXISTS t; CREATE TABLE t (id integer, \"\343\202\275\" text)");
	my $id = start_import($node, $file, 't', $options);
	my $row = wait_import($node, $id);
	is("$row->{status} $row->{success_count} $row->{error_count}", 'Completed with errors 3 2', 'SJIS: names, NULL, refused records');
	is($node->safe_psql('postgres', q(SELECT string_agg(t::text, ' ' ORDER BY id) FROM t)), "(1,) (2,\343\202\241) (4,)", '... values and NULLs');
	is($node->safe_psql('postgres', "SELECT row_number, raw_line, encode(raw_bytes, 'hex') FROM rejected_rows WHERE uploaded_file_id = $id ORDER BY 1"),
		"3|x,\343\202\275\343\203\235|782c835c837c\n4|3,\\x83|332c83", '... what is refused is shown');
	is($node->safe_psql('postgres', "SELECT row_number, sqlstate, raw_line FROM ml_validate('$file', 't', $options)"), "3|22P02|x,\343\202\275\343\203\235\n4|22021|3,\\x83", '... as by ml_validate');
	$node->safe_psql('postgres', "DELETE FROM rejected_rows WHERE uploaded_file_id = $id AND sqlstate = '22021'");
	is($node->safe_psql('postgres', "SELECT ml_rejected_lines($id)"), "\"id\",\"\343\202\275\"\nx,\343\202\275\343\203\235", '... and comes back');
	fails_like($node, "SELECT ml_import('$file', 't', encoding => 'SJIS', escape => E'\\\\', force => true)", '0A000', qr/quote and escape must not be bytes that can be part of another character/,
		'a backslash can be part of a character');
	fails_like($node, "SELECT ml_import('$file', 't', encoding => 'SJIS', quote => '|', force => true)", '0A000', qr/quote and escape must not be bytes/, '... and so can |');
}

# --- files that are no CSV ---

my %kinds = (
	'UTF-16 text' => "\377\376i\0d\0,\0n\0a\0m\0e\0\n\0001\0,\0x\0\n\0",
	'UTF-16 text ' => "\0i\0d\0,\0n\0a\0m\0e\0\n\0001\0,\0x\0\n",
	'UTF-32 text' => "\377\376\0\0i\0\0\0d\0\0\0",
	'a pointer of Git LFS' => "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 533444411\n",
	'an HTML page' => "<!doctype HTML>\n<html><head><title>404</title></head>\n</html>\n",
	'a zip archive or a spreadsheet' => "PK\003\004\024\0\0\0\b\0ratings.csv\r\n\377\376",
	'a gzip file' => "\037\213\b\0\0\0\0\0\0\003\313\n",
	'a bzip2 file' => "BZh91AY&SY\346\n\0",
	'an xz file' => "\3757zXZ\0\0\004\346\n",
	'a zstd file' => "\050\265\057\375\044\n\0",
	'a Parquet file' => "PAR1\025\004\025\n\0",
	'an SQLite database' => "SQLite format 3\0\020\0\n",
	'a PDF document' => "%PDF-1.4\n%\342\343\317\323\n");
$node->safe_psql('postgres', 'DROP TABLE t; CREATE TABLE t (id integer, name text); CREATE TABLE pages ("<html" text, "PAR1" text)');
for my $kind (sort keys %kinds)
{
	my $file = write_file('ratings.csv', $kinds{$kind});
	my $name = $kind =~ s/ $//r;
	fails_like($node, "SELECT ml_import('$file', 't')", '22P04', qr/file ".*ratings\.csv" looks like \Q$name\E\n.*DETAIL: .*HINT: /s, "$kind: the error says so");
	fails_like($node, "SELECT ml_import('$file', 't', header => false)", '22P04', qr/looks like \Q$name\E\n/, '... without a header too');
	fails_like($node, "SELECT ml_import('$file', 't', columns => ARRAY['id'], encoding => 'LATIN1')", '22P04', qr/looks like \Q$name\E\n/, '... and with columns') if $kinds{$kind} =~ /\n.*\n/s;
	fails_like($node, "SELECT * FROM ml_validate('$file', 't')", '22P04', qr/looks like \Q$name\E\n/, '... to ml_validate too');
}
for my $header ("<html,PAR1", "PAR1,<HTML")
{
	my $row = imported($node, write_file('pages.csv', "$header\n<html>,PAR1\n"), 'pages');
	is("$row->{status} $row->{success_count}", 'Completed 1', "a table that has the columns $header is loaded");
}
is(imported($node, write_file('data.csv', "<html>,PAR1\n<html>,x\n"), 'pages', 'header => false')->{success_count}, 2, '... and one that takes the values');
is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), '0', 'nothing of the others is loaded');

$node->stop;
done_testing();
