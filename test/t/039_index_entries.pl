# Index entries that are made a chunk at a time, in the order of the index: indexes of every kind on a table that already has rows are as they
# should be, for each writer, and rows are found through each of them; so if records are refused on the way, if some are out of line, and
# if an index comes or goes meanwhile.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use Test::More;

my $node = start_server('main', 'autovacuum = off', 'fsync = off', 'max_parallel_workers_per_gather = 0', "movielens_ingest.retry_delay = '1ms'");
my $three = 'chunk_size => 3000, min_chunks => 1, max_workers => 3';

sub sql { return $node->safe_psql('postgres', $_[0]) }

# A btree has every row of its table, in order, and the heap is sound.
sub sound
{
	my ($name) = @_;
	is(sql(q(SELECT count(bt_index_check(indexrelid, true)) = count(*) AND bool_and(indisvalid AND indisready)
		FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE indrelid = 't'::regclass AND relam = 403)), 't', "$name: the indexes are whole");
	is(sql(q(SELECT count(*) FROM verify_heapam('t'))), 0, '... and the heap is sound');
	return;
}

sql('CREATE EXTENSION amcheck; CREATE EXTENSION btree_gin; CREATE EXTENSION btree_gist');
my $count = 10000;
my $file = write_file('rows.csv', "id,name,note,n,place\n" . join('', map {
	my $n = $_;
	join(',', $n % 4000 == 17 ? $n - 5 : $n, $n % 5 ? 'name ' . $n % 700 : '', $n % 900 ? "note $n" : 'long' x 900 . $n, $n % 3 ? $n * 7919 % 10007 / 4 : '', "\"($n,$n)\"") . "\n"
} 1 .. $count));
my $columns = 'id integer NOT NULL, name varchar(40), note text, n float8, place point';
my @indexes = (
	'UNIQUE INDEX ON t (id)', 'UNIQUE INDEX ON t (id DESC) INCLUDE (name, n)', 'INDEX ON t (n DESC NULLS FIRST, name NULLS FIRST)', 'INDEX ON t (name, n) WHERE n > 100',
	'INDEX ON t (lower(name), (n + id) DESC)', 'INDEX ON t (name COLLATE "C" text_pattern_ops)', 'INDEX ON t ((name::name))', 'INDEX ON t (n) WITH (fillfactor = 50, deduplicate_items = off)',
	'INDEX ON t USING hash (name)', 'INDEX ON t USING gin (name, id)', "INDEX ON t USING gin (to_tsvector('simple', note))", 'INDEX ON t USING gist (id, place)', 'INDEX ON t USING spgist (place)', 'INDEX ON t USING brin (id)',
	'INDEX ON t (md5(note))', 'INDEX ON t USING hash (note)', 'UNIQUE INDEX ON t (note text_ops) WHERE length(note) < 100');

# What is looked up, and by which access.
my @lookups = ('id = 5001', 'id BETWEEN 100 AND 3000', 'n IS NULL', 'n > 2000', "name = 'name 123' AND n > 100", "lower(name) = 'name 7'", "name = 'name 77'", "name LIKE 'name 1%'", "name::name = 'name 9'",
	"to_tsvector('simple', note) @@ 'note & 77'::tsquery", "place <@ box '(10,10),(500,500)'", "md5(note) = md5('note 4444')", "note = 'note 4445'", "id = 77 AND place <@ box '(0,0),(100,100)'");

for my $writer (@writers)
{
	sql("DROP TABLE IF EXISTS t; CREATE TABLE t ($columns); INSERT INTO t SELECT -g, 'name ' || g % 50, 'old ' || g, g, point(-g, g) FROM generate_series(1, 3000) g;"
		  . join(';', map { "CREATE $_" } @indexes));
	sql("INSERT INTO t VALUES (2222, 'theirs', 'note 2222')");
	my $row = wait_import($node, sql("SET movielens_ingest.writer = $writer; SELECT ml_import('$file', 't', $three, force => true)"));
	# Three ids are there twice in the file, and one row was there.
	is("$row->{status} $row->{success_count} $row->{error_count}", 'Completed with errors ' . ($count - 4) . ' 4', "$writer: loaded, but for four keys");
	is(sql('SELECT count(*), count(DISTINCT id) FROM t'), 3001 + $count - 4 . '|' . (3001 + $count - 4), '... each row is there once');
	sound($writer);
	my @different = grep {
		my ($scan, $other) = split(/\n/, sql("SET enable_seqscan = off; SELECT count(*), md5(string_agg(id::text, ' ' ORDER BY id)) FROM t WHERE $_; RESET enable_seqscan; SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_indexonlyscan = off; SELECT count(*), md5(string_agg(id::text, ' ' ORDER BY id)) FROM t WHERE $_"));
		$scan ne $other || $scan =~ /^0\|/
	} @lookups;
	is("@different", '', '... index scans find what the table has');
}

# A row that no index can take, in the middle of what is sorted.
sql('DROP TABLE t; CREATE TABLE t (id integer, note text); CREATE INDEX ON t (note); ALTER TABLE t ALTER note SET STORAGE EXTERNAL; INSERT INTO t VALUES (0)');
srand(1);
my $wide = write_file('wide.csv', "id,note\n" . join('', map { "$_," . ($_ == 3500 || $_ == 4321 ? join('', map { chr(33 + 2 * rand 40) =~ s/[",]/x/r } 1 .. 9000) : "note $_") . "\n" } 1 .. 5000));
for my $writer (@writers)
{
	sql('TRUNCATE t; INSERT INTO t VALUES (0)');
	my $id = sql("SET movielens_ingest.writer = $writer; SELECT ml_import('$wide', 't', chunk_size => 5000, min_chunks => 1, max_workers => 1, force => true)");
	is(wait_import($node, $id)->{success_count}, 4998, "$writer: rows too wide for an index are refused");
	is(sql("SELECT string_agg(row_number || ' ' || sqlstate, ', ' ORDER BY row_number) FROM rejected_rows WHERE uploaded_file_id = $id"), '3500 54000, 4321 54000', '... they and no other');
	sound($writer);
}

# An index is built, and another one dropped, without a lock on the table while chunks go in.
my $long = write_file('long.csv', "id,note\n" . join('', map { "$_,note $_\n" } 1 .. 60000));
for my $writer (@writers)
{
	sql('DROP TABLE t; CREATE TABLE t (id integer, note text); INSERT INTO t VALUES (0); CREATE INDEX ON t (note)');
	my $id = sql("SET movielens_ingest.writer = $writer; SELECT ml_import('$long', 't', $three, force => true)");
	sql($_) for 'CREATE INDEX CONCURRENTLY t_id ON t (id)', 'CREATE UNIQUE INDEX CONCURRENTLY ON t (id, note)', 'DROP INDEX CONCURRENTLY t_note_idx', 'REINDEX INDEX CONCURRENTLY t_id';
	my $row = wait_import($node, $id);
	is("$row->{status} $row->{success_count}", 'Completed 60000', "$writer: loaded while indexes come and go");
	sound($writer);
	is(sql('SELECT count(*) FROM pg_index WHERE indrelid = $$t$$::regclass'), 2, '... of which two are left');
}

$node->stop;
done_testing();
