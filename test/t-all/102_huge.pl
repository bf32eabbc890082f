# Long fields, long records and a long file: a field of 100 MB, loaded and refused; records up to the limit of 1 GB and beyond
# it, which end the import with an error that says so; a file of more than 5 GB.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../t/lib";
use ImportTest;
use Test::More;

use constant MB => 1024 * 1024;

my $node = start_server('main', 'max_wal_size = 8GB', 'wal_compression = on');
$node->safe_psql('postgres', 'CREATE TABLE t (id integer, note text); CREATE TABLE copied (LIKE t); CREATE TABLE number (id integer)');

# Parts of a file: bytes, or [ size ]: a hole, which reads as zeros and takes no room.
sub write_parts
{
	my ($name, @parts) = @_;
	my $path = write_file($name, '');
	open(my $file, '+<:raw', $path) or die "could not open $path: $!";
	for my $part (@parts)
	{
		if (ref $part) { seek($file, $part->[0], 1) or die "could not seek in $path: $!" }
		else { print $file $part or die "could not write $path: $!" }
	}
	close($file) or die "could not write $path: $!";
	return $path;
}

my $field = "word, \"\"quoted\"\"\r\n" x (100 * MB / 17);
my $file = write_parts('field.csv', "id,note\n1,a\n2,\"", $field, "\"\n3,c\nx,\"", $field, "\"\n");
my $row = imported($node, $file, 't');
is("$row->{status} $row->{success_count} $row->{error_count}", 'Completed with errors 3 1', 'fields of 100 MB: one is loaded, one refused');
is($node->safe_psql('postgres', 'SELECT message, octet_length(raw_line), octet_length(raw_bytes) FROM rejected_rows'),
	'invalid input syntax for type integer: "x"|8192|' . (4 + length $field), '... with its bytes');
my $clean = write_parts('clean.csv', "id,note\n1,a\n2,\"", $field, "\"\n3,c\n");
$node->safe_psql('postgres', "COPY copied FROM '$clean' (FORMAT csv, HEADER)");
is($node->safe_psql('postgres', 'SELECT count(*) FROM t JOIN copied USING (id, note)'), '3', '... as by COPY');

$file = write_parts('number.csv', "id\n1\n", 'y' x (100 * MB), "\n", ' ' x (100 * MB), "2\n");
$row = imported($node, $file, 'number');
is("$row->{status} $row->{success_count} $row->{error_count}", 'Completed with errors 2 1', 'numbers of 100 MB');
is($node->safe_psql('postgres', "SELECT octet_length(message), octet_length(raw_line), octet_length(raw_bytes) FROM rejected_rows WHERE uploaded_file_id = $row->{id}"),
	'8192|8192|' . 100 * MB, '... the message is clipped');

# Zeros are refused, in a record that can be kept.
for my $size (400 * MB, 1024 * MB - 64 * 1024 - 3)
{
	$file = write_parts('zeros.csv', "id,note\n1,a\n2,", [ $size ], "\n3,c\n");
	$row = imported($node, $file, 't', 'force => true');
	is("$row->{status} $row->{success_count} $row->{error_count}", 'Completed with errors 2 1', "a record of $size bytes is refused");
	is($node->safe_psql('postgres', "SELECT line_number, sqlstate, octet_length(raw_bytes) FROM rejected_rows WHERE uploaded_file_id = $row->{id}"), '3|22021|' . ($size + 2), '... with its bytes');
}

# Between others that are refused, and have bytes to be kept too.
$file = write_parts('beside.csv', "id,note\n1,a\n2,", [ 100_000 ], "\n3,", [ 1024 * MB - 64 * 1024 - 3 ], "\n4,", [ 100_000 ], "\n5,c\n");
$row = imported($node, $file, 't', 'min_chunks => 1');
is("$row->{status} $row->{success_count} $row->{error_count}", 'Completed with errors 2 3', 'the longest record between other refused ones');
is($node->safe_psql('postgres', "SELECT string_agg(octet_length(raw_bytes)::text, ' ' ORDER BY row_number) FROM rejected_rows WHERE uploaded_file_id = $row->{id}"),
	'100002 ' . (1024 * MB - 64 * 1024 - 1) . ' 100002', '... with their bytes');

for my $size (1024 * MB - 64 * 1024 - 2, 1200 * MB, 3000 * MB)
{
	$file = write_parts('record.csv', "id,note\n1,a\n2,", [ $size ], "\n3,c\n");
	$node->safe_psql('postgres', 'TRUNCATE t');
	$row = imported($node, $file, 't', 'force => true');
	is("$row->{status} $row->{sqlstate}", 'Failed 54000', "a record of $size bytes ends the import");
	like($row->{error}, qr/^record at line 3 of file ".*record\.csv" is too long$/, '... with an error that says which');
	is($node->safe_psql('postgres', "SELECT count(*) FROM process_chunks WHERE uploaded_file_id = $row->{id} AND status = 'Failed'"), '1', '... only its chunk has failed');
}
# Within a chunk of other records.
$row = imported($node, $file, 't', 'force => true, min_chunks => 1');
like("$row->{status} $row->{sqlstate} $row->{error}", qr/^Failed 54000 record at line 3 .* is too long$/, '... in a chunk with others too');

# More than 5 GB in few records.
$file = write_parts('long.csv', "id\n", map { (' ' x (90 * MB), "$_\n") } 1 .. 58);
cmp_ok(-s $file, '>', 5 * 1024 * MB, 'a file of more than 5 GB');
$node->safe_psql('postgres', 'TRUNCATE number');
$row = imported($node, $file, 'number', 'max_workers => 2');
is("$row->{status} $row->{success_count}", 'Completed 58', '... is loaded');
is($node->safe_psql('postgres', 'SELECT count(DISTINCT id), sum(id) FROM number'), '58|1711', '... whole');
is($node->safe_psql('postgres', "SELECT max(end_byte) FROM process_chunks WHERE uploaded_file_id = $row->{id}"), -s $file, '... to its end');
unlink $file;

$node->stop;
done_testing();
