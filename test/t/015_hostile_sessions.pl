# An import gives its caller nothing that COPY would not: no setting that the caller may not make, no rights of the
# ledger's owner when the ledger is dropped or its schema renamed and the caller has tables of those names. What a session
# has set stays secret, and bytes that are not text do not get into the ledger.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_server('main');
my $path = write_file('numbers.csv', numbers(20));
my %caller = (extra_params => [ '-U', 'caller' ]);
$node->safe_psql('postgres', q(
	CREATE ROLE caller LOGIN; CREATE ROLE monitor LOGIN;
	GRANT pg_read_server_files TO caller; GRANT pg_monitor TO monitor));

# --- a setting that only a superuser may make, set before its library is loaded ---

$node->safe_psql('postgres', q(
	CREATE TABLE t (id integer, name text); GRANT INSERT ON t TO caller;
	CREATE TABLE secrets AS SELECT 1 AS number;
	CREATE FUNCTION guarded(number integer) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
	AS 'BEGIN RETURN (SELECT count(*) FROM secrets WHERE number = number); END';
	CREATE FUNCTION ask() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.name := guarded(NEW.id); RETURN NEW; END';
	CREATE TRIGGER ask BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION ask()));
my $set = "SET plpgsql.variable_conflict = 'use_column'";
my ($rc, $stdout, $stderr) = $node->psql('postgres', "$set; COPY t FROM '$path' (FORMAT csv, HEADER)", on_error_stop => 1,
	extra_params => [ '-U', 'caller', '-v', 'VERBOSITY=verbose' ]);
like($stderr, qr/ERROR:  42702: column reference "number" is ambiguous/, 'plpgsql.variable_conflict of an ordinary role: COPY does not heed it');
my ($id, $row);
for my $workers (1, 3)
{
	$id = $node->safe_psql('postgres', "$set; SELECT ml_import('$path', 't', chunk_size => 5, min_chunks => 1, max_workers => $workers, force => true)", %caller);
	$row = wait_import($node, $id);
	is("$row->{status} $row->{sqlstate} $row->{success_count}", 'Failed 42702 0', "... and an import does not, max_workers => $workers");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), 0, '... nothing is in');
}

# --- the ledger is gone or has moved, and there are other tables of its names ---

# The caller's table refuses records for the time being, so that leader and worker pause; $schema: the ledger's.
sub paused_import
{
	my ($database, $schema, $delay) = @_;
	$node->safe_psql($database, qq(
		CREATE SCHEMA own AUTHORIZATION caller; SET ROLE caller;
		CREATE TABLE own.t (id integer, name text); CREATE TABLE own.calm ();
		CREATE FUNCTION own.not_now() RETURNS trigger LANGUAGE plpgsql AS \$\$
		BEGIN
			IF NOT EXISTS (SELECT FROM own.calm) THEN RAISE EXCEPTION 'not now' USING ERRCODE = '55P03'; END IF;
			RETURN NEW;
		END\$\$;
		CREATE TRIGGER not_now BEFORE INSERT ON own.t FOR EACH ROW EXECUTE FUNCTION own.not_now()));
	my $import = $node->safe_psql($database, "SET movielens_ingest.retry_delay = '$delay';
		SELECT $schema.ml_import('$path', 'own.t', chunk_size => 10, min_chunks => 1, max_workers => 2, max_retries => 100)", %caller);
	poll($node, "SELECT count(*) = 2 FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%' AND query LIKE '%pausing%'", 'leader and worker pause');
	return $import;
}

# What the caller makes in a schema: tables with the ledger's names and contents, and triggers for whoever writes them.
my @names = ('uploaded_files', 'process_chunks', 'rejected_rows', '_session_settings');
sub imitation
{
	my ($schema) = @_;
	return join('', "CREATE FUNCTION $schema.rise() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN ALTER ROLE caller SUPERUSER; RETURN NEW; END';",
		map { qq(CREATE TABLE $schema.$_ AS TABLE own.saved_$_;
			CREATE TRIGGER rise BEFORE INSERT OR UPDATE OR DELETE ON $schema.$_ FOR EACH ROW EXECUTE FUNCTION $schema.rise();
			CREATE TRIGGER rise_once BEFORE INSERT OR UPDATE OR DELETE ON $schema.$_ EXECUTE FUNCTION $schema.rise();) } @names);
}

sub saved { my ($schema) = @_; return join('', map { "CREATE TABLE own.saved_$_ AS TABLE $schema.$_; GRANT SELECT ON own.saved_$_ TO caller;" } @names) }

sub untouched
{
	my ($database, $schema, $name) = @_;
	is($node->safe_psql($database, "SELECT rolsuper FROM pg_roles WHERE rolname = 'caller'"), 'f', "$name: the caller does not become superuser");
	is(join('', map { $node->safe_psql($database, "SELECT '$_' WHERE EXISTS (TABLE $schema.$_ EXCEPT ALL TABLE own.saved_$_) OR EXISTS (TABLE own.saved_$_ EXCEPT ALL TABLE $schema.$_)") } @names),
		'', '... and the tables of the caller are as the caller made them');
	cmp_ok($node->safe_psql($database, "SELECT count(*) FROM $schema.process_chunks"), '==', 2, '... with the chunks of the import');
	return;
}

$node->safe_psql('postgres', 'CREATE DATABASE dropped');
$node->safe_psql('dropped', 'CREATE EXTENSION movielens_ingest; GRANT CREATE ON SCHEMA public TO caller');
$id = paused_import('dropped', 'public', '30s');
$node->safe_psql('dropped', 'BEGIN;' . saved('public') . 'DROP EXTENSION movielens_ingest; SET LOCAL ROLE caller;' . imitation('public') . 'INSERT INTO own.calm DEFAULT VALUES; COMMIT');
processes_gone($node);
untouched('dropped', 'public', 'extension dropped');
is($node->safe_psql('dropped', 'SELECT count(*) FROM own.t'), 0, '... nothing is in');
like(slurp_file($node->logfile), qr/was dropped while import $id was running/, '... the log tells why');

$node->safe_psql('postgres', 'CREATE DATABASE renamed; GRANT CREATE ON DATABASE renamed TO caller');
$node->safe_psql('renamed', 'CREATE SCHEMA ledger; CREATE EXTENSION movielens_ingest SCHEMA ledger; GRANT USAGE ON SCHEMA ledger TO PUBLIC');
$id = paused_import('renamed', 'ledger', '2s');
$node->safe_psql('renamed', 'BEGIN; LOCK TABLE ledger.uploaded_files;' . saved('ledger')
	  . 'ALTER SCHEMA ledger RENAME TO moved; SET LOCAL ROLE caller; CREATE SCHEMA ledger;' . imitation('ledger') . 'INSERT INTO own.calm DEFAULT VALUES; COMMIT');
$row = json_row($node, "SELECT * FROM moved.ml_wait($id)", 'renamed');
is("$row->{status} $row->{success_count} $row->{error_count}", 'Completed 20 0', 'schema renamed: the import goes on, and completes in its own ledger');
untouched('renamed', 'ledger', 'schema renamed');
is($node->safe_psql('renamed', "SELECT (SELECT count(*) FROM own.t), sum(success_count) FROM moved.process_chunks WHERE uploaded_file_id = $id AND status = 'Completed'"), '20|20',
	'... table and ledger agree');

# --- a secret in a setting ---

$node->safe_psql('postgres', 'CREATE TABLE plain (id integer, name text); GRANT INSERT ON plain TO caller');
my $bad = write_file('bad.csv', "id,name\n1,a\nx,b\n");
$id = $node->safe_psql('postgres', "SET app.secret = 's3cr3t'; SELECT ml_import('$bad', 'plain')", %caller);
is(wait_import($node, $id)->{status}, 'Completed with errors', 'an import of a session with a secret in a setting');
$node->safe_psql('postgres', 'ANALYZE uploaded_files, process_chunks, rejected_rows, _session_settings');
my %monitor = (extra_params => [ '-U', 'monitor' ]);
my $tables = $node->safe_psql('postgres', "SELECT string_agg(c.oid::regclass::text, ' ') FROM pg_class c JOIN pg_depend d ON d.objid = c.oid AND d.classid = 'pg_class'::regclass
	WHERE d.deptype = 'e' AND c.relkind = 'r' AND has_table_privilege('monitor', c.oid, 'SELECT')");
is(join(' ', sort split(/ /, $tables)), '_deferred_indexes _origin _unlogged_witnesses process_chunks rejected_rows uploaded_files', 'pg_monitor may read six tables of the extension');
is($node->safe_psql('postgres', "SELECT count(*) > 0, count(*) FILTER (WHERE r::text LIKE '%s3cr3t%') FROM $_ r", %monitor), 't|0', "... and does not find the secret in $_")
  for grep { !/_indexes|_witnesses/ } split(/ /, $tables); # these hold no text
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stats WHERE pg_stats::text LIKE '%s3cr3t%'", %monitor), 0, '... nor in statistics');
($rc, $stdout, $stderr) = $node->psql('postgres', 'TABLE _session_settings', %monitor);
like($stderr, qr/permission denied for table _session_settings/, '... the table of the settings is closed to it');
is($node->safe_psql('postgres', "SELECT value FROM _session_settings WHERE uploaded_file_id = $id AND name = 'app.secret'"), 's3cr3t', '... where the secret is');

# --- bytes that are not text ---

$node->safe_psql('postgres', "CREATE DATABASE wide ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0");
$node->safe_psql('wide', 'CREATE EXTENSION movielens_ingest; CREATE TABLE t (id integer, name text)');
my $bytes = write_file('bytes.csv', "id,name\n1,a\n\xFF2,b\n3,c\n");
$id = $node->safe_psql('wide', "SET client_encoding = sql_ascii; SELECT ml_import('$bytes', 't')");
$row = json_row($node, "SELECT * FROM ml_wait($id)", 'wide');
is("$row->{status} $row->{success_count} $row->{error_count}", 'Completed with errors 2 1', 'client_encoding SQL_ASCII, a byte 0xFF in a number: refused');
$row = json_row($node, "SELECT message, raw_line, raw_bytes::text FROM rejected_rows WHERE uploaded_file_id = $id", 'wide');
is($row->{message}, 'invalid input syntax for type integer: "\xFF2"', '... with a message that is text');
is($row->{raw_bytes}, '\xff322c62', '... and the record byte for byte');
my $dump = write_file('dump.sql', '');
command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('wide') ], 'pg_dump');
$node->safe_psql('postgres', "CREATE DATABASE restored ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0");
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ], 'restore');
is($node->safe_psql('restored', 'SELECT r::text FROM rejected_rows r'), $node->safe_psql('wide', 'SELECT r::text FROM rejected_rows r'), 'the refused record is as before');

# The schema is renamed while a statement of the ledger waits for a lock on its table: the name is not looked up again.
$node->safe_psql('postgres', 'CREATE DATABASE waiting; GRANT CREATE ON DATABASE waiting TO caller');
$node->safe_psql('waiting', 'CREATE SCHEMA ledger; CREATE EXTENSION movielens_ingest SCHEMA ledger; GRANT USAGE ON SCHEMA ledger TO PUBLIC');
paused_import('waiting', 'ledger', '2s');
my $holder = $node->background_psql('waiting');
$node->safe_psql('waiting', saved('ledger'));
$holder->query_safe('BEGIN; LOCK TABLE ledger.process_chunks');
poll($node, q(SELECT count(*) = 2 FROM pg_locks WHERE relation = 'ledger.process_chunks'::regclass AND NOT granted), 'leader and worker wait', 'waiting');
$node->safe_psql('waiting', 'ALTER SCHEMA ledger RENAME TO moved');
$node->safe_psql('waiting', 'CREATE SCHEMA ledger;' . imitation('ledger') . 'INSERT INTO own.calm DEFAULT VALUES', %caller);
$holder->query_safe('COMMIT');
$holder->quit;
processes_gone($node);
untouched('waiting', 'ledger', 'renamed while a statement waits');
my $moved = json_row($node, 'SELECT status, success_count FROM moved.uploaded_files', 'waiting');
is("$moved->{status} $moved->{success_count}", 'Completed 20', '... and the import completes in the ledger');

$node->stop;
done_testing();
