# Fields are never trusted: format characters, terminal escapes, SQL, long and odd Unicode load as COPY loads them; refused,
# they stand in rejects and errors as COPY has them, but clipped; and nothing that is made for a terminal passes control
# characters on, nor does a header, a path or the name of a column in any message.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AsCopy;
use ImportTest;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $node = start_server('main');

my %hostile = (
	'format characters' => '%s%n%x %1$s %99999d {} \\x41 $1 :name',
	'terminal escapes' => "\033[2J\033]0;owned\007 \302\2332J \b\b\b\177",
	'line breaks' => "x\nERROR:  all is lost\r\nINFO:  ratings.csv  20,000,000\r\n",
	SQL => "'; DROP TABLE t; -- \$\$ E'\\''",
	'combining characters' => 'Z' . "\314\265\315\201" x 20000,
	'right to left' => "\342\200\256" . "\327\251\327\234" x 3000 . "\342\200\254",
	'four bytes' => "\360\237\221\251\342\200\215\360\237\222\273" x 5000,
	'four bytes, cut elsewhere' => 'x' . "\360\237\221\251" x 5000,
	'ASCII' => 'y' x 100000,
	'just too long' => 'y' x (8193 - length('invalid input syntax for type integer: ""')),
	'just short enough' => 'y' x (8192 - length('invalid input syntax for type integer: ""')),
	'controls only' => join('', map { chr } 1 .. 31, 127) x 500);
my @names = sort keys %hostile;
my @fields = map { my $field = $_; $field =~ s/"/""/g; "\"$field\"" } @hostile{@names};

is(as_copy($node, 'as text', 'id integer, tag text', join("\n", 'id,tag', (map { "$_,$fields[$_]" } 0 .. $#fields), ''), ways => [ [ 1, 2 ], [ 30000, 1 ] ]), 0, '... all are loaded');

# As a number each of them is refused; by an input function of the server's too, and with a detail.
my $file = write_file("tags.csv", join("\n", 'tag', @fields, ''));
$node->safe_psql('postgres', q(
	CREATE TABLE number (tag integer);
	CREATE TABLE json (tag jsonb);
	CREATE TABLE raised (tag text);
	CREATE FUNCTION raise() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
		RAISE EXCEPTION 'not %', NEW.tag USING DETAIL = 'Nor ' || NEW.tag, HINT = NEW.tag; END$$;
	CREATE TRIGGER raise BEFORE INSERT ON raised FOR EACH ROW EXECUTE FUNCTION raise();
	CREATE FUNCTION error_of(target regclass, field text, OUT message text, OUT detail text) LANGUAGE plpgsql AS $$
	BEGIN
		IF target = 'raised'::regclass THEN INSERT INTO raised VALUES (field);
		ELSE EXECUTE format('SELECT %L::%s', field, CASE target::text WHEN 'number' THEN 'integer' ELSE 'jsonb' END); END IF;
	EXCEPTION WHEN others THEN GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL; END$$));
for my $table ('number', 'json', 'raised')
{
	my $id = start_import($node, $file, $table);
	my $row = wait_import($node, $id);
	is("$row->{status} $row->{success_count} $row->{error_count}", 'Completed with errors 0 ' . @fields, "$table: all are refused");
	my $broken = $node->safe_psql('postgres', qq(
		CREATE TEMP TABLE field (tag text, n serial); COPY field (tag) FROM '$file' (FORMAT csv, HEADER);
		SELECT string_agg(concat_ws(' ', n, octet_length(r.message), octet_length(e.message), left(r.message, 60)), E'\\n')
		  FROM field JOIN rejected_rows r ON r.row_number = n, error_of('$table', tag) e
		 WHERE r.uploaded_file_id = $id AND NOT (
		           starts_with(e.message, r.message) AND octet_length(r.message) BETWEEN least(octet_length(e.message), 8189) AND 8192
		       AND starts_with(e.detail, coalesce(r.detail, '')) AND octet_length(coalesce(r.detail, '')) BETWEEN least(octet_length(e.detail), 8189) AND 8192)));
	is($broken, '', '... for the reason that the server gives, clipped at the end of a character');
}
is($node->safe_psql('postgres', "SELECT count(*), max(octet_length(message)) FROM ml_validate('$file', 'number')"), @fields . '|8192', 'ml_validate clips them too');

# An error that ends the import: in the ledger, in the log.
for my $options ("on_error => 'stop'", 'reject_limit => 0')
{
	my $row = imported($node, write_file('long.csv', "tag\n\"" . "\360\237\221\251" x 5000 . "\"\n"), 'number', "$options, force => true");
	ok($row->{status} eq 'Failed' && $row->{sqlstate} eq '22P02', "$options: the import ends");
	is($node->safe_psql('postgres', "SELECT octet_length(f.error) BETWEEN 8000 AND 8192, octet_length(c.errors) BETWEEN 8000 AND 8192
		FROM uploaded_files f JOIN process_chunks c ON c.uploaded_file_id = f.id WHERE f.id = $row->{id}"), 't|t', '... with an error that is clipped');
}

# What psql shows of ml_load: messages of one line, without control characters.
my $escape = write_file("a\033[2J\nb.csv", join("\n", 'tag', "\"\033[2J\n\302\233\"", "\"x\nINFO:  fake\"", '1', ''));
for my $options ('', ", on_error => 'stop', force => true, min_chunks => 1")
{
	my ($rc, undef, $stderr) = $node->psql('postgres', "CALL ml_load(E'" . ($escape =~ s/\033/\\033/r =~ s/\n/\\n/r) . "', 'number'$options)");
	is($rc, $options ? 3 : 0, "ml_load: ends$options");
	unlike($stderr, qr/[\x01-\x09\x0B-\x1F\x7F]|\xC2[\x80-\x9F]|^INFO:  fake/m, '... without control characters');
	like($stderr, qr/a\\x1B\[2J\\x0Ab\.csv.*invalid input syntax for type integer: "\\x1B\[2J\\x0A\\xC2\\x9B"/s, '... which are shown');
}

# Headers, paths and names of columns: in whatever message they stand, it is short and of one line, and so is it in the log.
sub shown
{
	my ($sql, $sqlstate, $regex, $name) = @_;
	my $from = -s $node->logfile;
	my ($rc, undef, $stderr) = $node->psql('postgres', $sql, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	like($stderr, qr/(ERROR|NOTICE):  $sqlstate: $regex/, $name);
	unlike($stderr, qr/[\x01-\x09\x0B-\x1F\x7F]|\xC2[\x80-\x9F]|^INFO:  fake/m, '... without control characters');
	cmp_ok(length $stderr, '<', 10000, '... and not long');
	my $log = join('', grep { / (ERROR|DETAIL|NOTICE|LOG): / && !/ statement: / } split(/^(?=\d{4}-)/m, slurp_file($node->logfile, $from)));
	unlike($log, qr/[\x01-\x08\x0B-\x1F\x7F]|\xC2[\x80-\x9F]|^INFO:  fake/m, '... nor in the log');
	cmp_ok(length $log, '<', 10000, '... nor there');
	return;
}
sub literal { my ($bytes) = @_; return "E'" . join('', map { sprintf '\\x%02x', ord } split(//, $bytes)) . "'" }

my $evil = "\033]0;owned\007\302\233" . "31m\nINFO:  fake";
my $header = write_file('header.csv', '"' . $evil . 'n' x 700_000 . '","tag"' . join('', map { ",\"$evil$_\"" } 1 .. 1500) . "\n1,2\n");
for my $call ("CALL ml_load('$header', 'number')", "SELECT ml_import('$header', 'number')", "SELECT ml_validate('$header', 'number')")
{
	shown($call, '42703', 'the header of file ".*header\.csv" does not fit table "number": there is no column "\\\\x1B\\]0;owned\\\\x07\\\\xC2\\\\x9B31m\\\\x0AINFO:  faken+\.\.\."', 'a header that does not fit');
}
my $many = write_file('many.csv', join(',', map { "column_$_" } 1 .. 5000) . "\n");
shown("SELECT ml_import('$many', 'number')", '42703', 'the header .* no column "column_1"\nDETAIL:  The header has the columns \(column_1, .*, \.\.\.\); the table has \(tag\)\.', 'a header with very many columns');
shown("SELECT ml_import('$file', 'number', columns => ARRAY[" . literal($evil) . " || repeat('x', 2000000)])", '42703', 'column "\\\\x1B.*\.\.\." of relation "number" does not exist', 'a list of columns');
my $missing = literal("/tmp/$evil");
shown("SELECT ml_import($missing)", '58P01', 'could not stat file "/tmp/\\\\x1B.*": No such file', 'a path');
shown("SELECT ml_import($missing || repeat('/x', 500000), 'number')", 'XX000|58P03', '.*could not stat file .*\.\.\.": File name too long', 'a long path');
shown("SELECT ml_import('relative' || $missing)", '42602', 'relative path', 'a relative path');
shown("SELECT * FROM ml_import_dataset($missing)", '58P01', 'could not stat file', 'a directory that is not there');
my $folder = $header =~ s/header\.csv$//r . $evil;
mkdir $folder or die "could not make $folder: $!";
my $directory = literal($folder);
shown("SELECT * FROM ml_import_dataset($directory)", '58P01', 'directory ".*\\\\x1B.*" has no file of MovieLens', 'a directory without files');
shown("SELECT ml_import($directory, 'number')", '42809', '".*\\\\x1B.*" is a directory', 'a directory');
my $inside = write_file("$evil.csv", "tag\nx\n");
shown('SELECT ml_import(' . literal($inside) . ')', '42P01', 'no table is known for file "\\\\x1B.*\.csv"', 'a name that is not known');
shown("CALL ml_load(" . literal($inside) . ", 'number', on_error => 'stop')", '22P02', 'import \d+ of file "\\\\x1B.*\.csv" ended Failed', 'a name in the log of a chunk');
like($node->safe_psql('postgres', "SELECT error FROM uploaded_files ORDER BY id DESC LIMIT 1"), qr/^record at line 2 of file ".*\\x1B.*\\x0AINFO:  fake\.csv" was refused: invalid input syntax/, '... and in the ledger');
shown("CALL ml_load('" . write_file('detail.csv', "tag\n\"$evil\"\n") . "', 'raised', on_error => 'stop')", 'P0001', 'import \d+ of file "detail\.csv" ended Failed', 'the message and the detail of a trigger');
my $empty = write_file("$evil.empty", '');
shown('SELECT ml_import(' . literal($empty) . ", 'number')", '22P04', 'file ".*\\\\x1B.*" is empty', 'an empty file');
my $open = write_file("$evil.open", '"' . 'x' x 2_000_000);
shown('SELECT ml_import(' . literal($open) . ", 'number')", '22P04', 'file ".*\\\\x1B.*" has no header that could be read', 'a file without a header');
my $html = write_file("$evil.html", "<!DOCTYPE html>\n<html>\033[2J" . 'x' x 500_000 . "\n");
shown('SELECT ml_import(' . literal($html) . ", 'number', header => false)", '22P04', 'file ".*\\\\x1B.*" looks like ', 'a file that is another kind of file');

# While a chunk is being loaded, views show nothing of its fields.
$node->safe_psql('postgres', 'CREATE TABLE held (tag text)');
add_gate($node, 'held', "NEW.tag LIKE '%owned%'");
my $gate = close_gate($node);
my $id = start_import($node, $file, 'held', 'max_workers => 1');
wait_at_gate($node, 1);
is($node->safe_psql('postgres', "SELECT count(*) FROM (SELECT a::text FROM pg_stat_activity a WHERE backend_type LIKE 'movielens_ingest%'
	UNION ALL SELECT p::text FROM ml_progress p) v WHERE a ~ 'owned|[\\x01-\\x1F]'"), '0', 'nothing of a field in pg_stat_activity and ml_progress');
open_gate($gate);
is(wait_import($node, $id)->{success_count}, scalar @fields, '... and all are loaded');

# The log: each line that an import writes is bounded.
my $longest = 0;
for my $line (split(/\n(?=\d{4}-)/, slurp_file($node->logfile)))
{
	$longest = length $line if $line =~ / LOG:  chunk / && length $line > $longest;
}
cmp_ok($longest, '>', 8000, 'the log tells of a chunk that failed');
cmp_ok($longest, '<', 9000, '... in a message that is clipped');

$node->stop;
done_testing();
