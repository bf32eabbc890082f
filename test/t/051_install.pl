# CREATE EXTENSION: what others have made in the schema beforehand, and what default privileges grant or withhold, gets into
# nothing of the extension. And a library refuses objects that another script made.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_server('main');
my $few = write_file('few.csv', numbers(3));
my $script = slurp_file("$FindBin::RealBin/../../sql/movielens_ingest--1.0.sql");

$node->safe_psql('postgres', 'CREATE ROLE mallory; CREATE ROLE loader LOGIN; GRANT pg_read_server_files TO loader');

# --- operators and functions of the same names, for every pair of types that the script uses ---

my %names = map { $_ => 1 } $script =~ /\b([a-z_]+)\(/g;
my $functions = join(', ', map { "'$_'" } sort keys %names);
$node->safe_psql('postgres', 'CREATE DATABASE overloaded');
$node->safe_psql('overloaded', qq(
	CREATE SCHEMA ingest; GRANT ALL ON SCHEMA ingest TO mallory; SET ROLE mallory;
	DO \$do\$
	DECLARE
		types text[] := '{bigint,integer,text,varchar,name,jsonb,oid,interval,timestamptz,numeric,boolean,regclass,double precision}';
		one text;
		other text;
		op text;
		called text;
	BEGIN
		FOREACH one IN ARRAY types LOOP
			FOREACH other IN ARRAY types LOOP
				EXECUTE format('CREATE FUNCTION ingest.trap(%s, %s) RETURNS boolean LANGUAGE plpgsql AS \$\$ BEGIN RAISE ''trapped''; END \$\$', one, other);
				FOREACH op IN ARRAY '{=,<>,<,>,<=,>=,+,-,*,/,||,->,->>,?,~~,!~~}'::text[] LOOP
					EXECUTE format('CREATE OPERATOR ingest.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = ingest.trap)', op, one, other);
				END LOOP;
			END LOOP;
			FOR called IN SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND proname IN ($functions) LOOP
				EXECUTE format('CREATE FUNCTION ingest.%I(%s) RETURNS text LANGUAGE plpgsql AS \$\$ BEGIN RAISE ''trapped''; END \$\$', called, one);
				EXECUTE format('CREATE FUNCTION ingest.%I(%s, text) RETURNS text LANGUAGE plpgsql AS \$\$ BEGIN RAISE ''trapped''; END \$\$', called, one);
				EXECUTE format('CREATE FUNCTION ingest.%I(%s, integer) RETURNS text LANGUAGE plpgsql AS \$\$ BEGIN RAISE ''trapped''; END \$\$', called, one);
			END LOOP;
		END LOOP;
	END \$do\$;
	RESET ROLE; SET search_path = ingest, pg_catalog;
	CREATE EXTENSION movielens_ingest SCHEMA ingest));
cmp_ok($node->safe_psql('overloaded', "SELECT count(*) FROM pg_operator WHERE oprnamespace = 'ingest'::regnamespace"), '>', 2000, 'operators stand in the schema of the extension');
is($node->safe_psql('overloaded', q(
	WITH RECURSIVE part (classid, objid) AS (
		SELECT classid, objid FROM pg_depend WHERE deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'movielens_ingest')
		UNION
		SELECT d.classid, d.objid FROM pg_depend d JOIN part p ON d.refclassid = p.classid AND d.refobjid = p.objid WHERE d.deptype IN ('a', 'i')
	)
	SELECT string_agg(DISTINCT pg_describe_object(d.classid, d.objid, 0) || ' on ' || pg_describe_object(d.refclassid, d.refobjid, 0), E'\n')
	  FROM part p JOIN pg_depend d ON d.classid = p.classid AND d.objid = p.objid
	 WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_class'::regclass)
	   AND (d.refclassid, d.refobjid) NOT IN (SELECT classid, objid FROM part) AND d.refobjid >= 16384)), '', 'no object of the extension depends on one of them');
$node->safe_psql('overloaded', q(CREATE TABLE public.t (id integer, name text)));
my ($rc, $stdout, $stderr) = $node->psql('overloaded', "CALL ingest.ml_load('$few', 'public.t'); SELECT status, success_count FROM ingest.uploaded_files; SELECT count(*) FROM ingest.ml_progress");
is($rc, 0, 'imports work') or diag($stderr);
is($node->safe_psql('overloaded', 'SELECT status, success_count FROM ingest.uploaded_files'), 'Completed|3', '... with the operators of the server');

# --- default privileges ---

my $acl = q(
	SELECT string_agg(name || ' ' || who || ' ' || privilege_type || ' ' || is_grantable, E'\n' ORDER BY name COLLATE "C", who COLLATE "C", privilege_type COLLATE "C") FROM (
		SELECT pg_describe_object(classid, objid, 0) AS name, a.privilege_type, a.is_grantable,
		       CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS who
		  FROM pg_depend d LEFT JOIN pg_proc p ON classid = 'pg_proc'::regclass AND p.oid = objid LEFT JOIN pg_class c ON classid = 'pg_class'::regclass AND c.oid = objid,
		       aclexplode(coalesce(proacl, relacl)) a
		 WHERE deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'movielens_ingest')) o);
my $usual = $node->safe_psql('postgres', $acl);
unlike($usual, qr/(?:PUBLIC|pg_\w+) (?:TRIGGER|TRUNCATE|INSERT|UPDATE|DELETE|USAGE)/, 'nobody but the owner gets more than SELECT on a table');
$node->safe_psql('postgres', 'CREATE DATABASE privileged');
$node->safe_psql('privileged', q(
	ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO mallory WITH GRANT OPTION; ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO PUBLIC;
	ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC;
	ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO mallory; ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
	ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM CURRENT_USER; ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM CURRENT_USER;
	CREATE EXTENSION movielens_ingest;
	CREATE TABLE t (id integer, name text); ALTER TABLE t OWNER TO loader));
is($node->safe_psql('privileged', $acl), $usual, 'privileges do not depend on default privileges');
($rc, $stdout, $stderr) = $node->psql('privileged', "CALL ml_load('$few', 't')", extra_params => [ '-U', 'loader' ]);
is($rc, 0, 'ml_load() shows its lines') or diag($stderr);
is($node->safe_psql('privileged', 'SELECT count(*) FROM t'), 3, '... and loads');

# --- settings before the library is loaded, and with it ---

my @as_loader = (extra_params => [ '-U', 'loader' ]);
($rc, $stdout, $stderr) = $node->psql('privileged', "SET movielens_ingest.chunk_size = 0; SELECT count(*) >= 0 FROM _live_imports(); SHOW movielens_ingest.chunk_size", @as_loader);
is($stdout, "t\n30000", 'a value that a session set before the library was loaded, and that is none, is given up');
like($stderr, qr/WARNING:  0 is outside the valid range for parameter "movielens_ingest.chunk_size"/, '... with a warning');
($rc, $stdout, $stderr) = $node->psql('privileged', "LOAD 'movielens_ingest'", @as_loader);
like($stderr, qr/access to library "movielens_ingest" is not allowed/, 'LOAD is not for ordinary roles');
$node->safe_psql('postgres', q(ALTER DATABASE privileged SET session_preload_libraries = 'movielens_ingest'));
is($node->safe_psql('privileged', 'SHOW movielens_ingest.chunk_size', @as_loader), 30000, 'a database can load it at the start of each session');

# --- a script other than the one that the library was built with ---

my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_safe('SELECT count(*) FROM _live_imports()');
my $noted = $node->safe_psql('postgres', 'SELECT _script()');
like($noted, qr/^\d+$/, 'the checksum of the script is noted');
is($node->safe_psql('postgres', 'SELECT _script_of_library()'), $noted, '... which the library knows');
$node->safe_psql('postgres', "CREATE OR REPLACE FUNCTION _script() RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ''other'''; CREATE TABLE t (id integer, name text)");
my $strange = qr/the objects of extension "movielens_ingest" do not belong to its library.*Restart the server/s;
fails_like($node, $_, '55000', $strange, "another script: $_")
  for "SELECT ml_import('$few', 't')", 'SELECT * FROM _live_imports()', 'SELECT ml_wait(1)', 'SELECT ml_cancel(1)', 'SELECT ml_resume(1)',
  "SELECT * FROM ml_validate('$few', 't')", "CALL ml_load('$few', 't')", 'SELECT ml_create_tables()', "SELECT ml_import_dataset('/')";
$session->{stderr} = '';
$session->query('SELECT count(*) FROM _live_imports()');
like($session->{stderr}, $strange, 'a session that has looked before looks again');
$session->quit;
$node->safe_psql('postgres', "CREATE OR REPLACE FUNCTION _script() RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ''$noted'''");
is($node->safe_psql('postgres', 'SELECT count(*) FROM ml_progress'), 0, 'the script of the library');
$node->safe_psql('postgres', 'DROP EXTENSION movielens_ingest; CREATE EXTENSION movielens_ingest');
is(imported($node, $few, 't')->{status}, 'Completed', 'the extension, made again');

done_testing();
