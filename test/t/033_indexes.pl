# Indexes of an empty table are put off and built at the end: what sessions see meanwhile, in which cases they are
# maintained instead, and that they are there, and whole, after every end: a crash with ml_resume, ml_cancel or the
# launcher, a cancel, a build that fails, two imports into one table, and what others do to the table meanwhile.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_server('main', "movielens_ingest.defer_indexes = on", "movielens_ingest.retry_delay = '10ms'",
	"autovacuum = off", "lc_messages = 'C'");
my $path = write_file('numbers.csv', numbers(100));
my $options = 'chunk_size => 10, min_chunks => 1, max_workers => 2, force => true';
my ($gate, $id, $row);

sub sql { return $node->safe_psql('postgres', @_) }

# The gate is in a column's default: a table with triggers would keep its indexes.
sql(q(CREATE EXTENSION amcheck;
	CREATE FUNCTION held() RETURNS integer LANGUAGE plpgsql AS $$BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN 1; END$$));

sub new_table
{
	my ($kind) = @_;
	sql('DROP TABLE IF EXISTS t; CREATE ' . ($kind // '') . ' TABLE t (id integer, name text, held integer DEFAULT held());
		CREATE INDEX by_id ON t (id); CREATE INDEX by_held ON t USING hash (held)');
	return;
}

sub missing
{
	return sql("SELECT coalesce(string_agg(indexrelid::regclass::text, ' ' ORDER BY indexrelid), 'none') FROM pg_index
		WHERE indrelid = to_regclass('t') AND NOT (indisvalid AND indisready AND indislive)");
}

# An import waits in its first chunks.
sub held_import
{
	new_table(@_);
	$gate = close_gate($node);
	$id = start_import($node, $path, 't', $options);
	wait_at_gate($node, 2);
	is(missing(), 'by_id by_held', 'an import into an empty table has put its indexes off');
	return;
}

# Every index is valid, has an entry for each row, and is used.
sub whole
{
	my ($rows, $name) = @_;
	is(missing(), 'none', "$name: no index is missing");
	is(sql('SELECT count(*) FROM _deferred_indexes'), 0, '... nor noted as missing');
	sql("SELECT bt_index_check('by_id', true)");
	is(sql('SET enable_seqscan = off; SELECT count(*) FROM t WHERE id > 0'), $rows, "... $rows rows are found by it");
	like(sql('SET enable_seqscan = off; EXPLAIN SELECT FROM t WHERE id = 7'), qr/using by_id|on by_id/, '... and queries use it');
	return;
}

sub ends
{
	my ($status, $rows, $name) = @_;
	$row = wait_import($node, $id);
	is("$row->{status} $row->{success_count}", "$status $rows", $name) or diag($row->{error});
	return;
}

# --- while it is loaded, and what others do meanwhile ---

held_import();
$row = json_row($node, 'SELECT * FROM ml_progress');
is("$row->{phase} @{$row->{indexes_missing}}", 'loading by_id by_held', 'ml_progress names them');
sql("INSERT INTO t (id, name, held) SELECT 1000 + i, 'other', 0 FROM generate_series(1, 20) i;
	UPDATE t SET name = 'changed' WHERE id > 1010; UPDATE t SET id = id + 100 WHERE id > 1015; DELETE FROM t WHERE id = 1001");
sql('VACUUM t');
unlike(sql('SET enable_seqscan = off; EXPLAIN SELECT FROM t WHERE id = 1002'), qr/by_id/, '... no query uses them');
open_gate($gate);
ends('Completed', 100, 'the import completes');
whole(119, '... with rows of other sessions');
like(sql('SET enable_seqscan = off; EXPLAIN SELECT FROM t WHERE held = 1'), qr/by_held/, '... the other index too');

# A session that has written the table holds up the build.
held_import();
my $writer = $node->background_psql('postgres');
$writer->query_safe("BEGIN; INSERT INTO t VALUES (0, 'open', 0)");
open_gate($gate);
poll($node, "SELECT phase = 'indexing' AND rows_done = 100 FROM ml_progress WHERE id = $id", 'the import builds its indexes');
is(missing(), 'by_id by_held', 'phase indexing');
$writer->query_safe('COMMIT');
$writer->quit;
ends('Completed', 100, '... and then the import completes');
whole(100, 'after a wait');

# A table that becomes a partition meanwhile: the server takes no index for it that is not valid, and makes an equal one.
held_import();
sql('CREATE TABLE parent (LIKE t) PARTITION BY RANGE (id); CREATE INDEX parent_by_id ON parent (id)');
my $attaching = in_session($node, 'ALTER TABLE parent ATTACH PARTITION t DEFAULT');
poll($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'ALTER TABLE parent%' AND wait_event_type = 'Lock'", 'ATTACH PARTITION waits');
open_gate($gate);
is(($attaching->finish)[1], '', 'a table with an index that is put off is attached');
ends('Completed', 100, '... and the import completes');
is(missing(), 'none', '... into what is a partition now: no index is missing');
sql("SELECT bt_index_check('by_id', true)");
is(sql("SELECT string_agg(indexrelid::regclass || ' ' || relispartition, ', ' ORDER BY indexrelid) FROM pg_index JOIN pg_class c ON c.oid = indexrelid
	WHERE indrelid = 't'::regclass AND relam <> (SELECT oid FROM pg_am WHERE amname = 'hash')"), 'by_id false, t_id_idx true', '... which has an equal index beside its own');
is(sql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'parent_by_id'::regclass"), 't', '... and that of the partitioned table is valid');
sql('DROP TABLE parent');

# A partition whose partitioned table gets an equal index meanwhile.
sql('DROP TABLE IF EXISTS t; CREATE TABLE parent (id integer, name text, held integer DEFAULT held()) PARTITION BY RANGE (id)');
new_table();
sql('ALTER TABLE parent ATTACH PARTITION t DEFAULT');
$gate = close_gate($node);
$id = start_import($node, $path, 't', $options);
wait_at_gate($node, 2);
is(missing(), 'by_id by_held', 'a partition has its own indexes put off');
my $creating = in_session($node, 'CREATE INDEX parent_by_id ON parent (id)');
poll($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX parent%' AND wait_event_type = 'Lock'", 'CREATE INDEX waits');
open_gate($gate);
is(($creating->finish)[1], '', '... its partitioned table gets an index');
ends('Completed', 100, '... and the import completes');
whole(100, '... the index of the partition');
sql('ALTER INDEX parent_by_id ATTACH PARTITION by_id') if sql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'parent_by_id'::regclass") eq 'f';
is(sql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'parent_by_id'::regclass"), 't', '... that of the partitioned table is valid after ATTACH PARTITION');
sql('DROP TABLE parent');

# Rows that are gone, but that an older snapshot sees, in a HOT chain, are found by it still.
new_table();
sql("INSERT INTO t SELECT i, 'old', 0 FROM generate_series(1, 10) i");
my $old = $node->background_psql('postgres');
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT; SET LOCAL enable_seqscan = off');
sql("UPDATE t SET name = 'new'; DELETE FROM t");
$id = start_import($node, $path, 't', $options);
ends('Completed', 100, 'rows that are deleted: the import completes');
is($old->query_safe("SELECT count(*), min(name), max(name) FROM t WHERE id > 0"), '10|old|old', '... an older snapshot sees them');
$old->query_safe('COMMIT');
$old->quit;
whole(100, 'deleted rows');

# --- what is never put off ---

sub keeps
{
	my ($name, $setup, $more) = @_;
	sql("DROP TABLE IF EXISTS t; CREATE TABLE t (id integer, name text, held integer DEFAULT held()); $setup");
	$gate = close_gate($node);
	$id = start_import($node, $path, 't', $options);
	wait_at_gate($node, 2);
	is(missing(), 'none', "$name: maintained");
	open_gate($gate);
	ends('Completed', 100, '... and the import completes');
	return;
}

keeps('primary key', 'ALTER TABLE t ADD PRIMARY KEY (id)');
keeps('unique index as replica identity', 'ALTER TABLE t ALTER id SET NOT NULL; CREATE UNIQUE INDEX by_id ON t (id); ALTER TABLE t REPLICA IDENTITY USING INDEX by_id');
keeps('exclusion constraint', 'ALTER TABLE t ADD EXCLUDE USING btree (id WITH =)');
keeps('clustered index', 'CREATE INDEX by_id ON t (id); ALTER TABLE t CLUSTER ON by_id');
keeps('expression', 'CREATE INDEX by_id ON t ((1000 / id))');
keeps('predicate', 'CREATE INDEX by_id ON t (id) WHERE 1000 / id > 0');
keeps('text of any length', 'CREATE INDEX by_name ON t (name)');
keeps('brin', 'CREATE INDEX by_id ON t USING brin (id)');
keeps('a table with a row', 'CREATE INDEX by_id ON t (id); INSERT INTO t VALUES (0, NULL, 0)');
keeps('a table with a trigger', 'CREATE INDEX by_id ON t (id); CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;
	CREATE TRIGGER nothing BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION nothing()');
keeps('an index of a partition', 'CREATE TABLE parent (LIKE t) PARTITION BY RANGE (id); CREATE INDEX ON parent (id); CREATE INDEX by_id ON t (id);
	ALTER TABLE parent ATTACH PARTITION t DEFAULT');
sql('DROP TABLE parent');
sql('ALTER SYSTEM SET movielens_ingest.defer_indexes = auto; SELECT pg_reload_conf()');
keeps('a small file', 'CREATE INDEX by_id ON t (id)');
sql('ALTER SYSTEM RESET movielens_ingest.defer_indexes; SELECT pg_reload_conf()');

# A reader keeps the table from being locked: nobody waits for him.
new_table();
my $reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN; SELECT FROM t');
$gate = close_gate($node);
$id = start_import($node, $path, 't', $options);
wait_at_gate($node, 2);
is(missing(), 'none', 'a table that is being read: maintained');
$reader->query_safe('COMMIT');
$reader->quit;
open_gate($gate);
ends('Completed', 100, '... and the import completes');

# A role that may insert, but is not the owner.
sql('CREATE ROLE loader LOGIN; GRANT pg_read_server_files TO loader; GRANT CREATE ON SCHEMA public TO loader');
new_table();
sql('GRANT INSERT ON t TO loader');
$gate = close_gate($node);
$id = sql("SET SESSION AUTHORIZATION loader; SELECT ml_import('$path', 't', $options)");
wait_at_gate($node, 2);
is(missing(), 'none', "another role's table: maintained");
open_gate($gate);
ends('Completed', 100, '... and the import completes');

# Its own.
new_table();
sql('ALTER TABLE t OWNER TO loader');
$gate = close_gate($node);
$id = sql("SET SESSION AUTHORIZATION loader; SELECT ml_import('$path', 't', $options)");
wait_at_gate($node, 2);
is(missing(), 'by_id by_held', 'its own table: put off');
is(sql("SET SESSION AUTHORIZATION loader; SELECT indexes_missing FROM ml_progress WHERE id = $id"), '{by_id,by_held}', '... and it sees that');
open_gate($gate);
ends('Completed', 100, '... and the import completes');
whole(100, "a role's own table");

# --- every other end ---

held_import();
sql("SELECT ml_cancel($id)");
ends('Cancelled', 0, 'ml_cancel while it is loaded');
whole(0, 'cancelled');
open_gate($gate);
sql("SELECT ml_resume($id)");
ends('Completed', 100, '... ml_resume loads the rest');
whole(100, 'cancelled and resumed');

held_import();
$writer = $node->background_psql('postgres');
$writer->query_safe("BEGIN; INSERT INTO t VALUES (0, 'open', 0)");
open_gate($gate);
poll($node, "SELECT phase = 'indexing' FROM ml_progress WHERE id = $id", 'the import builds its indexes');
sql("SELECT ml_cancel($id)");
ends('Cancelled', 100, 'ml_cancel while an index is built');
is($row->{error}, 'canceling statement due to user request; could not build index public.by_id: canceling statement due to user request',
	'... the error says that it is missing');
is(missing(), 'by_id by_held', '... it is');
$writer->query_safe('COMMIT');
$writer->quit;
unlink $path or die;
sql("SELECT ml_resume($id)");
ends('Completed', 100, '... ml_resume builds it, and needs no file');
whole(100, 'built by ml_resume');
write_file('numbers.csv', numbers(100));

# A build that fails: no room for its temporary files.
my $large = write_file('large.csv', numbers(60000));
sql("ALTER SYSTEM SET temp_file_limit = 0; ALTER SYSTEM SET maintenance_work_mem = '1MB'; SELECT pg_reload_conf()");
new_table();
$id = start_import($node, $large, 't', 'force => true');
ends('Failed', 60000, 'a build that fails: Failed, with every row in');
like("$row->{sqlstate} $row->{unprocessed_count} $row->{error}", qr/^53400 0 could not build index public.by_id: temporary file size exceeds /, '... for its reason');
is(missing(), 'by_id by_held', '... they are missing');
sql("ALTER SYSTEM RESET temp_file_limit; SELECT pg_reload_conf()");
sql("SELECT ml_resume($id)");
ends('Completed', 60000, '... ml_resume builds it');
whole(60000, 'built after a failure');

# maintenance_work_mem is a limit: what sorting a btree takes of it is enough for the processes, and no more.
my $sorted = write_file('sorted.csv', numbers(50));
for my $case ([ '1GB', 2, 96 * 1024 ], [ '1GB', 0, 32 * 1024 ], [ '4MB', 2, 4 * 1024 ])
{
	my ($memory, $workers, $taken) = @$case;
	new_table();
	my $log = -s $node->logfile;
	$id = sql("SET trace_sort = on; SET maintenance_work_mem = '$memory'; SET max_parallel_maintenance_workers = $workers; SELECT ml_import('$sorted', 't', force => true)");
	ends('Completed', 50, "maintenance_work_mem = $memory, $workers parallel workers");
	my ($memory_of_sort) = slurp_file($node->logfile, $log) =~ /begin index sort: unique = f, workMem = (\d+), randomAccess = f/;
	is($memory_of_sort, $taken, "... $taken kB for sorting");
}

# Two imports into the table: the last one builds.
my $second = write_file('second.csv', "id,name\n" . records(101, 200));
held_import();
my $other = start_import($node, $second, 't', $options);
wait_at_gate($node, 4);
sql("SELECT ml_cancel($id)");
ends('Cancelled', 0, 'two imports: the first one ends');
is(missing(), 'by_id by_held', '... and leaves the indexes to the second');
open_gate($gate);
$id = $other;
ends('Completed', 100, '... which completes');
whole(100, 'two imports');

# Others change the table meanwhile.
for my $change (
	[ 'DROP INDEX by_id', sub { is(missing(), 'none', 'DROP INDEX: nothing is missing') } ],
	[ 'CREATE INDEX CONCURRENTLY later ON t (name)', sub { whole(100, 'CREATE INDEX CONCURRENTLY') } ],
	[ 'REINDEX INDEX by_id', sub { whole(100, 'REINDEX') } ],
	[ 'TRUNCATE t', sub { whole(sql('SELECT count(*) FROM t'), 'TRUNCATE') } ],
	[ 'ALTER TABLE t OWNER TO loader', sub { whole(100, 'a new owner') } ],
	[ 'DROP TABLE t', sub { is(sql('SELECT count(*) FROM ml_progress'), 0, 'DROP TABLE: the import has ended') } ])
{
	my ($command, $check) = @$change;
	held_import();
	my $session = in_session($node, $command);
	poll($node, "SELECT count(*) > 0 FROM pg_stat_activity WHERE query = '$command' AND wait_event_type = 'Lock'", "$command waits");
	open_gate($gate);
	my (undef, $stderr) = $session->finish;
	is($stderr, '', $command);
	$row = wait_import($node, $id);
	is($row->{status}, $command =~ /DROP TABLE/ ? 'Failed' : 'Completed', '... the import ends') or diag($row->{error});
	$check->();
}

# --- a crash ---

for my $kind ('', 'UNLOGGED')
{
	held_import($kind);
	$node->stop('immediate');
	$node->start;
	is(missing(), 'by_id by_held', "a crash: they stay missing $kind");
	$row = json_row($node, 'SELECT * FROM ml_progress');
	is("$row->{phase} @{$row->{indexes_missing}}", 'interrupted by_id by_held', '... ml_progress names them');
	sql("SELECT ml_resume($id)");
	ends('Completed', 100, '... ml_resume loads the rest');
	whole(100, "resumed after a crash $kind");
	eval { $gate->quit };
}

held_import();
$node->stop('immediate');
$node->start;
eval { $gate->quit };
is(sql("SELECT ml_cancel($id)"), 't', 'a crash and ml_cancel');
ends('Cancelled', 0, '... the import is Cancelled');
whole(0, '... ml_cancel');

held_import();
$node->stop('immediate');
eval { $gate->quit };
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'movielens_ingest'");
$node->start;
ends('Completed', 100, 'a crash and the launcher: the import completes');
whole(100, '... launcher');

$node->stop;
done_testing();
