# COPY is the oracle. Generated files of the six tables of MovieLens and of a table with other types, at chunk sizes from 1 to
# 30,000, with 1 to 4 processes, by each writer: after an import the table holds what COPY makes of the file without the refused
# records, and COPY refuses the file with any one of them put back, for the reason that rejected_rows gives.
#
# SEED=number CASES=number choose other files; the seed is printed.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use JSON::PP qw(decode_json);
use List::Util qw(shuffle);
use Test::More;

my $seed = $ENV{SEED} // 1;
my $cases = $ENV{CASES} // 42;
note "seed $seed, $cases cases of each kind";
my $node = start_server('main');

my %tables = (
	movies        => [ [ movieId => 'key' ], [ title => 'text', 255 ], [ genres => 'text', 255 ] ],
	links         => [ [ movieId => 'movie' ], [ imdbId => 'text', 100 ], [ tmdbId => 'text', 100 ] ],
	ratings       => [ [ userId => 'integer' ], [ movieId => 'movie' ], [ rating => 'double' ], [ timestamp => 'text', 100 ] ],
	tags          => [ [ userId => 'integer' ], [ movieId => 'movie' ], [ tag => 'text', 255 ], [ timestamp => 'text', 100 ] ],
	genome_scores => [ [ movieId => 'movie' ], [ tagId => 'integer' ], [ relevance => 'double' ] ],
	genome_tags   => [ [ tagId => 'integer' ], [ tag => 'text', 255 ] ],
	own           => [ [ id => 'bigint' ], [ Amount => 'numeric' ], [ day => 'date' ], [ flag => 'boolean' ], [ note => 'note', 20 ], [ few => 'few' ] ]);

$node->safe_psql('postgres', "CREATE DOMAIN few AS text CHECK (VALUE <> 'many') NOT NULL DEFAULT 'x'");
for my $schema ('imp', 'cop')
{
	$node->safe_psql('postgres', qq(
		CREATE SCHEMA $schema; SELECT ml_create_tables('$schema');
		CREATE TABLE $schema.own (made text DEFAULT 'made', id bigint, amount numeric(8, 2) NOT NULL, day date, flag boolean,
			note varchar(20) CHECK (note <> 'no'), gone integer, few few, twice bigint GENERATED ALWAYS AS (id * 2) STORED);
		ALTER TABLE $schema.own DROP gone;
		CREATE UNIQUE INDEX ON $schema.own (day, flag)));
}
# The error that COPY meets; what it has loaded is rolled back.
$node->safe_psql('postgres', q(
	CREATE FUNCTION try_copy(target text, file text) RETURNS text LANGUAGE plpgsql AS $$BEGIN
		EXECUTE format('COPY %s FROM %L (FORMAT csv, HEADER)', target, file);
		RAISE EXCEPTION 'accepted' USING ERRCODE = 'ZZZZZ';
	EXCEPTION WHEN others THEN RETURN SQLSTATE || ' ' || SQLERRM; END$$));

# --- the files ---

sub one_of { return $_[ rand @_ ] }
sub chance { return rand() < $_[0] }

sub words
{
	return join('', map { one_of('a', 'Toy Story', ' ', '0', 'NULL', '\\N', '\\', "\303\251", "\342\202\254", "\360\237\216\254", ';', '|', '\'', '\\.x', '(1995)', "\t") } 0 .. rand 6);
}

# As CSV: plain, quoted, quoted in part; with what needs quotes inside them.
sub text_field
{
	return one_of('', '""', 'x', '000123') if chance(0.25);
	return words() if chance(0.4);
	my $inside = join('', map { chance(0.4) ? one_of(',', '""', "\n", "\r\n", "\r", "\n\n", '""""', ' , ') : words() } 0 .. rand 5);
	return chance(0.85) ? qq("$inside") : words() . qq("$inside") . words();
}

my $next_key;
sub field
{
	my ($type) = @_;
	my $number = one_of(int(rand 10), int(rand 100000), -int(rand 1000), 2147483647, -2147483648);
	return $next_key++ if $type eq 'key';
	return one_of(1 + int(rand 200), 1 + int(rand 200), '"' . (1 + int(rand 200)) . '"', ' ' . (1 + int(rand 200)), '+7', '007') if $type eq 'movie';
	return one_of($number, $number, qq("$number"), " $number ", '', '-0', '+5', '0012') if $type eq 'integer';
	return one_of($number, '4611686018427387903', '-4611686018427387904', '', "\t12") if $type eq 'bigint';
	return one_of('3.5', '0.5', '', '5', '.25', '4.', ' 1.5 ', '1e3', '-0', 'NaN', 'Infinity', '-inf', '"2.5"', sprintf('%.17g', rand), sprintf('%.17g', rand() * 1e300), sprintf('%.17g', rand() * 1e-300), '0.1', '123456789012345678') if $type eq 'double';
	return one_of($number % 1000000, '1.005', '-12.3456', 'NaN', '1e5', '000.10') if $type eq 'numeric';
	return sprintf('%04d-%02d-%02d', 1900 + $next_key / 336, 1 + ($next_key / 28) % 12, 1 + $next_key++ % 28) if $type eq 'date';
	return one_of('t', 'true', 'NO', 'off', '1', '') if $type eq 'boolean';
	return one_of('', '""', 'plain', '"a,b"', "\"a\r\nb\"", "\"\n\"", '"say ""so"""', "\342\202\254" x 20) if $type eq 'note';
	return one_of('few', '""', ' ', "\"\r\"") if $type eq 'few';
	return text_field();
}

# A record, without its line end; a bad one has one thing wrong that the table or the format refuses.
sub record
{
	my ($columns, $bad, $line_end) = @_;
	my @fields = map { field($_->[1]) } @$columns;
	return join(',', @fields) unless $bad;

	my ($index) = grep { $columns->[$_][1] !~ /^(text|note|few)$/ } shuffle(0 .. $#$columns);
	my ($text) = grep { $columns->[$_][1] =~ /^(text|note)$/ } shuffle(0 .. $#$columns);
	my $kind = one_of('few', 'many', 'syntax', 'range', 'long', 'null', 'key', 'bytes', 'blank', 'end', 'own', 'quote');
	if ($kind eq 'few') { pop @fields }
	elsif ($kind eq 'many') { push @fields, one_of('', 'x', '""', '"x,y"') }
	elsif ($kind eq 'syntax') { $fields[$index] = one_of('abc', '12abc', '""', '1,2', '0x10', '--1', '" "', '1 2') }
	elsif ($kind eq 'range') { $fields[$index] = one_of('99999999999999999999', '-99999999999999999999', '1e400') }
	elsif ($kind eq 'long' && defined $text) { $fields[$text] = one_of('y', "\303\251") x ($columns->[$text][2] + 1) }
	elsif ($kind eq 'null') { $fields[$_] = '' for grep { $columns->[$_][1] =~ /key|movie|numeric/ } 0 .. $#$columns }
	elsif ($kind eq 'key') { $columns->[$_][1] eq 'movie' and $fields[$_] = 201 + int(rand 1000) for 0 .. $#$columns;
		$columns->[$_][1] eq 'key' and $fields[$_] = 1 + int(rand $next_key) for 0 .. $#$columns }
	elsif ($kind eq 'bytes') { $fields[ defined $text ? $text : 0 ] = one_of("\377", "a\0b", "\342\202", "\300\257", "\"\n\376\"") }
	elsif ($kind eq 'blank') { return '' }
	elsif ($kind eq 'quote') { $fields[ defined $text ? $text : 0 ] = one_of('"', '"a', 'a"', '"""', '"a""') }
	elsif ($kind eq 'end') { $fields[ defined $text ? $text : 0 ] = $line_end eq "\n" ? "a\rb" : $line_end eq "\r\n" ? one_of("a\nb", "a\rb") : "a\nb" }
	elsif ($kind eq 'own')
	{
		# A CHECK, a domain's CHECK and NOT NULL, a generated column, numeric(8, 2), a unique index.
		my %value = (%{ one_of({ note => 'no' }, { few => 'many' }, { few => '' }, { id => '9223372036854775807' }, { amount => '12345678.9' },
			{ day => '2000-01-01', flag => 't' }) });
		my @names = map { lc $_->[0] } @$columns;
		exists $value{ $names[$_] } and $fields[$_] = $value{ $names[$_] } for 0 .. $#fields;
	}
	return join(',', @fields);
}

sub header
{
	return join(',', map { my $name = one_of($_->[0], lc $_->[0], uc $_->[0]); chance(0.2) ? qq("$name") : $name } @_);
}

# --- one case ---

sub run_case
{
	my ($number, $round) = @_;
	my $table = (sort keys %tables)[ $number % keys %tables ];
	my @columns = @{ $tables{$table} };
	@columns = shuffle(@columns) if chance(0.4);
	my $line_end = one_of("\n", "\r\n", "\r\n", "\n", "\r");
	my $count = one_of(0, 1, 2, 13, 40, 150, 400);
	my $chunk_size = one_of(1, 2, 3, 7, 10, 100, 1000, 30000);
	my $bad_share = $round eq 'good' ? 0 : one_of(0.02, 0.1, 0.5, 1);
	$count = 60 if $bad_share && $count == 0;
	$next_key = 1;
	my $options = sprintf('chunk_size => %d, min_chunks => %d, max_workers => %d', $chunk_size, one_of(1, 12, 5), 1 + $number % 4);
	my $writer = $writers[ $number % @writers ];
	my $name = sprintf('%s %d: %s, %d records%s, %s, %s', $round, $number, $table, $count,
		$bad_share ? ", $bad_share of them bad" : '', $options, $writer);

	my $bytes = (chance(0.2) ? "\357\273\277" : '') . header(@columns) . $line_end;
	$bytes .= record(\@columns, chance($bad_share), $line_end) . $line_end for 1 .. $count;
	$bytes =~ s/(\r|\n|\r\n)\z// if chance(0.3);
	my $file = write_file("$round$number.csv", $bytes);

	$node->safe_psql('postgres', join(';', map { "TRUNCATE $_.movies, $_.links, $_.ratings, $_.tags, $_.genome_scores, $_.genome_tags, $_.own;"
		  . ($table eq 'movies' ? '' : "INSERT INTO $_.movies SELECT generate_series(1, 200)") } 'imp', 'cop'));
	local $ENV{PGOPTIONS} = "-c movielens_ingest.writer=$writer";
	my $id = start_import($node, $file, "imp.$table", $options);
	my $row = wait_import($node, $id);
	my $rejects = decode_json($node->safe_psql('postgres', "SELECT coalesce(json_agg(json_build_array(row_number, byte_offset,
		octet_length(coalesce(raw_bytes, convert_to(raw_line, 'UTF8'))), sqlstate || ' ' || message) ORDER BY row_number), '[]')
		FROM rejected_rows WHERE uploaded_file_id = $id"));

	# The file without the refused records, and for a few of them, with one put back.
	# A lone LF ends a record in any file: where it is not the line end it is what is wrong with the record.
	my $ending = $line_end eq "\r\n" ? qr/\r?\n/ : qr/$line_end|\n/;
	my $place = 0;
	my (@parts, @records);
	for my $reject (@$rejects)
	{
		my ($row_number, $offset, $size) = @$reject;
		push @parts, substr($bytes, $place, $offset - $place);
		pos($bytes) = $offset + $size;
		$bytes =~ /\G(?:$ending|\z)/g or die "$name: no line end behind record $row_number";
		push @records, substr($bytes, $offset, $+[0] - $offset);
		$place = $offset + length $records[-1];
	}
	push @parts, substr($bytes, $place);
	my $clean = write_file('clean.csv', join('', @parts));
	my $column_list = join(', ', map { lc "\"$_->[0]\"" } @columns);
	my $all = $table eq 'own' ? 'made, id, amount, day, flag, note, few, twice' : join(', ', map { lc "\"$_->[0]\"" } @{ $tables{$table} });
	my @wrong;

	my ($rc, undef, $stderr) = $node->psql('postgres', "COPY cop.$table ($column_list) FROM '$clean' (FORMAT csv, HEADER)");
	push @wrong, "COPY refuses what was loaded: $stderr" if $rc != 0;
	my $difference = $node->safe_psql('postgres', join(' UNION ALL ', map { my ($one, $other) = @$_;
		"(SELECT '$one', r::text FROM (SELECT $all FROM $one.$table) r EXCEPT ALL SELECT '$one', r::text FROM (SELECT $all FROM $other.$table) r)" }
		  [ 'imp', 'cop' ], [ 'cop', 'imp' ]) . ' LIMIT 4');
	push @wrong, "rows differ: $difference" if $difference ne '';
	my $expected = @$rejects ? 'Completed with errors' : 'Completed';
	push @wrong, "status $row->{status}: " . ($row->{error} // '') if $row->{status} ne $expected;
	push @wrong, 'good records were refused' if @$rejects && $round eq 'good';
	push @wrong, 'the counts do not add up' if $row->{success_count} + $row->{error_count} != $row->{row_count} || $row->{error_count} != @$rejects;

	my @sample = grep { @$rejects <= 8 || chance(8 / @$rejects) } 0 .. $#$rejects;
	my @put_back = map { my $with = $_; write_file("with$with.csv", join('', map { $parts[$_] . ($_ == $with ? $records[$_] : '') } 0 .. $#parts)) } @sample;
	if (@sample)
	{
		$node->safe_psql('postgres', "TRUNCATE cop.$table" . ($table eq 'movies' ? ' CASCADE' : ''));
		my @said = @{ decode_json($node->safe_psql('postgres', 'SELECT json_build_array(' . join(', ', map { "try_copy('cop.$table ($column_list)', '$_')" } @put_back) . ')')) };
		for my $i (0 .. $#sample)
		{
			my ($row_number, undef, undef, $reason) = @{ $rejects->[ $sample[$i] ] };
			# COPY judges bytes before it looks for fields, and shows those of the line end with them; and behind a quote that
			# never closes it reads on, and may meet something else first.
			$said[$i] = $reason if $reason =~ /^22021 / && index($said[$i], $reason) == 0
			  || $reason =~ /^22P04 / && $said[$i] =~ /^22021 /
			  || $reason =~ /unterminated/ && $said[$i] !~ /^ZZZZZ /;
			push @wrong, "record $row_number (" . ($records[ $sample[$i] ] =~ s/[^ -~]/sprintf('\\x%02x', ord $&)/ger) . "): $reason; COPY: $said[$i]"
			  if $said[$i] ne $reason;
		}
		unlink @put_back;
	}
	ok(!@wrong, "$name; " . @$rejects . ' refused') or diag(join("\n", "seed $seed, $file", @wrong));
	unlink $file unless @wrong;
	return;
}

for my $round ('good', 'bad')
{
	for my $number (1 .. $cases)
	{
		srand("$seed$number");
		run_case($number, $round);
	}
}

$node->stop;
done_testing();
