# Imports held against COPY, for tests of what stands in a file.
package AsCopy;

use strict;
use warnings;

use Exporter qw(import);
use ImportTest;
use JSON::PP qw(decode_json);
use Test::More;

our @EXPORT = qw(as_copy);

# The error that COPY meets; what it has loaded is rolled back.
my $try_copy = q(
	CREATE OR REPLACE FUNCTION try_copy(file text, options text) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		EXECUTE format('COPY copied FROM %L (FORMAT csv, %s)', file, options);
		RAISE EXCEPTION 'accepted' USING ERRCODE = 'ZZZZZ';
	EXCEPTION WHEN others THEN RETURN SQLSTATE || ' ' || SQLERRM; END$$;);

my @any = ([ 1, 3 ], [ 2, 1 ], [ 7, 2 ], [ 30000, 1 ]);

# Imports a file into the new table t in chunks of several sizes, by several processes: it holds what COPY makes of the file
# without the refused records, COPY refuses the file with any of them put back, and neither rows nor rejects depend on
# chunks and processes. Returns how many records were refused.
#
# ways:    [ chunk_size, max_workers ], each an import
# header, options, copy: of both, further ones of the import, of COPY
# reason:  0: COPY may give another one
sub as_copy
{
	my ($node, $name, $columns, $bytes, %case) = @_;
	my $file = write_file('input.csv', $bytes);
	my $copy = join(', ', 'HEADER ' . ($case{header} // 'true'), $case{copy} // ());
	my ($first, $rejects, @wrong);

	$node->safe_psql('postgres', $try_copy . "DROP TABLE IF EXISTS t, copied; CREATE TABLE t ($columns); CREATE TABLE copied (LIKE t INCLUDING ALL)");
	my $rows = q(SELECT coalesce(md5(string_agg(md5(r::text), ' ' ORDER BY md5(r::text))), 'none') FROM %s r);
	for my $way (@{ $case{ways} // \@any })
	{
		my ($chunk_size, $workers) = @$way;
		my $options = join(', ', "chunk_size => $chunk_size", 'min_chunks => 1', "max_workers => $workers", 'force => true', 'header => ' . ($case{header} // 'true'), $case{options} // ());
		my ($ended, $refused, $hash) = split(/\n/, $node->safe_psql('postgres', qq(TRUNCATE t; SELECT ml_import('$file', 't', $options) AS id \\gset
			SELECT row_to_json(f) FROM ml_wait(:id) f;
			SELECT coalesce(json_agg(json_build_array(row_number, line_number, byte_offset, octet_length(coalesce(raw_bytes, convert_to(raw_line, 'UTF8'))),
			       sqlstate || ' ' || message) ORDER BY row_number), '[]') FROM rejected_rows WHERE uploaded_file_id = :id;
			) . sprintf($rows, 't')));
		my $row = decode_json($ended);
		$rejects = decode_json($refused);
		push @wrong, "chunk_size $chunk_size: $row->{status} " . ($row->{error} // '') if $row->{status} ne (@$rejects ? 'Completed with errors' : 'Completed');
		push @wrong, "chunk_size $chunk_size: the counts do not add up" if $row->{row_count} != $row->{success_count} + @$rejects || $row->{error_count} != @$rejects;
		$first //= "$refused $hash";
		push @wrong, "chunk_size $chunk_size, $workers processes: another result:\n$refused $hash\n$first" if "$refused $hash" ne $first;
	}

	my ($place, @parts, @records) = (0);
	for my $reject (@$rejects)
	{
		my (undef, undef, $offset, $size) = @$reject;
		push @parts, substr($bytes, $place, $offset - $place);
		pos($bytes) = $offset + $size;
		$bytes =~ /\G(?:\r\n|\n|\r|\z)/g or die "$name: no line end at $offset + $size";
		push @records, substr($bytes, $offset, $+[0] - $offset);
		$place = $+[0];
	}
	push @parts, substr($bytes, $place);
	my $clean = write_file('clean.csv', join('', @parts));
	my ($rc, $copied, $stderr) = $node->psql('postgres', "COPY copied FROM '$clean' (FORMAT csv, $copy); " . sprintf($rows, 'copied'));
	push @wrong, "COPY refuses what was loaded: $stderr" if $rc != 0;
	push @wrong, 'other rows than COPY has' if $rc == 0 && $first !~ / \Q$copied\E$/;

	# One after the other is put back, or some of many.
	my @sample = grep { $_ < 25 || $_ % 50 == 0 } 0 .. $#records;
	my @files = map { my $with = $_; write_file("with$with.csv", join('', map { $parts[$_] . ($_ == $with ? $records[$_] : '') } 0 .. $#parts)) } @sample;
	my @said = @files ? @{ decode_json($node->safe_psql('postgres', 'TRUNCATE copied; SELECT json_build_array(' . join(', ', map { "try_copy('$_', \$\$$copy\$\$)" } @files) . ')')) } : ();
	for my $i (0 .. $#said)
	{
		my $reject = $rejects->[ $sample[$i] ];
		$said[$i] =~ s/relation "copied"/relation "t"/;
		next if $said[$i] eq $reject->[4] || $said[$i] !~ /^ZZZZZ/ && (!($case{reason} // 1) || $reject->[4] =~ /unterminated/);
		push @wrong, "record $reject->[0] " . ($records[ $sample[$i] ] =~ s/[^ -~]/sprintf('\\x%02x', ord $&)/ger) . ": $reject->[4]; COPY: $said[$i]";
	}
	unlink @files;
	ok(!@wrong, "$name; " . @$rejects . ' refused') or diag(join("\n", @wrong));
	return scalar @$rejects;
}

1;
