# Where rows go that the ledger cannot be sure of. Foreign tables commit before the ledger: only with at_least_once, and a lost
# connection is tried again. Unlogged tables are empty after a crash: their chunks are loaded again, each record exactly once.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_server('main', "movielens_ingest.retry_delay = '10ms'", 'restart_after_crash = on');
my $path = write_file('numbers.csv', numbers(100));
my $bad = write_file('bad.csv', "id,name\n1,a\nx,b\n3,c\n3,d\n,e\n6,\n-7,f\n8,g\n");
my $options = 'chunk_size => 10, min_chunks => 1, max_workers => 2';

sub sql { my ($query, $database) = @_; return $node->safe_psql($database // 'postgres', $query) }

sub outcome
{
	my ($row) = @_;
	return join(' ', map { $row->{$_} // '-' } 'status', 'sqlstate', 'success_count', 'error_count', 'unprocessed_count');
}

sub rejects
{
	my ($id) = @_;
	return sql("SELECT string_agg(row_number || ' ' || sqlstate, ', ' ORDER BY row_number) FROM rejected_rows WHERE uploaded_file_id = $id");
}

# --- foreign tables ---

my ($port, $host) = ($node->port, $node->host);
sql('CREATE DATABASE remote');
sql('CREATE TABLE t (id integer PRIMARY KEY CHECK (id > 0), name text NOT NULL); CREATE VIEW readers AS TABLE t; CREATE SEQUENCE calls', 'remote');
sql(qq(
	CREATE EXTENSION postgres_fdw;
	CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'remote');
	CREATE USER MAPPING FOR CURRENT_USER SERVER far;
	CREATE FOREIGN TABLE f (id integer, name text) SERVER far OPTIONS (table_name 't');
	CREATE FOREIGN TABLE f_batch (id integer, name text) SERVER far OPTIONS (table_name 't', batch_size '4');
	CREATE FOREIGN TABLE f_fixed (id integer, name text) SERVER far OPTIONS (table_name 't', updatable 'false');
	CREATE TABLE p (id integer, name text) PARTITION BY RANGE (id);
	CREATE TABLE near PARTITION OF p FOR VALUES FROM (MINVALUE) TO (5);
	CREATE FOREIGN TABLE away PARTITION OF p FOR VALUES FROM (5) TO (200) SERVER far OPTIONS (table_name 't')));

my $hint = qr/records cannot be loaded exactly once into foreign table "(f|away)".*at_least_once => true/s;
fails_like($node, "SELECT ml_import('$path', '$_')", '0A000', $hint, "$_: refused at the call") for 'f', 'p';
fails_like($node, "SELECT ml_import('$path', 'f_fixed', at_least_once => true)", '55000', qr/foreign table "f_fixed" does not allow inserts/, 'a foreign table that takes no inserts: refused');
is(sql('SELECT count(*) FROM uploaded_files'), 0, '... and nothing is registered');
is(outcome(wait_import($node, sql("SELECT ml_import('$path', 'f', $options, at_least_once => true)"))), 'Completed - 100 0 0', 'with the option it is loaded');

for my $table ('f', 'f_batch')
{
	sql('TRUNCATE t', 'remote');
	my $row = imported($node, $bad, $table, 'at_least_once => true, min_chunks => 1, force => true');
	is(outcome($row), 'Completed with errors - 3 5 0', "$table: bad records are refused");
	is(rejects($row->{id}), '2 22P02, 4 23505, 5 23502, 6 23502, 7 23514', '... with the SQLSTATE of the remote server');
	is(sql("SELECT string_agg(id || name, ' ' ORDER BY id) FROM t", 'remote'), '1a 3c 8g', '... the others are there');
}
sql('TRUNCATE t', 'remote');
my $row = imported($node, $path, 'p', "at_least_once => true, $options");
is(outcome($row), 'Completed - 100 0 0', 'a partition that is foreign: loaded');
is(sql('SELECT count(*) FROM near'), 4, '... with its rows here');
is(sql('SELECT count(*), count(DISTINCT id) FROM t', 'remote'), '96|96', '... and there');
sql('TRUNCATE t', 'remote'), sql('TRUNCATE near');
$row = imported($node, $bad, 'p', 'at_least_once => true, min_chunks => 1');
is(rejects($row->{id}), '2 22P02, 5 23514, 6 23502', 'bad records of either');

# The remote server ends its side of the connection within a chunk, once.
sql('TRUNCATE t; CREATE FUNCTION hang_up() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN IF NEW.id = 55 AND nextval($x$public.calls$x$) = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(60); END IF; RETURN NEW; END$$;
	CREATE TRIGGER hang_up BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION hang_up()', 'remote');
my $id = start_import($node, $path, 'f', "$options, at_least_once => true, force => true");
$row = wait_import($node, $id);
my @chunks = chunk_list($node, $id);
is(outcome($row), 'Completed - 100 0 0', 'a connection that is lost: loaded all the same');
is("$chunks[5]{attempts} $chunks[5]{sqlstate}", '2 08006', '... in a second attempt');
is(sql('SELECT count(*), count(DISTINCT id) FROM t', 'remote'), '100|100', '... what the lost one had inserted was not committed');

# --- unlogged tables ---

sub crash { $node->stop('immediate'); $node->start; return }
sub restart { $node->stop('fast'); $node->start; return }

# A file with bad records, into a new table whose record 55 waits at a gate. The gate is no trigger: writer multi_insert.
sql('CREATE FUNCTION pass(integer) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$
	BEGIN IF $1 = 55 THEN PERFORM pg_advisory_xact_lock_shared(1); END IF; RETURN true; END$$');
my $some_bad = write_file('some_bad.csv', numbers(100) =~ s/^(7|55|83),/$1$1x,/mgr . records(55, 55));
sub new_table { sql("DROP TABLE IF EXISTS u; CREATE $_[0] TABLE u (id integer UNIQUE CHECK (pass(id)), name text)"); return }
sub loaded { return sql('SELECT count(*), count(DISTINCT id), sum(id) FROM u') }
my $all = '98|98|' . (5050 - 7 - 83);

# Starts an import, ends the server when all chunks but one are in, and returns the import's id.
sub interrupted
{
	my ($end) = @_;
	my $gate = close_gate($node);
	my $import = start_import($node, $some_bad, 'u', "$options, force => true");
	wait_at_gate($node, 1);
	poll($node, "SELECT count(*) = 10 FROM process_chunks WHERE uploaded_file_id = $import AND status = 'Completed'", 'all chunks but one are in');
	$end->();
	eval { $gate->quit }; # its server is gone
	return $import;
}

sub resumed
{
	my ($import) = @_;
	is(sql("SELECT ml_resume($import)"), 't', '... it is resumed');
	return wait_import($node, $import);
}

new_table('UNLOGGED');
$id = interrupted(\&crash);
is(loaded(), '0|0|', 'unlogged table, a crash in the middle: it is empty');
is(outcome(resumed($id)), 'Completed with errors - 98 3 0', '... everything is loaded');
is(loaded(), $all, '... exactly once');
is(rejects($id), '7 22P02, 55 22P02, 83 22P02', '... and noted once');
ledger_holds($node, $id, 'u', '... the ledger says so');
like(slurp_file($node->logfile), qr/a crash has emptied unlogged table public\.u: import $id begins anew/, '... and the log why');
fails_like($node, "SELECT ml_import('$some_bad', 'u')", '42710', qr/already imported/, '... the file is not loaded again');

new_table('UNLOGGED');
$id = interrupted(\&crash);
crash();
is(outcome(resumed($id)) . ' ' . loaded(), "Completed with errors - 98 3 0 $all", 'two crashes: everything, exactly once');
crash();
is(loaded(), '0|0|', 'a crash behind the end: the table is empty');
$row = imported($node, $some_bad, 'u', $options);
is(outcome($row) . ' ' . loaded(), "Completed with errors - 98 3 0 $all", '... the file may be imported again');
fails_like($node, "SELECT ml_import('$some_bad', 'u')", '42710', qr/since import $row->{id}\./, '... but once');

new_table('UNLOGGED');
$id = interrupted(\&restart);
is(loaded(), '97|97|4905', 'unlogged table, a restart: what was loaded is there');
is(outcome(resumed($id)) . ' ' . loaded(), "Completed with errors - 98 3 0 $all", '... the rest is loaded, exactly once');
restart();
fails_like($node, "SELECT ml_import('$some_bad', 'u')", '42710', qr/already imported/, '... another restart: the file is not loaded again');

# Logged or not: when that has changed, nothing tells what a crash has taken.
for my $change ([ 'UNLOGGED', 'LOGGED' ], [ '', 'UNLOGGED' ])
{
	my ($before, $after) = @$change;
	new_table($before);
	$id = interrupted(\&restart);
	sql("ALTER TABLE u SET $after");
	$row = resumed($id);
	is(outcome($row), 'Failed 55000 97 3 1', "SET $after before a resume: Failed");
	like($row->{error}, qr/^table public\.u has been made logged or unlogged since its import began$/, '... and it says why');
	sql('ALTER TABLE u SET ' . ($before || 'LOGGED'));
	is(outcome(resumed($id)) . ' ' . loaded(), "Completed with errors - 98 3 0 $all", '... set back, it goes on, exactly once');
}

new_table('');
my $early = $node->background_psql('postgres');
$early->query_safe('BEGIN');
$id = $early->query_safe("SELECT ml_import('$path', 'u', $options)");
$early->query_safe('ALTER TABLE u SET UNLOGGED');
$early->query_safe('COMMIT');
$early->quit;
is(outcome(wait_import($node, $id)), 'Completed - 100 0 0', 'SET UNLOGGED before anything is loaded: loaded');
crash();
is(outcome(imported($node, $path, 'u', $options)) . ' ' . loaded(), 'Completed - 100 0 0 100|100|5050', '... and after a crash the file may be imported again');

# Rows that were made durable stay in a crash, though the witness goes.
sql('ALTER TABLE u SET LOGGED');
crash();
is(loaded(), '100|100|5050', 'SET LOGGED after an import: a crash leaves the rows');
fails_like($node, "SELECT ml_import('$path', 'u')", '42710', qr/already imported/, '... and the file is not loaded again');

sql('CREATE TABLE mixed (id integer, name text) PARTITION BY RANGE (id); CREATE TABLE mixed1 PARTITION OF mixed FOR VALUES FROM (0) TO (50);
	CREATE UNLOGGED TABLE mixed2 PARTITION OF mixed FOR VALUES FROM (50) TO (200)');
fails_like($node, "SELECT ml_import('$path', 'mixed')", '0A000', qr/cannot import into partitioned table "mixed".*unlogged/s, 'partitions of which some are unlogged: refused');

# A data set: the file that was complete before the crash is loaded again, or those that reference its table would find nothing.
sql('CREATE SCHEMA set; CREATE UNLOGGED TABLE set.movies (movieid integer PRIMARY KEY, title text);
	CREATE UNLOGGED TABLE set.links (movieid integer REFERENCES set.movies CHECK (pass(movieid)), imdbid text)');
my $set = PostgreSQL::Test::Utils::tempdir('set');
append_to_file("$set/movies.csv", "movieId,title\n" . join('', map { "$_,t$_\n" } 1 .. 60));
append_to_file("$set/links.csv", "movieId,imdbId\n" . join('', map { "$_,i$_\n" } 1 .. 60));
chmod(0755, $set);
my $held = close_gate($node);
my $links = sql("SET search_path = set, public; SELECT id FROM ml_import_dataset('$set', $options) WHERE file_name = 'links.csv'");
wait_at_gate($node, 1);
is(sql("SELECT string_agg(file_name || ' ' || status, ', ' ORDER BY id) FROM uploaded_files WHERE dataset_id = (SELECT dataset_id FROM uploaded_files WHERE id = $links)"),
	'movies.csv Completed, links.csv Processing', 'a data set of unlogged tables: the first file is complete');
crash();
eval { $held->quit }; # its server is gone
is(sql('SELECT count(*) FROM set.movies'), 0, '... a crash empties it');
is(outcome(resumed($links)), 'Completed - 60 0 0', '... and the second finds what it references');
is(sql('SELECT count(*), count(DISTINCT movieid) FROM set.movies'), '60|60', '... for the first was loaded again, exactly once');

# --- dump and restore ---

sql('CREATE DATABASE source');
sql('CREATE EXTENSION movielens_ingest; CREATE UNLOGGED TABLE u (id integer, name text)', 'source');
sql("SELECT ml_import('$path', 'u') AS id \\gset\nSELECT ml_wait(:id)", 'source');
my $dump = write_file('dump.sql', '');
command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('source') ], 'pg_dump');
sql('CREATE DATABASE restored');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ], 'restore');
is(sql('SELECT count(*) FROM u', 'restored'), 100, '... with the rows of the unlogged table');
fails_like($node, "SELECT ml_import('$path', 'u')", '42710', qr/already imported/, '... and what tells that they are there', dbname => 'restored');
crash();
is(sql("SELECT ml_import('$path', 'u') AS id \\gset\nSELECT success_count FROM ml_wait(:id)", 'restored'), 100, '... a crash takes both');

$node->stop;
done_testing();
