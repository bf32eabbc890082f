# The rules that whole pages keep besides their bytes: WAL, statistics, the use of free space, what is left of what is rolled back,
# small caches, rows that can be updated and deleted, tables that they are not for.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_server('main', 'autovacuum = off', 'wal_level = logical', 'full_page_writes = on', "movielens_ingest.retry_delay = '1ms'");

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub load
{
	my ($writer, $file, $options) = @_;
	return wait_import($node, sql("SET movielens_ingest.writer = $writer; SELECT ml_import('$file', 't', $options, force => true)"));
}

sub outcome
{
	my ($row) = @_;
	return join(' ', map { $row->{$_} // '-' } 'status', 'sqlstate', 'success_count', 'error_count', 'unprocessed_count');
}

sub new_table { return sql("SET client_min_messages = warning; DROP TABLE IF EXISTS t; CREATE $_[0]") }

sub pages { return sql(q(SELECT pg_relation_size('t') / 8192)) }

sql('CREATE EXTENSION pg_walinspect; CREATE EXTENSION pageinspect; CREATE EXTENSION pg_visibility; CREATE EXTENSION amcheck');
my $count = 60000;
my $file = write_file('rows.csv', "id,name\n" . join('', map { sprintf("%d,name %06d\n", $_, $_) } 1 .. $count));
my $three = 'chunk_size => 20000, min_chunks => 1';
my $pieces = 3 * 5; # of 4,096 records (record_reader.cpp)

# --- WAL, statistics, visibility ---

# Of the heap, by type: records, bytes, full-page images, blocks, bytes of all WAL.
sub wal_of
{
	my ($work) = @_;
	sql('CHECKPOINT');
	my $from = sql('SELECT pg_current_wal_flush_lsn()');
	$work->();
	sql(q(SELECT pg_logical_emit_message(true, 'end', '')));
	my $heap = sql(q(SELECT pg_relation_filepath('t')));
	$heap = join('/', (sql('SELECT oid FROM pg_tablespace WHERE spcname = $$pg_default$$'), (split m{/}, $heap)[ 1, 2 ]));
	my %types;
	for (split(/\n/, sql("SELECT record_type, count(*), sum(record_length), sum(fpi_length), count(DISTINCT block_ref) FROM pg_get_wal_records_info('$from', pg_current_wal_flush_lsn())
		WHERE block_ref ~ 'rel $heap fork main' GROUP BY 1")))
	{
		my ($type, @numbers) = split(/\|/);
		@{ $types{$type} }{ 'records', 'bytes', 'images', 'blocks' } = @numbers;
	}
	return (\%types, sql("SELECT pg_current_wal_flush_lsn() - '$from'"));
}

# From 16 on COPY leaves pages that nothing is on.
sub full_pages { return sql(q(SELECT count(*) FROM generate_series(0, pg_relation_size('t') / 8192 - 1) n, page_header(get_raw_page('t', n::integer)) WHERE lower > 0 AND upper - lower < 60)) }

for my $persistence ('', 'UNLOGGED')
{
	new_table("$persistence TABLE t (id integer, name text)");
	my ($copy, $all_copy) = wal_of(sub { sql("COPY t FROM '$file' (FORMAT csv, HEADER)") });
	my $copy_full = full_pages();
	for my $workers (1, 2)
	{
		new_table("$persistence TABLE t (id integer, name text)");
		my $row;
		my ($wal, $all) = wal_of(sub { $row = load('pages', $file, "$three, max_workers => $workers") });
		my $name = lc("$persistence table, $workers processes") =~ s/^ //r;
		is(outcome($row), "Completed - $count 0 0", "$name: loaded");
		if ($persistence)
		{
			is(join(' ', %$wal), '', '... nothing is logged');
		}
		else
		{
			my $first = $wal->{'MULTI_INSERT+INIT'};
			cmp_ok(full_pages(), '>=', $copy_full - 8, '... on full pages');
			cmp_ok(abs($first->{records} - pages()), '<=', 1, '... each logged once') or diag(explain($wal));
			is($first->{blocks}, $first->{records}, '... not twice');
			cmp_ok($wal->{MULTI_INSERT}{records} // 0, '<=', 2 * $pieces, '... but for the last ones of a piece');
			my ($own, $its, $images) = (0, 0, 0);
			$own += $_->{bytes} for values %$wal;
			$images += $_->{images} for values %$wal;
			$its += $_->{bytes} for values %$copy;
			is($images, 0, '... without an image of a page');
			cmp_ok($own, '<=', 1.1 * $its, '... in as many bytes as COPY, or a tenth more');
			cmp_ok($all, '<=', 1.1 * $all_copy + 400_000, '... with the ledger and images of its pages');
		}
		poll($node, q(SELECT n_tup_ins = 60000 AND n_live_tup = 60000 AND n_dead_tup = 0 FROM pg_stat_user_tables WHERE relname = 't'), 'statistics arrive');
		sql('VACUUM t');
		is(sql(q(SELECT count(*) FROM pg_check_visible('t'))) . ' ' . sql(q(SELECT count(*) FROM pg_check_frozen('t'))) . ' ' . sql(q(SELECT count(*) FROM pg_visibility('t') WHERE NOT all_visible)), '0 0 0', '... VACUUM finds all of it visible');
		is(sql(q(SELECT count(*) FROM verify_heapam('t'))), 0, '... and verify_heapam nothing wrong');
	}
}

# --- rows are like others ---

new_table('TABLE t (id integer, name text) WITH (fillfactor = 80)');
load('pages', $file, "$three, max_workers => 2");
is(sql('SELECT count(*), count(DISTINCT xmin::text), bool_and(xmax = 0), count(DISTINCT (cmin::text, cmax::text)), bool_and(tableoid = $$t$$::regclass), count(DISTINCT ctid) FROM t'),
	"60000|$pieces|t|" . $pieces / 3 . '|t|60000', 'system columns: a subtransaction a piece');
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN; UPDATE t SET name = upper(name) WHERE id % 10 = 0; DELETE FROM t WHERE id % 10 = 1');
is(sql('SELECT count(*) FROM t WHERE name LIKE $$n%$$'), 60000, '... others do not see an update');
$session->query_safe('COMMIT');
$session->quit;
is(sql('SELECT count(*), count(*) FILTER (WHERE name LIKE $$N%$$) FROM t'), '54000|6000', '... until it is committed');
poll($node, q(SELECT n_tup_hot_upd = 6000 AND n_tup_upd = 6000 AND n_tup_del = 6000 FROM pg_stat_user_tables WHERE relname = 't'), 'statistics say that the updates are HOT');
sql('VACUUM t');
is(sql(q(SELECT count(*) FROM verify_heapam('t'))) . ' ' . sql('SELECT count(*) FROM t'), '0 54000', '... and vacuumed');

# --- free space is used again ---

for my $writer (@writers)
{
	new_table('TABLE t (id integer, name text)');
	load($writer, $file, "$three, max_workers => 1");
	my $before = pages();
	for my $round (1, 2)
	{
		# All but the last row, or VACUUM gives the pages back.
		sql("DELETE FROM t WHERE ctid < (SELECT max(ctid) FROM t)");
		sql('VACUUM t');
		load($writer, $file, "$three, max_workers => 2");
	}
	cmp_ok(pages() - $before, '<=', 8, "$writer: rows go where others were deleted");
}
new_table('TABLE t (id integer, name text) WITH (fillfactor = 30)');
load('pages', $file, "$three, max_workers => 1");
sql('VACUUM t');
my $pages = pages();
my ($wal) = wal_of(sub { load('pages', $file, "$three, max_workers => 1") });
cmp_ok($wal->{'MULTI_INSERT+INIT'}{records}, '>=', $pages - 6, 'space that fillfactor leaves free is not taken for it');
cmp_ok($wal->{MULTI_INSERT}{records} // 0, '<=', 2 * $pieces, '... whole pages are appended') or diag(explain($wal));

# --- what is rolled back ---

# A duplicate late in a chunk: its pages are dead, and each row is in once.
my $dup = write_file('dup.csv', slurp_file($file) . "17,again\n");
new_table('TABLE t (id integer UNIQUE, name text)');
is(outcome(load('pages', $dup, 'chunk_size => 100000, min_chunks => 1, max_workers => 1')), "Completed with errors - $count 1 0", 'a duplicate key at the end of a chunk');
is(sql('SELECT count(*), count(DISTINCT id) FROM t'), "$count|$count", '... each row is there once');
sql('VACUUM t');
is(sql(q(SELECT count(*) FROM verify_heapam('t'))) . ' ' . sql('SELECT bt_index_check($$t_id_key$$, true)') . ' ' . sql('SELECT count(*) FROM t'), "0  $count", '... what was rolled back is gone');

# Processes that are cancelled or terminated while the pages are there and the index entries are made.
sql(q(CREATE FUNCTION hold(integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS $$
	BEGIN IF $1 = 59999 THEN PERFORM pg_advisory_xact_lock_shared(1); END IF; RETURN $1; END$$));
for my $how ('pg_cancel_backend', 'pg_terminate_backend', 'ml_cancel')
{
	new_table('TABLE t (id integer, name text)');
	sql('CREATE INDEX ON t (hold(id)); INSERT INTO t VALUES (-1)');
	my $gate = close_gate($node);
	my $id = sql("SET movielens_ingest.writer = pages; SELECT ml_import('$file', 't', $three, max_workers => 2, force => true)");
	wait_at_gate($node, 1);
	is(sql('SELECT count(*) <= 40001 AND pg_relation_size($$t$$) > 2.4e6 FROM t'), 't', "$how: pages are there, which nobody sees");
	sql($how eq 'ml_cancel' ? "SELECT ml_cancel($id)" : "SELECT $how(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted");
	open_gate($gate);
	processes_gone($node);
	if (sql("SELECT ml_resume($id) FROM uploaded_files WHERE id = $id AND status <> 'Completed'") eq 't')
	{
		note 'it was the leader, whose import is resumed';
	}
	my $row = wait_import($node, $id);
	is(outcome($row) . ' ' . sql('SELECT count(*), count(DISTINCT id) FROM t'), "Completed - $count 0 0 60001|60001", '... at the end each row, once');
	is(sql(q(SELECT count(*) FROM verify_heapam('t'))) . sql('SELECT bt_index_check($$t_hold_idx$$, true)'), '0', '... heap and index agree');
}

# --- a table that logical decoding reads as a catalog ---

new_table('TABLE t (id integer, name text) WITH (user_catalog_table = true)');
my ($rc, undef, $messages) = $node->psql('postgres', "SET client_min_messages = debug1; BEGIN; SELECT ml_import('$file', 't', force => true); ROLLBACK");
like($messages, qr/"t" is written by multi_insert: logical decoding reads it as a catalog/, 'user_catalog_table: by multi_insert');
fails_like($node, "SET movielens_ingest.writer = pages; SELECT ml_import('$file', 't')", '0A000', qr/cannot import into table "t" by writer "pages"/, '... not by pages');
is(outcome(load('auto', $file, $three)), "Completed - $count 0 0", '... and loaded');

# --- the end of a segment, and of the space there is ---

# The table's file ends a few pages before a segment does; all of them are empty.
sub file_of { return $node->data_dir . '/' . sql(q(SELECT pg_relation_filepath('t'))) }
my $in_segment = sql(q(SELECT setting FROM pg_settings WHERE name = 'segment_size'));
new_table('TABLE t (id integer, name text)');
my $path = file_of();
$node->stop;
truncate($path, ($in_segment - 100) * 8192) or die "cannot make $path longer: $!";
$node->start;
is(outcome(load('pages', $file, "$three, max_workers => 2")), "Completed - $count 0 0", 'from one segment into the next: loaded');
ok(-e "$path.1", '... which has a file');
sql("SET client_min_messages = warning; DROP TABLE IF EXISTS copied; CREATE TABLE copied (LIKE t); COPY copied FROM '$file' (FORMAT csv, HEADER)");
is(sql('SELECT count(*) FROM (SELECT * FROM t EXCEPT ALL SELECT * FROM copied) d') . ' ' . sql('SELECT count(*) FROM t'), "0 $count", '... and holds what COPY brings');
is(sql(q(SELECT count(*) FROM verify_heapam('t', startblock => 130900))), 0, '... in good order');

# Files cannot grow past 32 MB: neither those that are reserved, nor those that are written.
my $rows = 45000;
my $wide = write_file('wide.csv', "id,name\n" . join('', map { "$_," . ($_ % 10) x 900 . "\n" } 1 .. $rows));
for my $writer ('pages', 'multi_insert')
{
	new_table('TABLE t (id integer, name text)');
	my $postmaster = (split(/\n/, slurp_file($node->data_dir . '/postmaster.pid')))[0];
	system_or_bail('prlimit', "--pid=$postmaster", '--fsize=33554432:unlimited');
	my $row = load($writer, $wide, 'chunk_size => 1000, min_chunks => 1, max_workers => 2');
	is($row->{status}, 'Failed', "$writer, no space: Failed");
	like($row->{error}, qr/could not (extend|write to) file "base\/.*"( with FileFallocate\(\))?: File too large/, '... and says why');
	is(sql('SELECT count(*), count(DISTINCT id) FROM t'), "$row->{success_count}|$row->{success_count}", '... what is in is counted');
	cmp_ok($row->{success_count}, '>', 20000, '... and most of what there was space for');
	system_or_bail('prlimit', "--pid=$postmaster", '--fsize=unlimited:unlimited');
	sql("SELECT ml_resume($row->{id})");
	is(outcome(wait_import($node, $row->{id})), "Completed - $rows 0 0", '... with space it is resumed');
	is(sql('SELECT count(*), count(DISTINCT id) FROM t') . ' ' . sql(q(SELECT count(*) FROM verify_heapam('t'))), "$rows|$rows 0", '... each row, once');
}

# --- pages stay in buffers that nobody uses, and take no other ones than those of a ring ---

sql('CREATE EXTENSION pg_buffercache; CREATE EXTENSION pg_prewarm');
$node->append_conf('postgresql.conf', "shared_buffers = '64MB'");
$node->restart;
sub buffers { return sql("SELECT count(*) FROM pg_buffercache WHERE relfilenode = pg_relation_filenode('$_[0]')") }
new_table('TABLE t (id integer, name text)');
is(outcome(load('pages', $wide, 'chunk_size => 10000, min_chunks => 1, max_workers => 2')), "Completed - $rows 0 0", 'an import into an empty cache');
cmp_ok(buffers('t'), '>=', 0.99 * pages(), '... leaves all pages there');
sql(q(CREATE TABLE filler AS SELECT repeat('x', 1000) FROM generate_series(1, 80000)));
sql(q(SELECT pg_prewarm('filler')));
is(sql('SELECT count(*) FROM pg_buffercache WHERE relfilenode IS NULL'), 0, 'a full cache');
sql('ALTER TABLE t RENAME TO before; CREATE TABLE t (LIKE before)');
is(outcome(load('pages', $wide, 'chunk_size => 10000, min_chunks => 1, max_workers => 1')), "Completed - $rows 0 0", '... an import then');
# The ring of ANALYZE has a size that can be set from 16 on, in kB, and had 32 buffers before.
my $analyze_ring = sql(q(SELECT coalesce(max(setting::integer / 8), 32) FROM pg_settings WHERE name = 'vacuum_buffer_usage_limit'));
cmp_ok(buffers('t'), '<=', 1024 + $analyze_ring + 144, '... keeps to its ring of 1,024 buffers');
is(sql('SELECT count(*) FROM (TABLE t EXCEPT ALL TABLE before) d') . ' ' . sql('SELECT count(*) FROM t'), "0 $rows", '... and brings the same rows');
sql('DROP TABLE before, filler');

# --- the page that a piece leaves half full is filled by the next one ---

# Chunks of a piece of 4,096 records and a bit; then records one in fifty of which is refused or goes the way of long rows.
sub copied
{
	my ($clean) = @_;
	sql("SET client_min_messages = warning; DROP TABLE IF EXISTS copied; CREATE TABLE copied (LIKE t INCLUDING STORAGE); COPY copied FROM '$clean' (FORMAT csv, HEADER)");
	return sql(q(SELECT pg_relation_size('copied') / 8192));
}
new_table('TABLE t (id integer, name text)');
is(outcome(load('pages', $file, 'chunk_size => 5000, min_chunks => 1, max_workers => 1')), "Completed - $count 0 0", 'chunks of a piece and a bit');
cmp_ok(pages(), '<=', 2 + copied($file), '... take no more pages than COPY, or one or two');
my @mixed = map { $_ % 50 == 0 ? "$_," . 'long' x 600 . "\n" : sprintf("%d,name %06d\n", $_, $_) } 1 .. 40000;
my $clean = write_file('clean.csv', "id,name\n" . join('', @mixed));
my $mixed = write_file('mixed.csv', "id,name\n" . join('', map { ($_, $_ =~ /^\d*25,/ ? "x$_" : ()) } @mixed));
new_table('TABLE t (id integer, name text)');
sql('ALTER TABLE t ALTER name SET STORAGE plain');
is(outcome(load('pages', $mixed, 'chunk_size => 50000, min_chunks => 1, max_workers => 1')), 'Completed with errors - 40000 400 0', 'records of several kinds');
cmp_ok(pages(), '<=', 1.1 * copied($clean), '... take few more');
is(sql('SELECT count(*) FROM (TABLE t EXCEPT ALL TABLE copied) d') . ' ' . sql('SELECT count(*) FROM t'), '0 40000', '... and are those of COPY');

# --- the smallest cache of pages ---

$node->append_conf('postgresql.conf', "shared_buffers = '128kB'\nmax_connections = 10\nmax_wal_senders = 0\nautovacuum_max_workers = 1\nwal_level = replica");
$node->restart;
new_table('TABLE t (id integer, name text)');
is(outcome(load($_, $file, "$three, max_workers => 1")), "Completed - $count 0 0", "16 buffers, $_: loaded") for 'multi_insert', 'pages';
$node->append_conf('postgresql.conf', "shared_buffers = '512kB'");
$node->restart;
new_table('TABLE t (id integer, name text)');
my $row = load('pages', $file, 'chunk_size => 10000, min_chunks => 1, max_workers => 3');
is(outcome($row), "Completed - $count 0 0", '64 buffers, three processes: loaded');
is(sql("SELECT max(attempts) FROM process_chunks WHERE uploaded_file_id = $row->{id}"), 1, '... at the first attempt');

$node->stop;
done_testing();
