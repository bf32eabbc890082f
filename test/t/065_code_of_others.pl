# Code of other roles that runs within an import, as they: of who owns a table that the target references, and of who owns one
# that references the ledger. It leaves nothing behind that would run as the importer: no deferred trigger, no setting.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_server('main', "movielens_ingest.retry_delay = '10ms'");
my $bad = write_file('bad.csv', "id,name\n1,one\nx,two\n2,two\n");
my $keys = write_file('keys.csv', "id\n1\n2\n3\n");
my $deferred = 'cannot fire deferred trigger within security-restricted operation';

$node->safe_psql('postgres', q(
	CREATE ROLE mallory LOGIN;
	CREATE SCHEMA me AUTHORIZATION mallory;
	SET ROLE mallory;
	CREATE TABLE me.ran (who name, what text);
	CREATE TABLE me.bomb (id integer);
	CREATE FUNCTION me.note() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO me.ran VALUES (current_user, TG_NAME);
		RETURN NULL;
	END $$;
	CREATE CONSTRAINT TRIGGER late AFTER INSERT ON me.bomb DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION me.note();
	CREATE FUNCTION me.leave_trigger() RETURNS integer LANGUAGE plpgsql AS $$
	BEGIN
		SET CONSTRAINTS ALL DEFERRED;
		INSERT INTO me.bomb VALUES (1);
		RETURN 1;
	END $$;
	CREATE FUNCTION me.leave_setting() RETURNS integer LANGUAGE plpgsql AS $$
	BEGIN
		SET search_path = me, pg_catalog;
		RETURN 1;
	END $$;
	CREATE FUNCTION me.leave() RETURNS integer LANGUAGE sql AS 'SELECT 1';
	CREATE FUNCTION me.is_wanted(integer) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$
	BEGIN
		EXECUTE 'SELECT me.leave()';
		RETURN true;
	END $$;
	GRANT ALL ON SCHEMA me TO PUBLIC;
	GRANT ALL ON ALL TABLES IN SCHEMA me TO PUBLIC));

sub nothing_ran
{
	my ($what) = @_;
	is($node->safe_psql('postgres', q(SELECT count(*) FROM me.ran WHERE who <> 'mallory')), 0, "$what: nothing of mallory's runs as another role");
	return;
}

sub leave
{
	my ($what) = @_;
	$node->safe_psql('postgres', "SET ROLE mallory; CREATE OR REPLACE FUNCTION me.leave() RETURNS integer LANGUAGE sql AS 'SELECT me.leave_$what()'");
	return;
}

# --- a table that the target references: the planner folds what stands in the predicate of an index ---

# What finds the importer's own table by search_path says which one it has found.
$node->safe_psql('postgres', q(
	SET ROLE mallory;
	CREATE TABLE me.parent (id integer PRIMARY KEY);
	INSERT INTO me.parent SELECT generate_series(1, 10);
	CREATE INDEX ON me.parent (id) WHERE me.is_wanted(1);
	GRANT REFERENCES ON me.parent TO PUBLIC;
	CREATE FUNCTION me.place() RETURNS text LANGUAGE sql AS $$ SELECT 'of mallory' $$;
	RESET ROLE;
	CREATE FUNCTION place() RETURNS text LANGUAGE sql AS $$ SELECT 'of the importer' $$;
	CREATE FUNCTION found() RETURNS text STABLE LANGUAGE plpgsql AS $$ BEGIN RETURN place(); END $$;
	CREATE TABLE child (id integer REFERENCES me.parent, place text DEFAULT found())));
leave('trigger');
my $row = wait_import($node, start_import($node, $keys, 'child', 'max_retries => 0'));
is("$row->{status} $row->{error}", "Failed $deferred", 'who owns a referenced table leaves a deferred trigger');
nothing_ran('a referenced table');
leave('setting');
# The key of the second chunk is looked up before its rows are made.
$row = wait_import($node, start_import($node, $keys, 'child', 'max_workers => 1, chunk_size => 1, force => true'));
is("$row->{status} $row->{success_count}", 'Completed 3', 'who owns a referenced table leaves a setting');
is($node->safe_psql('postgres', 'SELECT DISTINCT place FROM child'), 'of the importer', '... which is gone');

# --- a table that references the ledger: what the extension deletes is deleted there ---

$node->safe_psql('postgres', q(
	GRANT REFERENCES ON rejected_rows TO mallory;
	SET ROLE mallory;
	CREATE TABLE me.noted (reject bigint REFERENCES rejected_rows ON DELETE CASCADE);
	CREATE FUNCTION me.at_delete() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM me.leave(); RETURN OLD; END $$;
	CREATE TRIGGER at_delete BEFORE DELETE ON me.noted FOR EACH ROW EXECUTE FUNCTION me.at_delete();
	RESET ROLE;
	CREATE UNLOGGED TABLE fleeting (id integer, name text)));
my $id = start_import($node, $bad, 'fleeting');
is(wait_import($node, $id)->{status}, 'Completed with errors', 'a record is refused');
$node->safe_psql('postgres', "SET ROLE mallory; INSERT INTO me.noted SELECT generate_series(1, last_value) FROM rejected_rows_id_seq");
$node->stop('immediate');
$node->start;
leave('trigger');
$node->safe_psql('postgres', "SELECT ml_resume($id)");
$row = wait_import($node, $id);
is("$row->{status} $row->{error}", "Failed $deferred", 'who references the ledger leaves a deferred trigger');
nothing_ran('a table that references the ledger');
leave('setting');
$node->safe_psql('postgres', "SELECT ml_resume($id)");
is(wait_import($node, $id)->{success_count}, 2, 'who references the ledger leaves a setting');

done_testing();
