# What an import shows while it runs: its processes in pg_stat_activity, their chunks in pg_stat_progress_copy, and counts
# in uploaded_files that are rewritten while chunks finish and add up at all times. Afterwards the table is analyzed, if the
# caller may, and neither processes, locks nor shared memory are left.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

# Segments of shared memory are files of the server's own then.
my $node = start_server('main', 'dynamic_shared_memory_type = mmap', 'autovacuum = off');
my $path = write_file('numbers.csv', numbers(100));
my $options = 'chunk_size => 10, min_chunks => 1, max_workers => 3, force => true';
$node->safe_psql('postgres', 'CREATE TABLE t (id integer, name text); CREATE ROLE loader LOGIN; GRANT pg_read_server_files TO loader; GRANT INSERT ON t TO loader');

my $before;
sub segments { return scalar(slurp_dir($node->data_dir . '/pg_dynshmem')) - 2 }
sub locks
{
	return $node->safe_psql('postgres', "SELECT count(*) FROM pg_locks WHERE relation::regclass::text IN ('t', 'uploaded_files', 'process_chunks', 'rejected_rows')
		OR classid = 'uploaded_files'::regclass OR locktype = 'advisory'");
}
sub nothing_left
{
	my ($name) = @_;
	processes_gone($node);
	is(segments() . ' ' . locks(), "$before 0", "nothing is left: $name");
}

# The server makes a segment more for itself, for statistics say, as it goes on: so after a first import, which is no different.
is(imported($node, $path, 't', $options)->{status}, 'Completed', 'a first import');
$node->safe_psql('postgres', 'TRUNCATE t');
$before = segments();

# --- processes that are held up in their chunks ---

add_gate($node, 't');
my $gate = close_gate($node);
my $id = start_import($node, $path, 't', $options);
wait_at_gate($node, 3);
is($node->safe_psql('postgres', "SELECT backend_type, count(*), count(DISTINCT pid), min(state), min(usename), min(datname), min(wait_event)
	FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%' GROUP BY 1 ORDER BY 1"),
	"movielens_ingest leader|1|1|active|" . ($node->safe_psql('postgres', 'SELECT current_user')) . "|postgres|advisory\n"
	  . 'movielens_ingest worker|2|2|active|' . ($node->safe_psql('postgres', 'SELECT current_user')) . '|postgres|advisory',
	'backend_type, state, user, database');
is($node->safe_psql('postgres', "SELECT string_agg(query, ';' ORDER BY query) FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%'"),
	join(';', map { "movielens_ingest: loading chunk $_ of import $id into public.t" } 1 .. 3), 'query: what each is doing');
is($node->safe_psql('postgres', "SELECT count(*), count(DISTINCT p.pid), bool_and(p.command = 'COPY FROM' AND p.type = 'FILE'),
	bool_and(p.relid = 't'::regclass AND p.datname = 'postgres'), sum(p.bytes_total)
	FROM pg_stat_progress_copy p JOIN pg_stat_activity a USING (pid) WHERE a.backend_type LIKE 'movielens_ingest%'"),
	'3|3|t|t|' . $node->safe_psql('postgres', "SELECT sum(end_byte - start_byte) FROM process_chunks WHERE uploaded_file_id = $id AND chunk_number <= 3"),
	'pg_stat_progress_copy: a row for each process, with the bytes of its chunk');
is($node->safe_psql('postgres', "SELECT status, success_count, unprocessed_count, row_count, start_time IS NOT NULL FROM uploaded_files WHERE id = $id"),
	'Processing|0|100|100|t', 'uploaded_files: planned, nothing loaded yet');
cmp_ok(segments(), '>', $before, 'while it runs it has a segment of shared memory');
cmp_ok(locks(), '>', 3, '... and locks');
open_gate($gate);
wait_import($node, $id);
nothing_left('after an import');

# --- within a chunk, and behind a refused record ---

my $half = write_file('half.csv', "id,name\n" . records(1, 4) . "x,bad\n" . records(6, 20));
$node->safe_psql('postgres', 'DROP TRIGGER gate ON t; TRUNCATE t');
add_gate($node, 't', 'NEW.id = 15');
$gate = close_gate($node);
$id = start_import($node, $half, 't', 'min_chunks => 1, max_workers => 1');
wait_at_gate($node, 1);
my $progress = json_row($node, 'SELECT * FROM pg_stat_progress_copy');
cmp_ok($progress->{bytes_processed}, '>', 0, 'within a chunk, pg_stat_progress_copy shows the bytes that were read');
cmp_ok($progress->{tuples_processed}, '<=', 13, '... and no more tuples than went in');
open_gate($gate);
is(wait_import($node, $id)->{success_count}, 19, '... and the chunk is loaded');
$node->safe_psql('postgres', 'DROP TRIGGER gate ON t');
add_gate($node, 't');

# --- an error, a cancelled and a terminated leader leave nothing either ---

$node->safe_psql('postgres', 'TRUNCATE t');
for my $function ('cancel', 'terminate')
{
	$gate = close_gate($node);
	$id = start_import($node, $path, 't', $options);
	wait_at_gate($node, 3);
	$node->safe_psql('postgres', "SELECT pg_${function}_backend(pid) FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader'");
	processes_gone($node);
	open_gate($gate);
	nothing_left("$function leader");
}
$node->safe_psql('postgres', 'DROP TRIGGER gate ON t; ALTER TABLE t ADD CHECK (id <> 42), ADD CHECK (1 / (id - 77) IS NOT NULL)');
is(imported($node, $path, 't', $options)->{status}, 'Completed with errors', 'an import with refused records');
nothing_left('after refused records');
$node->safe_psql('postgres', 'DROP TABLE t; CREATE TABLE t (id integer, name text); GRANT INSERT ON t TO loader');

# --- counts while a longer import runs ---

$node->safe_psql('postgres', q(
	CREATE FUNCTION tenth() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.1); RETURN NULL; END';
	CREATE TRIGGER slow BEFORE INSERT ON t FOR EACH STATEMENT EXECUTE FUNCTION tenth();
	CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
	CREATE TRIGGER skip BEFORE INSERT ON t FOR EACH ROW WHEN (NEW.id % 7 = 0) EXECUTE FUNCTION skip()));
my $long = write_file('long.csv', numbers(120) . "x,bad\n" . records(122, 240) . "y,bad\n" . records(242, 480));
$id = start_import($node, $long, 't', 'chunk_size => 10, min_chunks => 1, max_workers => 2');
my (%seen, $samples, $broken, $status);
do
{
	my $sample = json_row($node, "SELECT *, success_count + error_count + skipped_count + unprocessed_count = row_count AS adds_up,
		processing_duration <= clock_timestamp() - start_time AS past FROM uploaded_files WHERE id = $id");
	$samples++;
	$status = $sample->{status};
	$broken++ if defined $sample->{row_count} && !$sample->{adds_up};
	$broken++ if defined $sample->{past} && !$sample->{past};
	$seen{ $sample->{success_count} } = 1 if $status eq 'Processing' && $sample->{success_count} > 0;
	sleep(0.02);
} while ($status eq 'Processing');
is($broken, undef, "the counts added up in each of $samples samples");
cmp_ok(scalar(keys %seen), '>=', 1, 'they were rewritten while it ran: ' . join(' ', sort { $a <=> $b } keys %seen));
my $row = wait_import($node, $id);
is("$row->{status} $row->{success_count} $row->{error_count} $row->{skipped_count} $row->{unprocessed_count} $row->{row_count}",
	'Completed with errors 410 2 68 0 480', 'and are right at the end');
ledger_holds($node, $id, 't', 'as the chunks, the rejects and the table have it');
is($node->safe_psql('postgres', "SELECT abs(extract(epoch FROM end_time - start_time - processing_duration)) < 0.1, start_time >= uploaded_at FROM uploaded_files WHERE id = $id"),
	't|t', 'start, end and duration fit each other');

# --- ANALYZE ---

$node->safe_psql('postgres', 'DROP TABLE t; CREATE TABLE t (id integer, name text); GRANT INSERT ON t TO loader');
is($node->safe_psql('postgres', "SELECT reltuples FROM pg_class WHERE oid = 't'::regclass"), '-1', 'a table that was never analyzed');
my ($rc, $stdout, $stderr) = $node->psql('postgres', "SELECT ml_import('$path', 't', force => true)", extra_params => [ '-U', 'loader' ]);
like($stderr, qr/NOTICE:  table public\.t will not be analyzed after the import/, 'a role that does not own the table is told');
wait_import($node, $stdout);
is($node->safe_psql('postgres', "SELECT reltuples, (SELECT count(*) FROM t) FROM pg_class WHERE oid = 't'::regclass"), '-1|100',
	'... and the table is not analyzed');
($rc, $stdout, $stderr) = $node->psql('postgres', "SELECT ml_import('$path', 't', force => true)");
is($stderr, '', 'no notice for the owner');
wait_import($node, $stdout);
is($node->safe_psql('postgres', "SELECT reltuples FROM pg_class WHERE oid = 't'::regclass"), '200', '... and the table is analyzed');
cmp_ok($node->safe_psql('postgres', "SELECT count(*) FROM pg_stats WHERE tablename = 't'"), '==', 2, '... with statistics of its columns');

$node->stop;
done_testing();
