# That indexes which were put off are built by whoever is last, whatever else a leader leads, whatever waits for locks in
# the meantime, and also when the import ends before it could begin. A table that is referenced is analyzed beside those
# who reference it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_server('main', "movielens_ingest.defer_indexes = on", "movielens_ingest.retry_delay = '10ms'",
	"autovacuum = off", "lc_messages = 'C'", "deadlock_timeout = '50ms'");
my $path = write_file('numbers.csv', numbers(100));
my $options = 'chunk_size => 10, min_chunks => 1, max_workers => 2, force => true';
my ($gate, $id, $session);

sub sql { return $node->safe_psql('postgres', @_) }

# The gate is in a column's default: a table with triggers would keep its indexes.
sql(q(CREATE EXTENSION amcheck;
	CREATE FUNCTION held() RETURNS integer LANGUAGE plpgsql AS $$BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN 1; END$$));

sub new_table
{
	sql('SET client_min_messages = warning; DROP TABLE IF EXISTS t;
		CREATE TABLE t (id integer, name text, held integer DEFAULT held()); CREATE INDEX by_id ON t (id)');
	return;
}

sub missing
{
	my ($table) = @_;
	return sql("SELECT coalesce(string_agg(indexrelid::regclass::text, ' ' ORDER BY indexrelid), 'none') FROM pg_index
		WHERE indrelid = '$table'::regclass AND NOT (indisvalid AND indisready AND indislive)");
}

sub held_import
{
	my ($settings) = @_;
	new_table();
	$gate = close_gate($node);
	$id = sql(($settings // '') . "SELECT ml_import('$path', 't', $options)");
	wait_at_gate($node, 2);
	is(missing('t'), 'by_id', 'an import has put its index off');
	return;
}

sub completes
{
	my ($rows, $name) = @_;
	my $row = wait_import($node, $id);
	is("$row->{status} $row->{success_count}", 'Completed 100', $name) or diag($row->{error});
	is(missing('t') . ' ' . sql('SELECT count(*) FROM _deferred_indexes'), 'none 0', '... no index is missing');
	is(sql("SELECT bt_index_check('by_id', true); SET enable_seqscan = off; SELECT count(*) FROM t WHERE id > 0"), "\n$rows", "... $rows rows are found by it");
	return;
}

# Until a process of an import has waited for a lock on the table or the index for so long.
sub waits
{
	my ($interval) = @_;
	poll($node, "SELECT count(*) > 0 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND locktype = 'relation'
		AND backend_type LIKE 'movielens_ingest%' AND clock_timestamp() - waitstart > '$interval'", 'the build waits');
	return;
}

# --- who has read the table, and then writes it ---

for my $how ('reads', 'reads, then writes')
{
	held_import("SET lock_timeout = '1s'; ");
	$session = $node->background_psql('postgres');
	$session->query_safe('BEGIN; SELECT count(*) FROM t');
	open_gate($gate);
	waits('1200ms');
	$session->query_safe('INSERT INTO t VALUES (101)') if $how =~ /writes/;
	$session->query_safe('COMMIT');
	$session->quit;
	completes($how =~ /writes/ ? 101 : 100, "a session $how: the build waits for it, and nobody is in a deadlock");
}
is(scalar(() = slurp_file($node->logfile) =~ /deadlock detected/g), 0, 'no deadlock was detected');

# --- who has the index alone ---

new_table();
$session = $node->background_psql('postgres');
$session->query_safe('BEGIN; COMMENT ON INDEX by_id IS $$locked$$');
$id = sql("SELECT ml_import('$path', 't', $options)");
my $row = wait_import($node, $id);
is("$row->{status} $row->{success_count}", 'Completed 100', 'an index that a session has locked is maintained: the import does not wait');
$session->query_safe('ROLLBACK');
$session->quit;
completes(100, '... nor is its index missing');

held_import();
$session = $node->background_psql('postgres');
$session->query_safe('BEGIN; COMMENT ON INDEX by_id IS $$locked$$');
open_gate($gate);
waits('100ms');
$session->query_safe('ROLLBACK');
$session->quit;
completes(100, 'an index that a session has locked meanwhile: the build waits');

# --- what may pass ---

held_import();
sql(q(CREATE SEQUENCE tried;
	CREATE FUNCTION fail_twice() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
		IF nextval('public.tried') < 3 THEN RAISE EXCEPTION 'not now' USING ERRCODE = 'lock_not_available'; END IF;
		RETURN OLD; END$$;
	CREATE TABLE noted (index_oid oid REFERENCES _deferred_indexes ON DELETE CASCADE);
	INSERT INTO noted SELECT index_oid FROM _deferred_indexes;
	CREATE TRIGGER fail_twice BEFORE DELETE ON noted FOR EACH ROW EXECUTE FUNCTION fail_twice()));
open_gate($gate);
completes(100, 'an error that may pass');
is(sql('SELECT last_value FROM tried'), 3, '... the third try has built it');
sql('DROP TABLE noted; DROP FUNCTION fail_twice; DROP SEQUENCE tried');

# --- a leader that leads other files of a data set ---

my $folder = PostgreSQL::Test::Utils::tempdir('set');
append_to_file("$folder/movies.csv", "movieId,title,genres\n" . join('', map { "$_,title $_,none\n" } 1 .. 100));
append_to_file("$folder/tags.csv", "userId,movieId,tag,timestamp\n" . join('', map { "1,$_,tag $_,1\n" } 1 .. 100));
append_to_file("$folder/ratings.csv", "userId,movieId,rating,timestamp\n" . join('', map { "1," . ($_ % 100 + 1) . ",1.0,1\n" } 1 .. 1000));
sql('SELECT FROM ml_create_tables(); ALTER TABLE ratings ADD held integer DEFAULT held()');
$gate = close_gate($node);
my %id = split(/[|\n]/, sql("SELECT target::regclass, id FROM ml_import_dataset('$folder', chunk_size => 10, min_chunks => 1, max_workers => 1)"));
wait_at_gate($node, 1);
is(sql("SELECT status FROM uploaded_files WHERE id = $id{tags}"), 'Completed', 'tags are in');
sql("SELECT ml_cancel($id{ratings})");
is(wait_import($node, $id{ratings})->{status}, 'Cancelled', '... ratings cancelled');
processes_gone($node);
sql("SELECT ml_resume($id{ratings})");
wait_at_gate($node, 1);
sql('TRUNCATE tags');
my $tags = start_import($node, "$folder/tags.csv", 'tags', 'force => true');
is(wait_import($node, $tags)->{status}, 'Completed', 'ratings resumed, and tags loaded again meanwhile');
is(missing('tags'), 'none', '... its index is built, though the leader of ratings has led tags before');
open_gate($gate);
is(wait_import($node, $id{ratings})->{status}, 'Completed', '... ratings end');
is(missing('ratings'), 'none', '... with their index');

# --- a referenced table ---

for (1 .. 10)
{
	sql('SET client_min_messages = warning; TRUNCATE movies CASCADE; ALTER TABLE ratings DROP COLUMN IF EXISTS held');
	sql("SELECT pg_stat_reset_single_table_counters('movies'::regclass)");
	my @ids = split(/\n/, sql("SELECT id FROM ml_import_dataset('$folder', chunk_size => 2, min_chunks => 1, max_workers => 3, force => true)"));
	wait_import($node, $_) foreach @ids;
}
is(scalar(() = slurp_file($node->logfile) =~ /skipping analyze|could not analyze/g), 0, 'ten data sets: each table is analyzed');

# --- an import that cannot begin again ---

sql('CREATE TEXT SEARCH CONFIGURATION mine (COPY = simple)');
held_import("SET default_text_search_config = 'public.mine'; ");
$node->stop('immediate');
$node->start;
eval { $gate->quit };
is(missing('t'), 'by_id', 'a crash: the index is missing');
sql('DROP TEXT SEARCH CONFIGURATION mine');
sql("SELECT ml_resume($id)");
$row = wait_import($node, $id);
is("$row->{status} $row->{sqlstate}", 'Failed 22023', 'an import whose settings are not valid any more') or diag($row->{error});
is(missing('t'), 'none', '... ends with its index built');
is(sql("SELECT bt_index_check('by_id', true); SELECT count(*) FROM t"), "\n0", '... which agrees with the table');

$node->stop;
done_testing();
