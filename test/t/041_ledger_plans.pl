# What a chunk costs besides its rows: the ledger's statements are planned once a process, not once a chunk, and never
# compiled, whatever the settings of the caller make of their cost; and there is one commit a chunk, not two. In a large
# ledger no statement reads more than it did in a small one, also if that is when it was planned; LEDGER_ROWS says how
# large.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ImportTest;
use Test::More;

my $node = start_server(
	'plans',
	"shared_preload_libraries = 'pg_stat_statements'",
	"pg_stat_statements.track = 'all'",
	'pg_stat_statements.track_planning = on',
	'autovacuum = off', # so that plans stay as they were made
	'jit_above_cost = 0');
my $file = write_file('rows.csv', "a\n" . join('', map { "$_\n" } 1 .. 200));

$node->safe_psql('postgres', 'CREATE EXTENSION pg_stat_statements; CREATE EXTENSION pg_walinspect; CREATE TABLE rows (a integer)');
my $from = $node->safe_psql('postgres', 'SELECT pg_current_wal_flush_lsn()');
my $id = $node->safe_psql('postgres', "SELECT ml_import('$file', 'rows', chunk_size => 2, max_workers => 1)");
is($node->safe_psql('postgres', "SELECT status, success_count FROM ml_wait($id)"), 'Completed|200', 'a hundred chunks');

my $statements = "FROM pg_stat_statements WHERE query LIKE '%process_chunks%' AND query NOT LIKE '%pg_stat_statements%'";
is($node->safe_psql('postgres', "SELECT count(*) > 2 $statements AND calls = 100"), 't', 'some statements run for each of them');
is($node->safe_psql('postgres', "SELECT max(plans) <= 2 $statements AND calls = 100"), 't', '... and are planned once');
is($node->safe_psql('postgres', "SELECT sum(jit_functions) $statements"), '0', '... and none is compiled');

my $commits = $node->safe_psql('postgres', "SELECT count(*) FROM pg_get_wal_records_info('$from', pg_current_wal_flush_lsn()) WHERE resource_manager = 'Transaction' AND record_type = 'COMMIT'");
cmp_ok($commits, '>=', 100, 'each chunk is a transaction');
cmp_ok($commits, '<=', 140, '... which counts the attempt at the next one too');
is($node->safe_psql('postgres', "SELECT min(attempts), max(attempts), max(crashes) FROM process_chunks WHERE uploaded_file_id = $id"), '1|1|0', '... once');

# The next chunk's attempt is counted when this one's rows are in, and not before.
my $gate = close_gate($node);
$node->safe_psql('postgres', 'CREATE TABLE gated (a integer CHECK (a <> 99 OR pg_advisory_xact_lock_shared(1) IS NOT NULL))');
$id = $node->safe_psql('postgres', "SELECT ml_import('$file', 'gated', chunk_size => 2, max_workers => 1)");
wait_at_gate($node, 1);
is($node->safe_psql('postgres', "SELECT status, attempts, crashes, count(*), min(chunk_number), max(chunk_number) FROM process_chunks WHERE uploaded_file_id = $id GROUP BY 1, 2, 3 ORDER BY 5"),
	"Completed|1|0|49|1|49\nPending|1|1|1|50|50\nPending|0|0|50|51|100", 'of the chunks that are left, the one in hand has been tried');
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', "SELECT attempts, crashes, count(*), min(chunk_number) FROM process_chunks WHERE uploaded_file_id = $id AND status = 'Pending' GROUP BY 1, 2 ORDER BY 4"),
	"1|1|1|50\n0|0|50|51", '... and a crash is charged to it alone');
undef $gate;
$node->safe_psql('postgres', "SELECT ml_resume($id)");
is($node->safe_psql('postgres', "SELECT status, success_count FROM ml_wait($id)"), 'Completed|200', '... and the rest is loaded');

# --- a large ledger ---

# Whose session has planned its statements while the ledger was small.
my $old = $node->background_psql('postgres');
$old->query_safe('SET client_min_messages = warning');
my @numbers = map { write_file("numbers_$_.csv", numbers(10)) } 1 .. 4;
my $folder = PostgreSQL::Test::Utils::tempdir('data_set');
link($numbers[0], "$folder/$_.csv") or die for 'links', 'movies';
$node->safe_psql('postgres', 'CREATE TABLE numbers (id integer, name text); CREATE TABLE late (id integer, name text); CREATE INDEX ON numbers (id);
	CREATE UNLOGGED TABLE unlogged (id integer, name text);
	CREATE TABLE movies (id integer PRIMARY KEY, name text); CREATE TABLE links (id integer REFERENCES movies, name text);
	CREATE ROLE loader LOGIN; GRANT pg_read_server_files TO loader; CREATE TABLE loaded (id integer, name text); ALTER TABLE loaded OWNER TO loader');
# Workers wait at one gate, the leader at another: so that it can have nothing to do for a while.
$node->safe_psql('postgres', q(
	CREATE FUNCTION two_gates() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
	PERFORM pg_advisory_xact_lock_shared(CASE backend_type WHEN 'movielens_ingest leader' THEN 2 ELSE 1 END) FROM pg_stat_activity WHERE pid = pg_backend_pid();
	RETURN NULL;
	END$$;
	CREATE TRIGGER two_gates BEFORE INSERT ON late EXECUTE FUNCTION two_gates()));

my $works = 0;

# Everything that a session can do, with what leaders and workers do for it.
sub work
{
	my ($session, $what) = @_;
	my $ask = ref($session) ? sub { $session->query_safe($_[0]) } : sub { $node->safe_psql('postgres', $_[0]) };
	my $state = sub { $ask->("SELECT status FROM ml_wait($_[0])") };
	$node->safe_psql('postgres', 'TRUNCATE numbers, loaded, links, movies, unlogged');

	# Of the same size, but with no record of another file.
	my $name = sprintf('n%03d', $works++);
	my $new = write_file("$name.csv", "id,name\n" . join('', map { "$_,$name $_\n" } 1 .. 10));
	my $id = $ask->("SELECT ml_import('$new', 'numbers', max_workers => 3)");
	is($state->($id), 'Completed', "$what: an import");
	is($ask->("SELECT count(*) FROM ml_validate('$numbers[0]', 'numbers')"), '0', "$what: a validation");
	$id = $ask->("SELECT ml_import('$numbers[2]', 'unlogged', force => true)");
	is($state->($id), 'Completed', "$what: an import into an unlogged table");
	$id = $ask->("SET movielens_ingest.defer_indexes = on; SELECT ml_import('$numbers[1]', 'numbers', force => true)");
	is($state->($id), 'Completed', "$what: an import with other settings");
	is(join(' ', map { $state->($_) } split(/\n/, $ask->("SELECT id FROM ml_import_dataset('$folder', force => true)"))), 'Completed Completed', "$what: a data set");
	fails_like($node, "SELECT ml_import('$new', 'numbers')", '42710', qr/./, "$what: a file that is in");
	$id = $ask->("SELECT ml_import('$numbers[3]', 'movies', reject_limit => 0, force => true)");
	is($state->($id), 'Failed', "$what: an import that fails");
	$node->safe_psql('postgres', 'TRUNCATE movies, links');
	is($ask->("SELECT ml_resume($id)"), 't', "$what: ... is resumed");
	is($state->($id), 'Completed', "$what: ... and completes");

	my $gate = close_gate($node);
	$gate->query_safe('SELECT pg_advisory_lock(2)');
	$id = $ask->("SELECT ml_import('$numbers[3]', 'late', chunk_size => 2, max_workers => 3, force => true)");
	wait_at_gate($node, 3);
	my $beside = $ask->("SELECT ml_import('$numbers[2]', 'numbers', force => true)");
	is($state->($beside), 'Completed', "$what: an import beside another one");
	is($node->safe_psql('postgres', "SELECT phase FROM ml_progress WHERE id = $id", extra_params => [ '-U', 'loader' ]), '', "$what: another role sees nothing of it");
	is($ask->("SELECT phase FROM ml_progress WHERE id = $id"), 'loading', "$what: its progress");
	$gate->query_safe('SELECT pg_advisory_unlock(2)');
	poll($node, "SELECT success_count = 8 FROM uploaded_files WHERE id = $id", 'the leader has loaded what the workers have left, and looks around');
	is($ask->("SELECT ml_cancel($id)"), 't', "$what: ... is cancelled");
	open_gate($gate);
	is($state->($id), 'Cancelled', "$what: ... and ends");

	$node->safe_psql('postgres', "SET client_min_messages = warning; CALL ml_load('$numbers[0]', 'loaded', force => true)", extra_params => [ '-U', 'loader' ]);
	return;
}

$node->safe_psql('postgres', 'SELECT pg_stat_statements_reset()');
work($old, 'a small ledger, old plans');
work(0, 'a small ledger');
# What they have read, with the catalogs.
my $blocks = '(shared_blks_hit + shared_blks_read) / greatest(calls, 1)';
$node->safe_psql('postgres', "CREATE TABLE small AS SELECT query, max($blocks) AS blocks FROM pg_stat_statements GROUP BY 1");

# As many imports of files of the same size into the same tables, some with chunks that were refused a record.
my $rows = $ENV{LEDGER_ROWS} // 50_000;
my $size = -s $numbers[0];
$node->safe_psql('postgres', qq(
	INSERT INTO uploaded_files (file_name, file_path, file_size, status, target, options, owner_oid, owner_name, plan, dataset_id, origin,
		row_count, success_count, error_count, unprocessed_count)
	SELECT 'old.csv', '/old.csv', $size, CASE WHEN i % 10 = 0 THEN 'Cancelled' WHEN i % 10 = 1 THEN 'Failed' ELSE 'Completed with errors' END,
		like_this.target, like_this.options, like_this.owner_oid, like_this.owner_name,
		like_this.plan || jsonb_build_object('inode', 1000000000 + i, 'unlogged', i % 2 = 0), 1000000000000 + i, like_this.origin, 1, 0, 1, 0
	  FROM generate_series(1, $rows) i
	  JOIN (SELECT *, row_number() OVER (ORDER BY target) - 1 AS number FROM
	         (SELECT DISTINCT ON (target) * FROM uploaded_files WHERE target IN ('public.numbers', 'public.unlogged', 'public.movies', 'public.links')) t) like_this
	    ON like_this.number = i % 4));
$node->safe_psql('postgres', q(
	SET session_replication_role = replica; -- the foreign keys hold
	INSERT INTO process_chunks (uploaded_file_id, ended, start_row, end_row, status, chunk_number, start_byte, end_byte, start_line, attempts, error_count, checksum)
	SELECT id, now(), 1, 1, 'Completed', 1, 8, file_size, 2, 1, 1, id FROM uploaded_files WHERE file_name = 'old.csv';
	INSERT INTO rejected_rows (uploaded_file_id, process_chunk_id, row_number, line_number, byte_offset, sqlstate, message, raw_line)
	SELECT uploaded_file_id, id, 1, 2, 8, '22P02', 'refused', 'a' FROM process_chunks WHERE checksum = uploaded_file_id;
	-- what nobody inserts by hand
	SELECT format('ALTER TABLE %s DISABLE TRIGGER USER', c) FROM unnest(ARRAY['_callers', '_session_settings', '_unlogged_witnesses']) c \gexec
	INSERT INTO _callers SELECT id, 10, 10, 10, 0 FROM uploaded_files WHERE file_name = 'old.csv';
	INSERT INTO _session_settings SELECT id, 'work_mem', '4096', 6, 10 FROM uploaded_files WHERE file_name = 'old.csv';
	INSERT INTO _unlogged_witnesses SELECT id FROM uploaded_files WHERE file_name = 'old.csv';
	SELECT format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', tgrelid::regclass, tgname) FROM pg_trigger
	 WHERE tgenabled = 'D' AND tgrelid::regclass::text IN ('_callers', '_session_settings', '_unlogged_witnesses') \gexec));
cmp_ok($node->safe_psql('postgres', "SELECT count(*) FROM uploaded_files WHERE file_name = 'old.csv'"), '>=', $rows, 'a large ledger');

sub reads_little
{
	my ($what) = @_;
	is($node->safe_psql('postgres', "SELECT $blocks || ' blocks: ' || query FROM pg_stat_statements LEFT JOIN small USING (query)
		 WHERE $blocks > 300 + coalesce(2 * small.blocks, 0)
		   AND query ~ 'uploaded_files|process_chunks|rejected_rows|_session_settings|_callers|_unlogged_witnesses|_deferred_indexes|ml_progress|_lines' ORDER BY 1"),
		'', "$what: no statement reads many blocks");
	return;
}
for my $analyze (0, 1)
{
	$node->safe_psql('postgres', 'VACUUM ANALYZE') if $analyze;
	my $what = $analyze ? 'a large ledger, analyzed' : 'a large ledger';
	for my $session ($old, 0)
	{
		$node->safe_psql('postgres', 'SELECT pg_stat_statements_reset()');
		work($session, $what . ($session ? ', old plans' : ''));
		reads_little($what . ($session ? ', old plans' : ''));
	}
}
$old->quit;
processes_gone($node);

$node->stop;
done_testing();
