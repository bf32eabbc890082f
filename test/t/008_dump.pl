# pg_dump and restore: the ledger and the data tables are there, sequences go on, roles see their own imports. And DROP
# EXTENSION, DROP DATABASE and DROP DATABASE ... FORCE, with and without an import that runs.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_server('main');
my $movies = write_file('movies.csv', qq(movieId,title,genres\r\n1,"One, The",A|B\r\n2,Two,\r\n3,"Three ""3""",C\r\nx,bad,\r\n));
my $links = write_file('links.csv', "movieId,imdbId,tmdbId\r\n1,0001,\r\n9,0009,\r\n2,,5\r\n");
my $numbers = write_file('numbers.csv', numbers(50));

$node->safe_psql('postgres', qq(
	CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN;
	GRANT pg_read_server_files TO alice, bob;
	CREATE DATABASE source));
$node->safe_psql('source', qq(
	CREATE SCHEMA "Ingest Schema"; CREATE EXTENSION movielens_ingest SCHEMA "Ingest Schema";
	GRANT USAGE ON SCHEMA "Ingest Schema" TO PUBLIC; GRANT CREATE ON SCHEMA public TO alice, bob;
	ALTER DATABASE source SET search_path = public, "Ingest Schema"));
my %role = (extra_params => [ '-U', 'alice' ]);

sub import_as
{
	my ($role, $database, $arguments) = @_;
	my $id = $node->safe_psql($database, "SELECT ml_import($arguments)", extra_params => [ '-U', $role ]);
	return json_row($node, "SELECT * FROM ml_wait($id)", $database);
}

is(import_as('alice', 'source', "'$movies'")->{status}, 'Completed with errors', 'an import of alice');
is(import_as('alice', 'source', "'$links', chunk_size => 1")->{status}, 'Completed with errors', 'another');
$node->safe_psql('source', 'CREATE TABLE own (id integer, name text)', extra_params => [ '-U', 'bob' ]);
is(import_as('bob', 'source', "'$numbers', 'own'")->{status}, 'Completed', 'an import of bob');
$node->safe_psql('source', 'ALTER TABLE movies ADD note text DEFAULT $$mine$$; CREATE INDEX own_idx ON own (name)');

my @tables = ('uploaded_files', 'process_chunks', 'rejected_rows', 'movies', 'links', 'own');
sub contents { my ($database) = @_; return map { $node->safe_psql($database, "SELECT t::text FROM $_ t ORDER BY 1") } @tables }
my @source = contents('source');

my $dump = write_file('dump.sql', '');
command_ok([ 'pg_dump', '-f', $dump, '--create', '-d', $node->connstr('source') ], 'pg_dump');
unlike(slurp_file($dump), qr/CREATE TABLE .*uploaded_files/, 'the tables of the ledger are made by CREATE EXTENSION');
like(slurp_file($dump), qr/CREATE TABLE public\.movies .*note text/s, 'the data tables are ordinary ones');
$node->safe_psql('postgres', 'ALTER DATABASE source RENAME TO original');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $dump ], 'restore');
my @restored = contents('source');
is($restored[$_], $source[$_], "$tables[$_]: as before") for 0 .. $#tables;
is($node->safe_psql('source', "SELECT count(*) FROM own WHERE name = 'name 7'"), 1, 'and its index');

is($node->safe_psql('source', "SELECT string_agg(file_name, ' ' ORDER BY id) FROM uploaded_files", extra_params => [ '-U', $_->[0] ]), $_->[1],
	"$_->[0] sees what was imported by $_->[0]") for [ 'alice', 'movies.csv links.csv' ], [ 'bob', 'numbers.csv' ];
is($node->safe_psql('source', 'SELECT (SELECT count(*) > 0 FROM process_chunks), (SELECT count(*) FROM rejected_rows)', %role), 't|2',
	'... with chunks and refused records');
is($node->safe_psql('source', 'SELECT status FROM ml_wait(1)', %role), 'Completed with errors', '... and can ask for it');

my $row = import_as('bob', 'source', "'$numbers', 'own', force => true");
is("$row->{id} $row->{status}", '4 Completed', 'an import after the restore has a fresh id');
is($node->safe_psql('source', 'SELECT min(id) FILTER (WHERE uploaded_file_id = 4) > max(id) FILTER (WHERE uploaded_file_id < 4) FROM process_chunks'),
	't', '... and so have its chunks');
is(import_as('alice', 'source', "'$links', force => true")->{error_count}, 1, '... and refused records');
is(($node->psql('source', "SELECT ml_import('$numbers', 'own')", extra_params => [ '-U', 'bob' ]))[0], 3,
	'the restored ledger knows which files were loaded');

# --- DROP EXTENSION ---

$node->safe_psql('original', 'DROP EXTENSION movielens_ingest');
is($node->safe_psql('original', 'SELECT (SELECT count(*) FROM movies), (SELECT count(*) FROM links), (SELECT count(*) FROM own)'), '3|2|50',
	'DROP EXTENSION drops no data');
is($node->safe_psql('original', q(SELECT count(*) FROM pg_class WHERE relnamespace = '"Ingest Schema"'::regnamespace)), 0, '... and all of the ledger');
fails_like($node, "SELECT ml_import('$movies')", '42883', qr/does not exist/, '... and the functions', dbname => 'original');

# An import that is held up in chunks 2 and 3 until a file appears: no session in its database holds it.
my $signal = write_file('signal', '') . '.now';

sub held_import
{
	my ($database) = @_;
	unlink $signal;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, qq(
		CREATE EXTENSION movielens_ingest; CREATE TABLE t (id integer, name text);
		CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql
		AS \$\$BEGIN WHILE pg_stat_file('$signal', true) IS NULL LOOP PERFORM pg_sleep(0.01); END LOOP; RETURN NEW; END\$\$;
		CREATE TRIGGER hold BEFORE INSERT ON t FOR EACH ROW WHEN (NEW.id IN (15, 25)) EXECUTE FUNCTION hold()));
	my $id = $node->safe_psql($database, "SELECT ml_import('$numbers', 't', chunk_size => 10, min_chunks => 1, max_workers => 2)");
	poll($node, "SELECT sum(success_count) = 10 AND count(*) FILTER (WHERE attempts = 1) = 3 FROM process_chunks", 'the import is held up', $database);
	return $id;
}

my $up_since = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');

sub still_up
{
	my ($name) = @_;
	processes_gone($node);
	is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'), $up_since, "$name: the server has stayed up");
	return;
}

held_import('dropping');
my $drop = in_session($node, 'DROP EXTENSION movielens_ingest', 'dropping');
poll($node, "SELECT count(*) = 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted", 'DROP EXTENSION waits for the chunks');
write_file('signal.now', '');
my (undef, $stderr) = $drop->finish;
still_up('DROP EXTENSION during an import');
is($stderr, '', '... it drops the extension');
is($node->safe_psql('dropping', "SELECT count(*) FROM pg_extension WHERE extname = 'movielens_ingest'"), 0, '... wholly');
like($node->safe_psql('dropping', 'SELECT count(*), count(DISTINCT id) FROM t'), qr/^([1-5]0)\|\g1$/, '... and the import has ended between two chunks');
is($node->safe_psql('dropping', 'CREATE EXTENSION movielens_ingest; SELECT count(*) FROM uploaded_files'), 0, '... and can be made again');

# --- DROP DATABASE ---

my $id = held_import('busy');
fails_like($node, 'DROP DATABASE busy', '55006', qr/database "busy" is being accessed by other users/, 'DROP DATABASE is refused while an import runs');
write_file('signal.now', '');
is($node->safe_psql('busy', "SELECT status, success_count FROM ml_wait($id)"), 'Completed|50', '... which goes on and completes');
processes_gone($node);
is(($node->psql('postgres', 'DROP DATABASE busy'))[0], 0, 'afterwards the database can be dropped');

held_import('forced');
is(($node->psql('postgres', 'DROP DATABASE forced WITH (FORCE)'))[0], 0, 'DROP DATABASE ... FORCE ends the import');
still_up('DROP DATABASE ... FORCE');

$node->stop;
done_testing();
