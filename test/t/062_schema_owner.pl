# Who owns the schema of the extension, or of a target, can rename it at any moment and put other objects under its name;
# who was given TRIGGER can make triggers on the ledger. Neither runs code as the owner of the ledger, nor as whoever imports.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = 10000; # of an attack at most
my $hits = 5;       # of them in which a statement met other objects: then the attack would have succeeded

my $node = start_server('main', "movielens_ingest.retry_delay = '10ms'");
my $few = write_file('few.csv', numbers(3));
my $bad = write_file('bad.csv', "id,name\n1,one\nx,\"bad, it is\"\n2,two\n");
my $many = write_file('many.csv', numbers(10000));
my %mallory = (extra_params => [ '-U', 'mallory' ]);
$node->safe_psql('postgres', 'CREATE ROLE mallory LOGIN; GRANT pg_read_server_files TO mallory');

# A database with the extension in a schema that mallory owns, and another schema of mallory's.
sub database_of_mallory
{
	my ($name) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $name OWNER mallory");
	$node->psql($name, 'CREATE SCHEMA ingest AUTHORIZATION mallory; CREATE EXTENSION movielens_ingest SCHEMA ingest', stderr => \my $said);
	like($said, qr/WARNING:  schema "ingest" of extension "movielens_ingest" belongs to role "mallory", which is no superuser/,
		'CREATE EXTENSION warns of a schema whose owner is no superuser');
	$node->safe_psql($name, q(
		SET ROLE mallory;
		CREATE SCHEMA me; CREATE SCHEMA evil;
		CREATE TABLE me.t (id integer, name text);
		CREATE SEQUENCE me.risen;
		-- In place of ALTER ROLE mallory SUPERUSER, which would be rolled back with the call.
		CREATE FUNCTION me.rise() RETURNS text LANGUAGE plpgsql AS $$
		BEGIN
			IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN PERFORM nextval('me.risen'); END IF;
			RETURN 'Failed';
		END $$;
		CREATE FUNCTION me.rise_in_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM me.rise(); RETURN NEW; END $$));
	return;
}

sub is_ordinary
{
	my ($what) = @_;
	is($node->safe_psql('postgres', "SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'"), 'f', $what);
	return;
}

# Mallory swaps the two schemas in one session, and in another one calls what takes the rights of the ledger's owner, by OID.
sub race
{
	my ($database, $name, $call) = @_;
	$node->safe_psql($database, qq(
		SET ROLE mallory;
		CREATE TABLE me.$name (ended text);
		CREATE VIEW me.call_$name AS SELECT $call AS called));
	my $flip = $node->background_psql($database, %mallory);
	$flip->query_until(qr/flipping/, "\\echo flipping\nCALL me.flip();\n");
	$node->safe_psql($database, "CALL me.hit('$name', $rounds, $hits); CREATE TABLE me.enough ()", %mallory);
	$flip->quit;
	$node->safe_psql($database, 'DROP TABLE me.enough', %mallory);
	note "$name: ", $node->safe_psql($database, "SELECT string_agg(format('%s times %s', n, ended), '; ' ORDER BY n DESC) FROM (SELECT count(*) AS n, ended FROM me.$name GROUP BY ended) e");
	is($node->safe_psql($database, 'SELECT is_called FROM me.risen'), 'f', "$name while the schema is swapped: no code of mallory's runs as a superuser");
	return;
}

database_of_mallory('race');
$node->safe_psql('race', q(
	SET ROLE mallory;
	CREATE FUNCTION me.risen() RETURNS boolean LANGUAGE sql AS $$ SELECT is_called FROM me.risen $$;
	CREATE PROCEDURE me.flip() LANGUAGE plpgsql AS $$
	BEGIN
		LOOP
			ALTER SCHEMA ingest RENAME TO aside; ALTER SCHEMA evil RENAME TO ingest; COMMIT;
			ALTER SCHEMA ingest RENAME TO evil; ALTER SCHEMA aside RENAME TO ingest; COMMIT;
			EXIT WHEN me.risen() OR to_regclass('me.enough') IS NOT NULL;
		END LOOP;
	END $$;
	-- What a call does is rolled back.
	CREATE PROCEDURE me.hit(name text, rounds integer, hits integer) LANGUAGE plpgsql AS $$
	DECLARE
		said text;
		hit integer := 0;
	BEGIN
		FOR i IN 1..rounds LOOP
			BEGIN
				EXECUTE format('SELECT called FROM me.call_%s', name);
				RAISE 'done';
			EXCEPTION WHEN OTHERS THEN said := SQLERRM;
			END;
			hit := hit + (said ~ 'would use')::integer;
			EXECUTE format('INSERT INTO me.%s VALUES ($1)', name) USING said;
			COMMIT;
			EXIT WHEN hit >= hits OR me.risen();
		END LOOP;
	END $$;
	RESET ROLE;
	DO $$
	DECLARE
		name name;
	BEGIN
		FOR name IN SELECT relname FROM pg_class WHERE relnamespace = 'ingest'::regnamespace AND relkind = 'r' LOOP
			EXECUTE format('CREATE TABLE evil.%I (LIKE ingest.%1$I INCLUDING ALL)', name);
			EXECUTE format('ALTER TABLE evil.%I OWNER TO mallory', name);
			EXECUTE format('CREATE TRIGGER rise BEFORE INSERT OR UPDATE ON evil.%I FOR EACH ROW EXECUTE FUNCTION me.rise_in_trigger()', name);
			EXECUTE format('CREATE TRIGGER rise_once BEFORE INSERT OR UPDATE OR DELETE ON evil.%I EXECUTE FUNCTION me.rise_in_trigger()', name);
		END LOOP;
	END $$));
race('race', 'importing', "ingest.ml_import('$few', 'me.t'::regclass)");

# Reading: a view that has all columns, and one of them calls a function.
$node->safe_psql('race', q(
	DO $$
	BEGIN
		EXECUTE (SELECT format('DROP TABLE evil.uploaded_files; CREATE VIEW evil.uploaded_files AS SELECT %s',
				string_agg(CASE attname WHEN 'status' THEN 'me.rise()::varchar(50) AS status'
				                        ELSE format('%s::%s AS %I', CASE WHEN attname IN ('id', 'dataset_id') THEN '1' ELSE 'NULL' END, format_type(atttypid, atttypmod), attname) END, ', '))
			FROM pg_attribute WHERE attrelid = 'ingest.uploaded_files'::regclass AND attnum > 0 AND NOT attisdropped);
	END $$;
	ALTER VIEW evil.uploaded_files OWNER TO mallory));
race('race', 'cancelling', 'ingest.ml_cancel(1)');

# --- the schema of the target: all rows go where the first ones went, whatever has its name by now ---

$node->safe_psql('postgres', q(
	CREATE SCHEMA lens; CREATE SCHEMA other;
	CREATE TABLE lens.t (id integer, name text); CREATE TABLE other.t (id integer, name text);
	CREATE FUNCTION swap() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF to_regnamespace('other') IS NOT NULL THEN ALTER SCHEMA lens RENAME TO aside; ALTER SCHEMA other RENAME TO lens; END IF;
		RETURN NULL;
	END $$;
	CREATE TRIGGER swap AFTER INSERT ON lens.t EXECUTE FUNCTION swap()));
my $row = json_row($node, "SELECT * FROM ml_wait(" . $node->safe_psql('postgres',
	"SET movielens_ingest.writer = 'spi'; SELECT ml_import('$many', 'lens.t', chunk_size => 5000, min_chunks => 1, max_workers => 1)") . ")");
is("$row->{status} $row->{success_count}", 'Completed 10000', 'the schema of the target is swapped between two statements of a chunk');
is($node->safe_psql('postgres', 'SELECT (SELECT count(*) FROM aside.t), (SELECT count(*) FROM lens.t)'), '10000|0', '... all rows are in the table that the import is for');

# --- keys of types and operators of the user's own: they are not taken for those of others ---

$node->safe_psql('postgres', q(
	CREATE SCHEMA own; CREATE TYPE own.mood AS ENUM ('name 1', 'name 2', 'name 3');
	CREATE DOMAIN own.word AS text CHECK (VALUE ~ 'name'); CREATE DOMAIN own.words AS text;
	CREATE TABLE own.moods (name own.mood PRIMARY KEY); INSERT INTO own.moods VALUES ('name 1'), ('name 3');
	CREATE TABLE own.word_list (name own.word PRIMARY KEY); INSERT INTO own.word_list VALUES ('name 1'), ('name 3');
	CREATE TABLE own.mooded (id integer, name own.mood REFERENCES own.moods);
	CREATE TABLE own.worded (id integer, name own.words REFERENCES own.word_list);
	CREATE TABLE own.texts (id integer, name varchar(20) REFERENCES own.word_list)));
for my $table ('mooded', 'worded', 'texts')
{
	for my $writer ('auto', 'spi')
	{
		$row = json_row($node, "SELECT * FROM ml_wait(" . $node->safe_psql('postgres',
			"SET movielens_ingest.writer = '$writer'; SELECT ml_import('$few', 'own.$table', force => true)") . ")");
		is("$row->{status} $row->{success_count} $row->{error_count}", 'Completed with errors 2 1', "own.$table, by writer $writer");
	}
}

# --- triggers and rules on the ledger ---

$node->safe_psql('postgres', q(
	CREATE TABLE plain (id integer, name text); GRANT INSERT ON plain TO mallory;
	CREATE SCHEMA me AUTHORIZATION mallory;
	CREATE FUNCTION me.rise() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN ALTER ROLE mallory SUPERUSER; END IF;
		RETURN coalesce(NEW, OLD);
	END $$));
sub import_is_refused
{
	my ($object, $name) = @_;
	fails_like($node, "SELECT ml_import('$few', 'plain', force => true)", '55000', qr/$object is not part of extension "movielens_ingest"/, $name);
	is_ordinary("$name: mallory does not become superuser");
	return;
}
for my $table ('uploaded_files', 'process_chunks', '_session_settings')
{
	$node->safe_psql('postgres', "GRANT TRIGGER ON $table TO mallory;
		SET ROLE mallory; CREATE TRIGGER rise BEFORE INSERT OR UPDATE ON $table FOR EACH ROW EXECUTE FUNCTION me.rise()");
	if ($table eq 'process_chunks')
	{
		# The call does not write it, the leader does: it ends the import, and notes that when the trigger is gone.
		my $log = -s $node->logfile;
		my $id = start_import($node, $few, 'plain', 'force => true');
		ok($node->wait_for_log(qr/trigger rise on table public.process_chunks is not part of extension/, $log), "a trigger on $table: the leader refuses it");
		$node->safe_psql('postgres', "DROP TRIGGER rise ON $table");
		$row = wait_import($node, $id);
		is("$row->{status} $row->{sqlstate} $row->{success_count}", 'Failed 55000 0', '... and the import fails');
		is_ordinary("a trigger on $table: mallory does not become superuser");
	}
	else
	{
		import_is_refused("trigger rise on table public.$table", "a trigger on $table");
	}
	$node->safe_psql('postgres', "DROP TRIGGER IF EXISTS rise ON $table; REVOKE TRIGGER ON $table FROM mallory");
}
fails_like($node, 'SET ROLE mallory; CREATE TRIGGER rise BEFORE INSERT ON uploaded_files FOR EACH ROW EXECUTE FUNCTION _guard_ledger()', '42501',
	qr/permission denied/, 'a trigger function of the extension is not for others');
$node->safe_psql('postgres', "CREATE TRIGGER clause BEFORE UPDATE ON uploaded_files FOR EACH ROW WHEN (OLD.id > 0) EXECUTE FUNCTION _guard_ledger('all')");
import_is_refused('trigger clause on table public.uploaded_files', 'a trigger with a condition of its own');
$node->safe_psql('postgres', 'DROP TRIGGER clause ON uploaded_files; CREATE RULE twice AS ON UPDATE TO uploaded_files DO ALSO SELECT 1');
import_is_refused('rule twice on table public.uploaded_files', 'a rule');
$node->safe_psql('postgres', 'DROP RULE twice ON uploaded_files');
# A session that has prepared the statements looks again.
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_safe("SELECT ml_import('$few', 'plain', force => true)");
$node->safe_psql('postgres', 'CREATE TRIGGER late BEFORE INSERT ON uploaded_files FOR EACH ROW EXECUTE FUNCTION me.rise()');
$session->{stderr} = '';
$session->query("SELECT ml_import('$few', 'plain', force => true)");
like($session->{stderr}, qr/trigger late on table public.uploaded_files is not part of extension/, 'a trigger that is made after a session has planned its statements');
$session->quit;
$node->safe_psql('postgres', 'DROP TRIGGER late ON uploaded_files');
# Foreign keys to the ledger are allowed: of others, and of its owner's.
$node->safe_psql('postgres', q(
	GRANT REFERENCES ON uploaded_files, rejected_rows TO mallory;
	CREATE TABLE me.noted (import bigint REFERENCES uploaded_files ON DELETE CASCADE, reject bigint REFERENCES rejected_rows ON DELETE CASCADE);
	ALTER TABLE me.noted OWNER TO mallory;
	CREATE TABLE noted (import bigint REFERENCES uploaded_files ON DELETE CASCADE, reject bigint REFERENCES rejected_rows ON DELETE CASCADE);
	CREATE TRIGGER rise BEFORE DELETE ON me.noted FOR EACH ROW EXECUTE FUNCTION me.rise()));
$node->safe_psql('postgres', 'CREATE UNLOGGED TABLE fleeting (id integer, name text)');
my $id = start_import($node, $bad, 'fleeting');
is(wait_import($node, $id)->{status}, 'Completed with errors', 'tables that reference the ledger');
$node->safe_psql('postgres', "INSERT INTO noted SELECT uploaded_file_id, id FROM rejected_rows WHERE uploaded_file_id = $id; INSERT INTO me.noted TABLE noted");
$node->stop('immediate');
$node->start;
# The crash has emptied the table, so the chunks are loaded again, and what they refused is forgotten.
is($node->safe_psql('postgres', "SELECT ml_resume($id)"), 't', '... the import is resumed after a crash');
$row = wait_import($node, $id);
is("$row->{status} $row->{success_count}", 'Completed with errors 2', '... it forgets its refused records, and rows that reference them');
is($node->safe_psql('postgres', 'SELECT (SELECT count(*) FROM noted) + (SELECT count(*) FROM me.noted)'), 0, '... which are gone');
is_ordinary('mallory does not become superuser');

# --- after a rename, the functions are those of the extension and not of who has its old name ---

$node->safe_psql('postgres', q(
	CREATE DATABASE renamed));
$node->safe_psql('renamed', q(
	CREATE SCHEMA ingest; CREATE EXTENSION movielens_ingest SCHEMA ingest;
	CREATE TABLE t (id integer, name text)));
$id = $node->safe_psql('renamed', "SELECT ingest.ml_import('$bad', 't')");
$node->safe_psql('renamed', "SELECT ingest.ml_wait($id)");
$node->safe_psql('renamed', q(
	ALTER SCHEMA ingest RENAME TO "Moved Here"; CREATE SCHEMA ingest;
	CREATE TABLE ingest.uploaded_files (LIKE "Moved Here".uploaded_files); CREATE TABLE ingest.rejected_rows (LIKE "Moved Here".rejected_rows);
	CREATE FUNCTION ingest._create_data_table(text, text, regclass) RETURNS regclass LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
	CREATE SCHEMA lens));
is($node->safe_psql('renamed', qq(SELECT * FROM "Moved Here".ml_rejected_lines($id))), qq("id","name"\nx,"bad, it is"), 'the schema was renamed: ml_rejected_lines()');
is($node->safe_psql('renamed', q(SELECT count(*) FROM "Moved Here".ml_create_tables('lens'))), 6, '... ml_create_tables()');
my ($rc, $stdout, $stderr) = $node->psql('renamed', qq(CALL "Moved Here".ml_load('$bad', 't', force => true)));
like($stderr, qr/bad\.csv +2 +1 /, '... ml_load() and its summary');

done_testing();
