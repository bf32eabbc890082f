# Tables whose rows an extension keeps elsewhere, though the catalog calls them a heap: the rows go where the planner sends
# them, with all its hooks, and none goes into the heap. The extension is test/hooks/kept_elsewhere.c, which says what is where.
use strict;
use warnings;

use File::Copy qw(copy);
use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $build = PostgreSQL::Test::Utils::tempdir('hooks');
for my $file ('Makefile', 'kept_elsewhere.c')
{
	copy("$FindBin::RealBin/../hooks/$file", "$build/$file") or die "could not copy $file: $!";
}
$ENV{CCACHE_DISABLE} = 1; # it would be that of whoever runs the tests
system_or_bail('make', '-s', '-C', $build, 'with_llvm=no');
my $library = "$build/kept_elsewhere";

# Sessions of database postgres have the library, and so have the processes that load for them.
my $node = start_server('main');
$node->safe_psql('postgres', "CREATE SCHEMA shell; CREATE SCHEMA kept; ALTER DATABASE postgres SET session_preload_libraries = '$library'");

sub make
{
	my ($name, $columns, $kind) = @_;
	$node->safe_psql('postgres', join(';', map { 'CREATE ' . ($kind // '') . " TABLE $_.$name ($columns)" } 'shell', 'kept'));
	return;
}

# What DEBUG1 says of the table's writer, or the detail of the refusal.
sub choice
{
	my ($file, $target, $settings) = @_;
	my (undef, undef, $messages) = $node->psql('postgres',
		($settings // '') . "BEGIN; SET LOCAL client_min_messages = debug1; SELECT FROM ml_import('$file', '$target', force => true); ROLLBACK");
	return $messages =~ /DEBUG:  table "[^"]*" is (written by .*)/ || $messages =~ /DETAIL:  (.*)/ ? $1 : $messages;
}

sub count { return $node->safe_psql('postgres', "SELECT count(*), count(DISTINCT id) FROM $_[0]") }
sub summary { my ($import) = @_; return join(' ', map { $_ // '' } @$import{qw(status row_count success_count error_count unprocessed_count sqlstate)}) }

my $numbers = write_file('numbers.csv', numbers(5000));
my $columns = q(id integer PRIMARY KEY, name text NOT NULL CHECK (name <> 'bad'), seven integer DEFAULT 7);

# --- with the hook, a table that is nobody's is written as ever ---

$node->safe_psql('postgres', "CREATE TABLE plain ($columns)");
is(choice($numbers, 'plain'), 'written by pages', 'a hook that only passes on changes nothing');
is(summary(imported($node, $numbers, 'plain')), 'Completed 5000 5000 0 0 ', '... and the table is loaded');

# --- elsewhere, by another table in the plan, or by a custom scan ---

make('moved', $columns);
make('scan_them', $columns);
make('not_single', $columns);
my %why = (
	moved => 'its INSERT is not planned as one into the table itself',
	scan_them => 'its INSERT is planned as custom scan "Elsewhere"',
	not_single => 'its INSERT of one row cannot be planned: the shards of "not_single" are not at home');
for my $table (sort keys %why)
{
	is(choice($numbers, "shell.$table"), "written by spi: $why{$table}", "$table: not by a fast writer");
	for my $writer ('pages', 'multi_insert')
	{
		is(choice($numbers, "shell.$table", "SET movielens_ingest.writer = $writer;"), "The table cannot be written that way: $why{$table}.", "... nor by $writer when it is asked for");
	}
	$node->safe_psql('postgres', "CREATE INDEX ${table}_index ON shell.$table (seven)");
	my $id = $node->safe_psql('postgres', "SET movielens_ingest.defer_indexes = on; SELECT ml_import('$numbers', 'shell.$table', chunk_size => 700, max_workers => 3)");
	is(summary(wait_import($node, $id)), 'Completed 5000 5000 0 0 ', '... it is loaded');
	is($node->safe_psql('postgres', "SELECT count(*) FROM ((TABLE kept.$table EXCEPT ALL TABLE plain) UNION ALL (TABLE plain EXCEPT ALL TABLE kept.$table)) d"), 0, '... elsewhere');
	ledger_holds($node, $id, "kept.$table", '... as the ledger says');
	is($node->safe_psql('postgres', "SELECT pg_relation_size('shell.$table')"), 0, '... and not a page of its heap was written');
	is($node->safe_psql('postgres', "SELECT count(*) FROM pg_class WHERE oid = 'shell.${table}_index'::regclass AND pg_relation_filenode(oid) = oid"), 1, '... and its index was not put off and built');
}

# --- records that are refused ---

# The n-th record of ten is refused, each time for another reason.
my @bad = (sub { "x$_[0],a" }, sub { "$_[0],bad" }, sub { "$_[0]," }, sub { ($_[0] - 1) . ',twice' });
my @sqlstates = ('22P02', '23514', '23502', '23505');
my @records = map { $_ % 10 == 0 ? $bad[ $_ / 10 % 4 ]->($_) : "$_,name $_" } 1 .. 400;
my $broken = write_file('broken.csv', join("\n", 'id,name', @records, ''));
my $refused = join(' ', map { "$_:" . $sqlstates[ $_ / 10 % 4 ] } map { 10 * $_ } 1 .. 40);
for my $table ('moved', 'scan_them')
{
	for my $chunk_size (30000, 37)
	{
		$node->safe_psql('postgres', "TRUNCATE kept.$table");
		my $id = start_import($node, $broken, "shell.$table", "chunk_size => $chunk_size, min_chunks => 1, force => true");
		is(summary(wait_import($node, $id)), 'Completed with errors 400 360 40 0 ', "$table, chunk_size $chunk_size: the records at fault are refused");
		is($node->safe_psql('postgres', "SELECT string_agg(row_number || ':' || sqlstate, ' ' ORDER BY row_number) FROM rejected_rows WHERE uploaded_file_id = $id"),
			$refused, '... each with its SQLSTATE, also where only an INSERT that returns rows tells');
		ledger_holds($node, $id, "kept.$table", '... and the others are in');
	}
}

# --- a chunk is one statement, as it is for other tables that are written by spi ---

$node->safe_psql('postgres', q(
	CREATE TABLE fired (name text);
	CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO fired VALUES (TG_TABLE_NAME); RETURN NULL; END$$;
	TRUNCATE kept.moved, kept.scan_them;
	CREATE TRIGGER fire AFTER INSERT ON kept.moved EXECUTE FUNCTION fire();
	CREATE TRIGGER fire AFTER INSERT ON kept.scan_them EXECUTE FUNCTION fire();
	CREATE TABLE parts (id integer, name text) PARTITION BY RANGE (id);
	CREATE TABLE part PARTITION OF parts FOR VALUES FROM (0) TO (100000);
	CREATE TRIGGER fire AFTER INSERT ON parts EXECUTE FUNCTION fire()));
my $many = write_file('many.csv', numbers(20000));
imported($node, $many, $_, 'chunk_size => 10000, min_chunks => 1') for 'shell.moved', 'shell.scan_them', 'parts';
is($node->safe_psql('postgres', "SELECT string_agg(name || ' ' || n, ', ' ORDER BY name) FROM (SELECT name, count(*) AS n FROM fired GROUP BY 1) f"),
	'moved 2, parts 2, scan_them 2', 'a chunk of 10000 records is one statement');

# --- what cannot be planned is refused, at the call and in a chunk ---

make('refused', $columns);
fails_like($node, "SELECT ml_import('$numbers', 'shell.refused')", '0A000', qr/the shards of "refused" are not at home.*CONTEXT:  SQL statement "INSERT INTO shell\.refused/s, 'an INSERT that cannot be planned: its error is the refusal');
my $id = $node->safe_psql('postgres', "BEGIN; SELECT ml_import('$numbers', 'shell.not_single', force => true); ALTER TABLE shell.not_single RENAME TO refused_later; COMMIT");
is(summary(wait_import($node, $id)), 'Failed 5000 0 0 5000 0A000', '... or the reason why the import failed');

# --- a table that moves elsewhere behind the call ---

$node->safe_psql('postgres', "CREATE TABLE later ($columns); CREATE TABLE kept.later ($columns)");
$id = $node->safe_psql('postgres', "BEGIN; SELECT ml_import('$numbers', 'later'); ALTER TABLE later SET SCHEMA shell; COMMIT");
is(summary(wait_import($node, $id)), 'Completed 5000 5000 0 0 ', 'each chunk asks again');
is(count('shell.later') . ' ' . count('kept.later'), '0|0 5000|5000', '... and its rows go elsewhere');

# --- a table that references one whose rows are elsewhere ---

$node->safe_psql('postgres', "CREATE TABLE child (id integer REFERENCES shell.scan_them, name text)");
is(choice($numbers, 'child'), 'written by spi: a foreign key references a table whose rows are kept elsewhere', 'a reference to it is checked by its own trigger');

# --- what a crash takes there, nobody learns here ---

make('lost', $columns, 'UNLOGGED');
fails_like($node, "SELECT ml_import('$numbers', 'shell.lost')", '0A000', qr/cannot be loaded exactly once into unlogged table shell\.lost/, 'an unlogged table elsewhere is refused');
is(summary(imported($node, $numbers, 'shell.lost', 'at_least_once => true')), 'Completed 5000 5000 0 0 ', '... unless once at least will do');

# --- a role that may just do it ---

$node->safe_psql('postgres', q(
	CREATE ROLE loader IN ROLE pg_read_server_files; GRANT USAGE ON SCHEMA public, shell TO loader;
	GRANT INSERT (id, name) ON shell.scan_them, kept.scan_them TO loader; GRANT INSERT ON fired TO loader; TRUNCATE kept.scan_them));
is($node->safe_psql('postgres', qq(SET client_min_messages = warning; SET ROLE loader; SELECT ml_import('$broken', 'shell.scan_them', force => true) AS id \\gset
	SELECT status, success_count, error_count FROM ml_wait(:id))), 'Completed with errors|360|40', 'a role needs INSERT on the columns, and no more');

# --- the function in the statement is the statement's alone ---

fails_like($node, 'SELECT * FROM _records() AS r (id integer)', '55000', qr/there are no records to insert/, '_records() in a statement of anybody is an error');
fails_like($node, 'SELECT _records()', '55000', qr/there are no records to insert/, '... wherever it stands');
$node->safe_psql('postgres', q(
	TRUNCATE kept.moved;
	CREATE FUNCTION steal() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM FROM public._records() AS r (id integer);
		RETURN NULL;
	EXCEPTION WHEN OTHERS THEN RETURN NULL;
	END$$;
	CREATE TRIGGER steal BEFORE INSERT ON kept.moved EXECUTE FUNCTION steal()));
is(summary(imported($node, $numbers, 'shell.moved', 'force => true')), 'Failed 5000 0 0 5000 55000', 'records that a trigger has taken are not passed over in silence');

# --- the library is in the caller's session alone ---

$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', "CREATE EXTENSION movielens_ingest; CREATE SCHEMA shell; CREATE SCHEMA kept; CREATE TABLE shell.moved ($columns); CREATE TABLE kept.moved ($columns)");
is($node->safe_psql('other', qq(LOAD '$library'; SELECT ml_import('$numbers', 'shell.moved') AS id \\gset
	SELECT status, sqlstate, error, success_count FROM ml_wait(:id))),
	'Failed|55000|the rows of table shell.moved were kept elsewhere when its import was called|0', 'a library that the import lacks: it fails');
is($node->safe_psql('other', "SELECT count(*), pg_relation_size('shell.moved') FROM shell.moved"), '0|0', '... and writes nothing into the heap');

$node->stop;
done_testing();
