# Refused records have their place in the file, whatever the chunks: behind quoted fields of many lines, under several processes,
# line_number, byte_offset and the record's bytes are those of the file.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use JSON::PP qw(decode_json);
use Test::More;

my $node = start_server('main');
$node->safe_psql('postgres', 'CREATE TABLE parent (id integer PRIMARY KEY); INSERT INTO parent SELECT generate_series(0, 5000);
	CREATE TABLE t (id integer UNIQUE CHECK (id <> 4000) REFERENCES parent, name text)');

# Good records of up to four lines, and bad ones of every sort; and where the bad ones are.
sub generate
{
	my ($end, $count) = @_;
	my $bytes = "id,name$end";
	my $line = 2;
	my @bad;
	for my $n (1 .. $count)
	{
		my $text = '"' . join($end, map { qq(line $_ of $n, ""quoted"") } 1 .. 1 + $n % 4) . '"';
		my ($record, $sqlstate) = $n % 7 ? ("$n,$text") : @{ {
			0 => [ "x$n,$text", '22P02' ], 1 => [ "$n,$text,more", '22P04' ], 2 => [ "4000,$text", '23514' ], 3 => [ "1$text,", '22P02' ],
			4 => [ "9999,$text", '23503' ], 5 => [ "0,$text", '23505' ], 6 => [ "$n,\"\377$end$end\"", '22021' ],
			7 => [ "$n", '22P04' ], 8 => [ "y,\"" . "long$end" x 3000 . '"', '22P02' ] }->{ $n / 7 % 9 } };
		push @bad, [ $n, $line, length $bytes, unpack('H*', $record), $sqlstate ] if defined $sqlstate;
		$bytes .= "$record$end";
		$line += () = "$record$end" =~ /$end/g;
	}
	return ($bytes, \@bad);
}

for my $case ([ 'LF', "\n" ], [ 'CRLF', "\r\n" ], [ 'CR', "\r" ])
{
	my ($name, $end) = @$case;
	my ($bytes, $bad) = generate($end, 500);
	my $path = write_file("lines_$name.csv", $bytes);
	my @expected = map { join(' ', @$_) } @$bad;
	for my $variant ([ 'pages', 1, 3 ], [ 'multi_insert', 7, 3 ], [ 'spi', 10, 3 ], [ 'pages', 30000, 1 ])
	{
		my ($writer, $chunk_size, $workers) = @$variant;
		$node->safe_psql('postgres', 'TRUNCATE t; INSERT INTO t VALUES (0)');
		local $ENV{PGOPTIONS} = "-c movielens_ingest.writer=$writer";
		my $id = start_import($node, $path, 't', "chunk_size => $chunk_size, min_chunks => 1, max_workers => $workers, force => true");
		my $row = wait_import($node, $id);
		is("$row->{status} $row->{row_count} $row->{error_count}", 'Completed with errors 500 ' . @$bad, "$name, $writer, chunk_size $chunk_size: bad records are refused");
		my @found = @{ decode_json($node->safe_psql('postgres', qq(
			SELECT json_agg(concat_ws(' ', row_number, line_number, byte_offset, encode(coalesce(raw_bytes, convert_to(raw_line, 'UTF8')), 'hex'), sqlstate) ORDER BY row_number)
			  FROM rejected_rows WHERE uploaded_file_id = $id))) };
		my @wrong = grep { ($found[$_] // '') ne ($expected[$_] // '') } 0 .. ($#found > $#expected ? $#found : $#expected);
		ok(!@wrong, '... each with its line, its bytes and its reason') or diag(join("\n", map { substr("$found[$_]", 0, 200) . "\n  and not\n" . substr($expected[$_], 0, 200) } @wrong[ 0 .. ($#wrong > 3 ? 3 : $#wrong) ]));
		is($node->safe_psql('postgres', "SELECT count(*) FROM rejected_rows WHERE uploaded_file_id = $id AND (octet_length(raw_line) > 8192 OR raw_bytes IS NULL AND raw_line ~ '\\\\x' OR raw_bytes = convert_to(raw_line, 'UTF8'))"),
			0, '... as text that is not too long, and as bytes where that is not all');
		is($node->safe_psql('postgres', "SELECT count(*) FROM process_chunks c JOIN rejected_rows r ON r.process_chunk_id = c.id
			WHERE c.uploaded_file_id = $id AND NOT (row_number BETWEEN start_row AND end_row AND byte_offset >= start_byte AND byte_offset < end_byte AND line_number >= start_line)"), 0,
			'... within its chunk');
		ledger_holds($node, $id, '(SELECT FROM t WHERE id > 0) loaded', '... the ledger says so');
	}
}

$node->stop;
done_testing();
