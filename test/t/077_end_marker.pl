# Lines of \. in CSV, against COPY FROM a file. Up to PostgreSQL 17 one that stands alone ends what COPY reads; an import
# refuses it, and loads the rest as COPY loads the file without it. From 18 on it is data, to both. Which of them holds, COPY is
# asked. In whatever chunks, with any line end, with quotes and escapes that are part of the marker; ml_validate says the same.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use Test::More;

my $seed = $ENV{SEED} // 1;
my $node = start_server('main', 'fsync = off', 'autovacuum = off');
my $marker = qr/^end-of-copy marker found in data$/m;

sub hash_of { my ($table) = @_; return "SELECT count(*) || ' ' || coalesce(md5(string_agg(md5(r::text), ' ' ORDER BY md5(r::text))), '') FROM $table r" }

$node->safe_psql('postgres', 'CREATE TABLE probe (a text)');
my $probe = write_file('probe.csv', "x\n\\.\ny\n");
my $ends = $node->safe_psql('postgres', "COPY probe FROM '$probe' (FORMAT csv); SELECT count(*) FROM probe") == 1;
note $ends ? '\\. ends what COPY reads' : '\\. is data to COPY';

# Imports the file in chunks of several sizes, and compares with what COPY makes of the records without those that were refused.
# Returns the messages of these.
sub as_copy_has_it
{
	my ($name, $columns, $head, $records, $line_end, %case) = @_;
	my $bytes = join('', $head, @$records);
	my $file = write_file('import.csv', $bytes);
	my $form = join(', ', map { "$_->[0] => '" . ($_->[1] =~ s/'/''/gr) . "'" } @{ $case{form} // [] });
	my $header = 'header => ' . ($head eq '' ? 'false' : 'true');
	my (@wrong, $messages);

	$node->safe_psql('postgres', "DROP TABLE IF EXISTS t, copied; CREATE TABLE t ($columns); CREATE TABLE copied (LIKE t)");
	for my $way ([ 1, 2 ], [ 2, 1 ], [ 3, 3 ], [ 30000, 1 ])
	{
		my $options = join(', ', $header, $form || ());
		my @lines = split(/\n/, $node->safe_psql('postgres', "TRUNCATE t; SELECT ml_import('$file', 't', chunk_size => $way->[0], min_chunks => 1, max_workers => $way->[1], force => true, $options) AS id \\gset
			SELECT status FROM ml_wait(:id);
			" . hash_of('t') . ";
			SELECT count(*) FROM (
				(SELECT row_number, line_number, byte_offset, column_name, sqlstate, message FROM rejected_rows WHERE uploaded_file_id = :id
				 EXCEPT ALL SELECT row_number, line_number, byte_offset, column_name, sqlstate, message FROM ml_validate('$file', 't', $options))
				UNION ALL
				(SELECT row_number, line_number, byte_offset, column_name, sqlstate, message FROM ml_validate('$file', 't', $options)
				 EXCEPT ALL SELECT row_number, line_number, byte_offset, column_name, sqlstate, message FROM rejected_rows WHERE uploaded_file_id = :id)) d;
			SELECT byte_offset || ' ' || octet_length(coalesce(raw_bytes, convert_to(raw_line, 'UTF8'))) || ' ' || message FROM rejected_rows WHERE uploaded_file_id = :id ORDER BY row_number"));
		my ($status, $rows, $differing, @rejects) = @lines;
		push @wrong, "chunk_size $way->[0]: status $status" if $status !~ /^Completed/;
		push @wrong, "chunk_size $way->[0]: ml_validate has $differing others" if $differing;

		my $clean = $bytes;
		for my $reject (reverse @rejects)
		{
			my ($offset, $size) = split(/ /, $reject);
			$size += length $line_end if substr($bytes, $offset + $size, length $line_end) eq $line_end;
			substr($clean, $offset, $size) = '';
		}
		my $copy = write_file('clean.csv', $clean);
		my $copy_form = join(', ', 'FORMAT csv', 'HEADER ' . ($head eq '' ? 'false' : 'true'), map { "$_->[0] '" . ($_->[1] =~ s/'/''/gr) . "'" } @{ $case{form} // [] });
		my ($rc, $copied, $error) = $node->psql('postgres', "TRUNCATE copied; COPY copied FROM '$copy' ($copy_form); " . hash_of('copied'));
		push @wrong, "chunk_size $way->[0]: COPY refuses what was loaded: $error" if $rc != 0;
		push @wrong, "chunk_size $way->[0]: COPY has $copied, the import $rows" if $rc == 0 && $copied ne $rows;
		my $now = join("\n", map { s/^\d+ \d+ //r } @rejects);
		$messages //= $now;
		push @wrong, "chunk_size $way->[0]: other refusals: $now; before: $messages" if $now ne $messages;
	}
	ok(!@wrong, $name) or diag(join("\n", $bytes =~ s/\r/<CR>/gr, @wrong));
	return $messages;
}

# --- alone, quoted, in quotes, at the ends of a file ---

for my $end ("\n", "\r\n", "\r")
{
	my $shown = $end =~ s/\r/CR/r =~ s/\n/LF/r;
	my @lines = ('x', '\\.', '"\\."', "\"a$end\\.$end\"", '\\.x', 'x\\.', ' \\.', '\\', '\\.', '\\.', '\\\\.', 'y');
	my $refused = as_copy_has_it("one column, $shown", 'a text', "a$end", [ map { "$_$end" } @lines ], $end);
	is(scalar(() = $refused =~ /$marker/g), $ends ? 3 : 0, '... markers are refused where COPY has them');
	is($refused =~ s/$marker\n?//gr, '', '... and nothing else');
	$refused = as_copy_has_it("two columns, $shown", 'a text, b text', "a,b$end", [ map { "$_$end" } '1,x', '\\.', '2,\\.', '"\\.",3', '\\.,4', '\\.', '5,y' ], $end);
	is($refused, join("\n", ($ends ? 'end-of-copy marker found in data' : 'missing data for column "b"') x 2), '... is a record that lacks a field, or a marker');
	is(as_copy_has_it("at the end without a line end, $shown", 'a text', "a$end", [ "x$end", '\\.' ], $end), '', '... is data');
	as_copy_has_it("without a header, $shown", 'a text', '', [ map { "$_$end" } '\\.', 'x', '\\.' ], $end);
}
is(as_copy_has_it('before another line end', 'a text', "a\n", [ "x\n", "\\.\r\n", "y\n" ], "\n"),
	$ends ? 'end-of-copy marker does not match previous newline style' : 'unquoted carriage return found in data', '... is refused in the words of COPY');

# --- quote and escape are parts of it ---

for my $quote ('\\', '.')
{
	my $refused = as_copy_has_it("quote $quote", 'a text', "a\n", [ map { "$_\n" } 'x', '\\.', "y", '\\.', 'z' ], "\n", form => [ [ quote => $quote ] ]);
	is(scalar(() = $refused =~ /$marker/g), $ends ? 2 : 0, '... is a marker before it is a quote');
}
as_copy_has_it('escape \\', 'a text', "a\n", [ map { "$_\n" } 'x', '\\.', '"\\."', '"\\"\\."', "\"\\\n\\.\n\"", 'z' ], "\n", form => [ [ escape => '\\' ] ]);

# --- as the name of a column ---

SKIP:
{
	skip 'it ends what COPY reads before the header is whole, up to PostgreSQL 17', 2 if $ends;
	is(as_copy_has_it('the header', '"\\." text', "\\.\n", [ "x\n", "\\.\n" ], "\n"), '', '... names a column');
}

# --- at random ---

srand($seed);
note "seed $seed";
for my $case (1 .. 25)
{
	my $end = ("\n", "\r\n", "\r")[ rand 3 ];
	my @pieces = ('\\.', '\\.', '\\.', 'x', 'yy', '\\', '.', "\"$end\\.$end\"", '"\\."', '"""\\."', 'x\\.', '"q"');
	my @records = map { join('', map { $pieces[ rand @pieces ] } 0 .. (rand() < 0.7 ? 0 : rand 3)) . $end } 1 .. 5 + rand 60;
	chop $records[-1] if $end ne "\r\n" && rand() < 0.3;
	as_copy_has_it("random case $case", 'a text', "a$end", \@records, $end);
}

$node->stop;
done_testing();
