# What the writers leave in a heap is what COPY leaves, byte for byte: line pointers, headers, null bitmaps, alignment and values,
# whatever the columns are, as far as a file of one chunk goes; of several chunks the same tuples, on few pages more.
# Pages are compared in no order, without their numbers: from 16 on COPY adds many pages at a time, of which it fills some later
# and some never (RelationAddBlocks).
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use List::Util qw(shuffle);
use Test::More;

my $node = start_server('main', 'autovacuum = off', 'fsync = off');
my $one_chunk = 'chunk_size => 1000000, min_chunks => 1, max_workers => 1';

sub sql { return $node->safe_psql('postgres', $_[0]) }

sql('CREATE EXTENSION pageinspect; CREATE SCHEMA imp; CREATE SCHEMA cop');
srand(1);

# A query of the pages of a table, and of its rows.
sub contents
{
	my ($table) = @_;
	return "SELECT coalesce(string_agg(encode(get_raw_page('$table', n::integer), 'hex'), '' ORDER BY n), '')
		FROM generate_series(0, pg_relation_size('$table') / 8192 - 1) n;
		SELECT concat_ws(' ', count(*), sum(hashtextextended(r::text, 0))) FROM $table r;";
}

# Pages without what differs by nature: LSN, checksum, the transaction to prune after, xmin, cmin, hint bits; and their tuples; both in
# no order, without their places; tuples without the values of one with a value out of line. Dies if a tuple does not stand right
# below the one before it, or does not point at itself.
sub parse_pages
{
	my $bytes = pack('H*', $_[0]);
	my (@pages, @tuples);
	for my $number (0 .. length($bytes) / 8192 - 1)
	{
		my $page = substr($bytes, $number * 8192, 8192);
		# Size and version of the page tell the order of bytes, which is that of the bit fields too.
		my $big = substr($page, 18, 1) eq "\x20";
		my ($short, $long) = $big ? ('n', 'N') : ('v', 'V');
		my ($lower, $upper) = unpack("x12 ${short}2", $page);
		my $above = 8192;
		next if $lower <= 24; # nothing is on it: who waits for the extension lock, and from 16 on everybody, adds some for later
		substr($page, 0, 10) = "\0" x 10;
		substr($page, 20, 4) = "\0" x 4;
		my $item = 0;
		for my $pointer (unpack("$long*", substr($page, 24, $lower - 24)))
		{
			my ($offset, $size) = $big ? ($pointer >> 17, $pointer & 0x7fff) : ($pointer & 0x7fff, $pointer >> 17);
			my $flags = $pointer >> 15 & 3;
			my $room = ($size + 7) & ~7;
			$above -= $room;
			die "a tuple at $offset, not $above" if $offset != $above;
			die 'a tuple that points elsewhere' if substr($page, $offset + 12, 6) ne pack("${short}3", $number >> 16, $number & 0xffff, ++$item);
			substr($page, $offset, 4) = "\0" x 4;
			substr($page, $offset + 8, 10) = "\0" x 10;
			substr($page, $offset + ($big ? 20 : 21), 1) &= "\xfc";
			my ($infomask, $values) = unpack("$short C", substr($page, $offset + 20, 3));
			push @tuples, pack('V2', $size, $flags) . substr($page, $offset, 12) . substr($page, $offset + 18, ($infomask & 4 ? $values : $room) - 18);
		}
		die "pd_upper is $upper, not $above" if $upper != $above;
		push @pages, $page;
	}
	return (length($bytes) / 8192, [ sort @pages ], [ sort @tuples ]);
}

# Nothing: they are the same. Else what differs. Where tuples have different sizes COPY and other writers go back to put a small one
# onto a page that the space map knows of, whole pages are not looked at again: then there are as few pages.
sub difference
{
	my ($writer, $result, $copied, $anywhere) = @_;
	my ($size, $pages, $tuples) = parse_pages($result->[0]);
	my ($copied_size, $copied_pages, $copied_tuples) = parse_pages($copied->[0]);
	my %sizes = map { length $_ => 1 } @$copied_tuples;
	return 'rows differ' if $result->[1] ne $copied->[1];
	return 'tuples differ' if join('', @$tuples) ne join('', @$copied_tuples);
	return sprintf('%d pages, COPY %d', $size, $copied_size) if $size > 1.04 * $copied_size + 1;
	return sprintf('%d pages with tuples, COPY %d', scalar @$pages, scalar @$copied_pages) if @$pages > 1.04 * @$copied_pages + 1;
	return if $anywhere || keys %sizes > 1;
	my %copied_pages = map { $_ => 1 } @$copied_pages;
	my $others = grep { !$copied_pages{$_} } @$pages;
	return $others ? "$others pages differ" : undef;
}

sub import_by
{
	my ($writer, $file, $options) = @_;
	my ($status, @result) = split(/\n/, sql("TRUNCATE imp.t RESTART IDENTITY; SET movielens_ingest.writer = $writer; SELECT ml_import('$file', 'imp.t', $options, force => true) AS id \\gset
		SELECT concat_ws(' ', status, error) FROM ml_wait(:id);" . contents('imp.t')));
	return ($status, \@result);
}

# make: SQL that makes table t; header: of the file; record: makes the n-th record, without a line end
# null_string: of the file; others: writers to try besides pages; if not given they take turns; moved: values are moved out of line
my $turn = 0;
sub same_as_copy
{
	my ($name, $make, $header, $count, $record, %case) = @_;
	my $null = $case{null_string} // '';
	my $file = write_file('rows.csv', join("\n", $header, map({ $record->($_) } 1 .. $count), ''));
	my @copied = split(/\n/, sql('SET client_min_messages = warning;'
		  . join('', map { "SET search_path = $_; DROP TABLE IF EXISTS t CASCADE; $make;" } 'imp', 'cop')
		  . "SET search_path = public; COPY cop.t ($header) FROM '$file' (FORMAT csv, HEADER, NULL '$null');" . contents('cop.t')));
	for my $writer ('pages', @{ $case{others} // [ ('multi_insert', 'spi')[ $turn++ % 2 ] ] })
	{
		my ($status, $result) = import_by($writer, $file, "$one_chunk, null_string => '$null'");
		my $wrong = $status eq 'Completed' ? difference($writer, $result, \@copied, $case{moved}) : $status;
		is($wrong, undef, "$name, $writer: as COPY");
	}
	return;
}

# --- nulls in every place: bitmaps of 1 to 9 bytes ---

for my $columns (1, 7, 8, 9, 17, 33, 64, 65, 70)
{
	my $null_string = $columns % 2 ? '' : 'x';
	same_as_copy("$columns columns", 'CREATE TABLE t (' . join(', ', map { "c$_ " . ('smallint', 'text', 'bigint')[ $_ % 3 ] } 1 .. $columns) . ')',
		join(',', map { "c$_" } 1 .. $columns), $columns < 9 ? 8000 : 2000,
		sub {
			my ($n) = @_;
			my @fields = map { $n % 5 == 0 || $_ == $n % ($columns + 1) || rand() < 0.1 ? $null_string : $n % 1000 } 1 .. $columns;
			@fields = ($null_string) x $columns if $n % 97 == 0;
			@fields = map { 7 + $_ } 1 .. $columns if $n % 89 == 0;
			return join(',', @fields);
		},
		null_string => $null_string);
}

# --- columns that are gone, came later, or are not in the file ---

my $words = sub { my ($n) = @_; return join(',', $n, 'word ' x ($n % 9), $n % 7 ? $n / 8 : '') };
same_as_copy('dropped columns',
	'CREATE TABLE t (gone1 text, a integer, gone2 bigint, gone3 text, b text, c float8, gone4 integer);
	 ALTER TABLE t DROP gone1, DROP gone2, DROP gone3, DROP gone4', 'a,b,c', 4000, $words);
same_as_copy('columns added, some with a default', 'CREATE TABLE t (a integer); INSERT INTO t VALUES (1); ALTER TABLE t '
	  . join(', ', map { "ADD c$_ " . ('text', 'smallint', "text DEFAULT 'd'", 'bigint DEFAULT 5')[ $_ % 4 ] } 1 .. 30) . '; TRUNCATE t',
	'a,c8,c2,c5', 3000, sub { my ($n) = @_; return join(',', $n, $n % 3 ? "text $n" : '', $n % 2 ? '' : 'e', $n % 30000) });
same_as_copy('columns that are not in the file',
	"CREATE TABLE t (id integer GENERATED ALWAYS AS IDENTITY, n1 text, a integer, d text DEFAULT 'some default', b text, g bigint GENERATED ALWAYS AS (a * 2) STORED, c float8, n2 integer)",
	'a,b,c', 3000, $words, others => ['multi_insert']);
same_as_copy('columns that are not in the file and have no default', 'CREATE TABLE t (n1 text, a integer, n2 bigint, b text, c float8, n3 text)', 'a,b,c', 4000, $words);
same_as_copy('columns in another order', 'CREATE TABLE t (a integer, b text, c float8)', 'c,a,b', 4000,
	sub { my ($n) = @_; return join(',', $n / 4, $n, "text $n") });

# --- values of every size and alignment ---

my %values = (
	smallint     => sub { int(rand 65536) - 32768 },
	integer      => sub { int(rand 1e9) - 5e8 },
	bigint       => sub { int(rand 1e15) - 5e14 },
	real         => sub { rand() < 0.2 ? 'NaN' : int(rand 10000) / 16 },
	float8       => sub { rand() < 0.1 ? '-Infinity' : rand() < 0.2 ? '-0' : rand() },
	boolean      => sub { ('t', 'f', 'TRUE', 'off', '1')[ rand 5 ] },
	text         => sub { 'x' x rand 20 || '""' },
	varchar      => sub { rand() < 0.3 ? '"quoted, ""y"""' : "\303\251" x rand 9 || '""' },
	'varchar(5)' => sub { rand() < 0.2 ? 'four   ' : "\342\202\254" x rand 5 || '""' },
	numeric      => sub { rand() * 1000 },
	'char(3)'    => sub { 'ab' });
for my $order (1 .. 6)
{
	my @types = shuffle(keys %values, $order % 2 ? ('boolean', 'bigint', 'text', 'smallint', 'float8') : ());
	@types = grep { !/numeric|char\(3\)/ || $_ eq 'varchar' } @types if $order % 3; # no input function is called
	same_as_copy("alignments $order", 'CREATE TABLE t (' . join(', ', map { "c$_ $types[$_]" } 0 .. $#types) . ')', join(',', map { "c$_" } 0 .. $#types), 2500,
		sub { my ($n) = @_; return join(',', map { $n % 2 && rand() < 0.15 ? '' : $values{$_}->() } @types) });
}
same_as_copy('empty texts are not null', 'CREATE TABLE t (a text, b varchar, c integer)', 'a,b,c', 4000,
	sub { my ($n) = @_; return join(',', $n % 2 ? '' : 'x', $n % 3 ? '' : 'x', $n) }, null_string => 'x');

# --- long values ---

my @sizes = (0, 1, 125, 126, 127, 128, 129, 500, 1900, 1990 .. 2040, 3000);
same_as_copy("texts in a table that has $_", "CREATE TABLE t (a text, b text); ALTER TABLE t ALTER a SET STORAGE $_, ALTER b SET STORAGE $_", 'a,b', 600,
	sub { my ($n) = @_; my $size = $sizes[ $n % @sizes ]; return join(',', join('', map { chr(97 + rand 26) } 1 .. $size), $n % 4 ? '' : 'y' x $sizes[ $n % 7 ]) }, moved => 1) for 'MAIN', 'EXTENDED';
same_as_copy('texts out of line', 'CREATE TABLE t (a text, b text, c integer); ALTER TABLE t ALTER a SET STORAGE EXTERNAL', 'a,b,c', 4000,
	sub { my ($n) = @_; return join(',', 'x' x ($n % 40 ? $n % 130 : (2000, 5000, 100000)[ $n / 40 % 3 ]), $n % 100 ? 'y' x 60 : 'y' x 20000, $n) }, moved => 1);
# An INSERT statement takes its texts from a row that has short headers, and leaves them so.
same_as_copy('texts in a table that has PLAIN', 'CREATE TABLE t (a text, b text); ALTER TABLE t ALTER a SET STORAGE PLAIN, ALTER b SET STORAGE PLAIN', 'a,b', 2000,
	sub { my ($n) = @_; return join(',', 'z' x ($n % 160), $n % 4 ? '' : 'y' x ($n % 2000)) }, others => ['multi_insert']);

# --- fill factors ---

same_as_copy("fillfactor $_", "CREATE TABLE t (a integer, b text, c float8) WITH (fillfactor = $_)", 'a,b,c', 4000, $words) for 10, 50, 99, 100;
same_as_copy('fillfactor 10, long texts', 'CREATE TABLE t (a integer, b text) WITH (fillfactor = 10)', 'a,b', 400, sub { my ($n) = @_; return "$n," . 'x' x ($n % 1990) });
same_as_copy('an unlogged table', 'CREATE UNLOGGED TABLE t (a integer, b text, c float8)', 'a,b,c', 6000, $words);
same_as_copy('rows without columns of their own', 'CREATE TABLE t (a integer, b text)', 'a', 8000, sub { return $_[0] % 10 ? $_[0] : '' });

# --- several chunks and processes: the same tuples, on few pages more ---

sql('DROP TABLE imp.t, cop.t; CREATE TABLE imp.t (a integer, b text, c float8); CREATE TABLE cop.t (LIKE imp.t)');
my $file = write_file('rows.csv', join("\n", 'a,b,c', map({ $words->($_) } 1 .. 30000), ''));
my ($bytes, $rows) = split(/\n/, sql("COPY cop.t FROM '$file' (FORMAT csv, HEADER);" . contents('cop.t')));
my (undef, $copied_pages, $tuples) = parse_pages($bytes);
for my $writer (@writers)
{
	for my $way ([ 15000, 1 ], [ 7000, 2 ], [ 5000, 3 ])
	{
		my ($chunk_size, $workers) = @$way;
		my $name = "$writer, chunk_size $chunk_size, $workers processes";
		my ($status, $result) = import_by($writer, $file, "chunk_size => $chunk_size, min_chunks => 1, max_workers => $workers");
		my (undef, $pages, $own) = parse_pages($result->[0]);
		is("$status $result->[1]", "Completed $rows", "$name: the same rows");
		ok(join('', @$own) eq join('', @$tuples), '... the same tuples');
		# Processes of other writers that meet at the end of the table add pages for later.
		cmp_ok(@$pages - @$copied_pages, '<=', 30000 / $chunk_size + 1 + $workers, '... no page is left nearly empty') if $writer eq 'pages' || $workers == 1;
		cmp_ok(length($result->[0]) / 16384, '<=', @$copied_pages + 30000 / $chunk_size + 1 + $workers, '... or empty') if $writer eq 'pages';
	}
}

$node->stop;
done_testing();
