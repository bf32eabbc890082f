# The processes of an import look to values, defaults and triggers like the session that called ml_import: its settings, its
# current user and its session user are those that COPY would have there.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use Test::More;

my $node = start_server('main');
$node->safe_psql('postgres', q(
	CREATE ROLE caller LOGIN; CREATE ROLE other LOGIN; CREATE ROLE super SUPERUSER LOGIN;
	GRANT pg_read_server_files, other TO caller; GRANT pg_read_server_files TO other;
	ALTER ROLE caller SET app.of_role = 'role''s';
	ALTER DATABASE postgres SET app.of_database = 'database''s';
	CREATE SCHEMA helpers; GRANT USAGE ON SCHEMA helpers TO PUBLIC;
	CREATE FUNCTION helpers.helper() RETURNS text LANGUAGE sql AS $$SELECT 'found by search_path'$$;
	CREATE TABLE copied (
		id integer, d date, ts timestamp, tz timestamptz, i interval, m money, a text,
		seen text, made text DEFAULT current_setting('app.made', true), who text DEFAULT current_user || '/' || session_user);
	CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$
	DECLARE
		name text;
		helped text := 'no';
	BEGIN
		NEW.seen := concat_ws(' ', current_user, session_user, NEW.tz::text, NEW.d::text, NEW.i::text, NEW.m::text, 0.1::float4 + 0.2::float8);
		FOREACH name IN ARRAY ARRAY['app.custom', 'app.local', 'app.of_role', 'app.of_database', 'DateStyle', 'TimeZone', 'IntervalStyle',
			'lc_monetary', 'search_path', 'session_replication_role', 'bytea_output', 'extra_float_digits', 'work_mem', 'statement_timeout',
			'idle_in_transaction_session_timeout', 'row_security', 'check_function_bodies', 'synchronous_commit', 'log_min_messages',
			'default_tablespace', 'xmloption', 'array_nulls', 'standard_conforming_strings', 'application_name', 'is_superuser',
			'transaction_read_only'] LOOP
			NEW.seen := NEW.seen || ' ' || name || '=' || coalesce(current_setting(name, true), 'null');
		END LOOP;
		BEGIN helped := helper(); EXCEPTION WHEN undefined_function THEN NULL; END;
		NEW.seen := NEW.seen || ' ' || helped;
		RETURN NEW;
	END$$;
	CREATE TRIGGER see BEFORE INSERT ON copied FOR EACH ROW EXECUTE FUNCTION see();
	CREATE TABLE imported (LIKE copied INCLUDING ALL);
	CREATE TRIGGER see BEFORE INSERT ON imported FOR EACH ROW EXECUTE FUNCTION see();
	GRANT ALL ON copied, imported TO PUBLIC;
	GRANT EXECUTE ON FUNCTION ml_import TO PUBLIC));

my $path = write_file('values.csv', "id,d,ts,tz,i,m,a\n1,01.02.2003,02.03.2004 05:06,02.03.2004 05:06,1 2:03:04,1.50,x\n"
	  . "2,04.05.2006,02.03.2004 05:06,2004-07-03 05:06,-1,2,\n3,04/05/2006,2004-03-02,2004-01-03 05:06+09,1-2,3,\"\"\n");
my $columns = 'id, d, ts, tz, i, m, a';

# The same file by COPY and by ml_import in one session, each in a transaction of its own: what is in the tables then?
sub same
{
	my ($name, $role, $set, %options) = @_;
	my $reset = $options{before_import} // '';
	$node->safe_psql('postgres', 'TRUNCATE copied, imported');
	my ($rc, $stdout, $stderr) = $node->psql('postgres', qq(
		BEGIN; $set; COPY public.copied ($columns) FROM '$path' (FORMAT csv, HEADER); COMMIT;
		BEGIN; $set; SELECT public.ml_import('$path', 'public.imported', chunk_size => 1, max_workers => 2, force => true) AS id; $reset; COMMIT),
		extra_params => [ '-U', $role ], on_error_stop => 1);
	return fail("$name: $stderr") if $rc != 0;
	my ($id) = $stdout =~ /(\d+)\s*$/;
	my $row = wait_import($node, $id);
	is("$row->{status} $row->{success_count}", 'Completed 3', "$name: all records are in") or diag($node->safe_psql('postgres', 'SELECT DISTINCT message FROM rejected_rows'));
	is($node->safe_psql('postgres', 'SELECT * FROM imported ORDER BY id'), $node->safe_psql('postgres', 'SELECT * FROM copied ORDER BY id'), "$name: as with COPY");
	return;
}

my $styles = "SET LOCAL DateStyle = 'German, DMY'";
same('DateStyle by SET LOCAL', 'caller', $styles);
same('DateStyle by SET', 'caller', "SET DateStyle = 'SQL, DMY'");
same('another DateStyle', 'caller', "SET DateStyle = 'Postgres, MDY'");
same('TimeZone', 'caller', "$styles; SET LOCAL TimeZone = 'Asia/Tokyo'");
same('TimeZone by POSIX rule', 'caller', "SET TimeZone = '<x>+3:30'; $styles");
same('IntervalStyle', 'caller', "$styles; SET IntervalStyle = 'sql_standard'");
same('custom settings', 'caller', "$styles; SET app.custom = 'it''s \"mine\"'; SET LOCAL app.local = ''; SET LOCAL app.made = E'two\nlines'; SET app.of_role = 'not the role''s'");
same('search_path', 'caller', "$styles; SET search_path = helpers, \"no such\", pg_catalog");
same('empty search_path', 'caller', "$styles; SET search_path = ''");
# 19 has one way only to read strings.
my $strings = $node->safe_psql('postgres', 'SHOW server_version_num') < 190000 ? 'SET standard_conforming_strings = off;' : '';
same('settings of all kinds', 'caller', "$styles; SET extra_float_digits = -3; SET bytea_output = 'escape'; SET work_mem = '9MB';
	SET statement_timeout = '55s'; SET row_security = off; SET check_function_bodies = off; SET synchronous_commit = off; SET application_name = 'mine';
	SET array_nulls = off; $strings SET xmloption = document; SET xmloption = content");
same('settings changed after the call', 'caller', $styles, before_import => "SET DateStyle = 'ISO, MDY'; SET app.custom = 'too late'");
same('SET ROLE', 'caller', "$styles; SET ROLE other");
same('SET LOCAL ROLE', 'caller', "$styles; SET LOCAL ROLE other");
same('SET ROLE, reset before the commit', 'caller', "$styles; SET ROLE other", before_import => 'RESET ROLE');
same('superuser', 'super', $styles);
same('superuser-only settings', 'super', "$styles; SET session_replication_role = local; SET log_min_messages = error; SET lc_monetary = 'C'");
same('SET SESSION AUTHORIZATION', 'super', "$styles; SET SESSION AUTHORIZATION caller");
same('SET SESSION AUTHORIZATION and SET ROLE', 'super', "$styles; SET SESSION AUTHORIZATION caller; SET ROLE other");
same('superuser as an ordinary role', 'super', "$styles; SET ROLE other");

# session_replication_role = replica: ordinary triggers do not fire, in COPY nor here.
same('session_replication_role', 'super', "$styles; SET session_replication_role = replica");
is($node->safe_psql('postgres', 'SELECT count(*) FROM imported WHERE seen IS NOT NULL'), 0, 'and the trigger has not fired');

# A function that is SECURITY DEFINER, with a setting of its own: the import is its owner's.
$node->safe_psql('postgres', qq(
	CREATE FUNCTION import_for_me() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET DateStyle = 'German' SET search_path = public
	AS \$\$SELECT ml_import('$path', 'imported', force => true)\$\$;
	ALTER FUNCTION import_for_me() OWNER TO other; TRUNCATE imported));
my $id = $node->safe_psql('postgres', 'SELECT import_for_me()', extra_params => [ '-U', 'caller' ]);
my $row = wait_import($node, $id);
is("$row->{owner_name} $row->{status} $row->{success_count}", 'other Completed 3', 'called in a SECURITY DEFINER function: the import is its owner\'s');
is($node->safe_psql('postgres', 'SELECT DISTINCT who FROM imported'), 'other/caller', '... and current_user and session_user are as they were there');

# User code of an import can become nobody else, neither in a row trigger nor in one that is deferred to the commit.
$node->safe_psql('postgres', q(
	CREATE TABLE escape (id integer, now text, later text);
	CREATE FUNCTION run_now() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN EXECUTE NEW.now; RETURN NEW; END$$;
	CREATE FUNCTION run_later() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN EXECUTE NEW.later; RETURN NEW; END$$;
	CREATE TRIGGER now BEFORE INSERT ON escape FOR EACH ROW EXECUTE FUNCTION run_now();
	CREATE CONSTRAINT TRIGGER later AFTER INSERT ON escape DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION run_later();
	GRANT INSERT ON escape TO PUBLIC));

sub run_as_user_code
{
	my ($now, $later) = @_;
	my $file = write_file('escape.csv', qq(id,now,later\n1,"$now","$later"\n));
	my $import = $node->safe_psql('postgres', "SET ROLE other; SELECT ml_import('$file', 'escape', force => true)", extra_params => [ '-U', 'super' ]);
	my $result = wait_import($node, $import);
	return "$result->{status} " . ($result->{sqlstate} // '-') . " $result->{success_count}";
}

for my $statement ('RESET ROLE', 'SET ROLE super', 'SET LOCAL ROLE super', 'RESET SESSION AUTHORIZATION', 'SET SESSION AUTHORIZATION caller', "SELECT set_config('role', 'none', false)")
{
	is(run_as_user_code($statement, 'SELECT 1'), 'Failed 42501 0', "$statement in a trigger fails");
	is(run_as_user_code('SET CONSTRAINTS ALL DEFERRED', $statement), 'Failed 42501 0', "$statement in a trigger at the commit fails");
}
is(run_as_user_code('SET CONSTRAINTS ALL DEFERRED', 'SELECT 1'), 'Completed - 1', 'other statements are executed');
is(run_as_user_code('SELECT pg_advisory_unlock_all()', 'SELECT 1'), 'Completed - 1', 'those that give up advisory locks too');

$node->stop;
done_testing();
