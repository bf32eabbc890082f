# Membership counts as it does for the server: who has the privileges of a role sees its imports and may cancel them, as its
# sessions, and who can only become it (WITH INHERIT FALSE, from 16 on) must do so first. And what is done to sessions that log in
# happens to no process of an import: login event triggers (17), reserved connections (16), limits of connections. Event triggers do not
# fire when the leader builds indexes.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_server('main', 'movielens_ingest.defer_indexes = on', 'autovacuum = off', 'max_connections = 20', 'superuser_reserved_connections = 5');
my $path = write_file('numbers.csv', numbers(60) . "x,bad\n");
my $options = 'chunk_size => 10, min_chunks => 1, max_workers => 2, force => true';
my $major = int($node->safe_psql('postgres', 'SHOW server_version_num') / 10000);

sub sql { my ($sql, @role) = @_; return $node->safe_psql('postgres', $sql, extra_params => [ map { ('-U', $_) } @role ]) }

# --- membership ---

sql(q(CREATE ROLE ann LOGIN; CREATE ROLE between NOINHERIT IN ROLE ann; GRANT pg_read_server_files TO ann;
	CREATE TABLE t (id integer, name varchar(20)); CREATE INDEX by_id ON t (id); ALTER TABLE t OWNER TO ann;
	CREATE ROLE inherits LOGIN IN ROLE ann; CREATE ROLE behind LOGIN IN ROLE between; CREATE ROLE stranger LOGIN;
	CREATE ROLE signaller LOGIN IN ROLE pg_signal_backend; CREATE ROLE maker LOGIN CREATEROLE;
	CREATE ROLE root LOGIN SUPERUSER; CREATE ROLE under LOGIN IN ROLE root));
sql('CREATE ROLE made LOGIN', 'maker');
sql('GRANT pg_read_server_files TO made; GRANT INSERT ON t TO made');
my @roles = ('inherits', 'behind', 'stranger', 'signaller', 'maker', 'under');
if ($major >= 16)
{
	sql('CREATE ROLE able LOGIN; GRANT ann TO able WITH INHERIT FALSE, SET TRUE;
		CREATE ROLE has LOGIN NOINHERIT; GRANT ann TO has WITH INHERIT TRUE, SET FALSE;
		CREATE ROLE chief LOGIN; GRANT ann TO chief WITH INHERIT FALSE, SET FALSE, ADMIN TRUE');
	push @roles, 'able', 'has', 'chief';
}

my %id = map { ($_ => sql("SELECT ml_import('$path', 't', $options)", $_)) } 'ann', 'made', 'root';
is(wait_import($node, $id{$_})->{status}, 'Completed with errors', "an import of $_") for 'ann', 'made', 'root';

# An import that has ended is not cancelled, but who may not cancel it is told so first.
sub may
{
	my ($role, $sql) = @_;
	my ($rc, undef, $stderr) = $node->psql('postgres', $sql, on_error_stop => 1, extra_params => [ '-U', $role ]);
	die $stderr if $rc != 0 && $stderr !~ /permission denied|must (have|be)|Only roles|does not exist/;
	return $rc == 0 ? 'yes' : 'no';
}

for my $owner ('ann', 'made', 'root')
{
	my $session = $node->background_psql('postgres', extra_params => [ '-U', $owner ]);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	for my $role (@roles)
	{
		my $signal = may($role, "SELECT pg_cancel_backend($pid)");
		my $privileges = sql("SELECT pg_has_role('$role', '$owner', 'USAGE')") eq 't' ? 'yes' : 'no';
		my $seen = sql("SELECT count(*) FROM uploaded_files WHERE id = $id{$owner}", $role) ? 'yes' : 'no';
		is($seen, $privileges, "$role sees imports of $owner: $seen");
		is(may($role, "SELECT ml_cancel($id{$owner})"), $signal, "... and may cancel them as a session of that role: $signal");
	}
	$session->quit;
}
is(sql("SET ROLE ann; SELECT count(*), ml_cancel($id{ann}) FROM uploaded_files", 'able'), '1|f', 'who can become a role sees its imports, and may cancel them, as that role') if $major >= 16;

# Who has a role's privileges, but can't become it, loads into its table with them.
if ($major >= 16)
{
	sql('GRANT pg_read_server_files TO has WITH INHERIT TRUE; TRUNCATE t');
	my $id = sql("SELECT ml_import('$path', 't', $options)", 'has');
	is(wait_import($node, $id)->{status}, 'Completed with errors', 'who has the privileges of a role only loads into its table');
}

# --- sessions that log in ---

# What a new session of ann's is told. (psql() would write into a program that may have ended.)
sub login
{
	my (undef, $said) = run_command([ 'psql', '-X', '-U', 'ann', '-d', $node->connstr('postgres'), '-c', 'SELECT 1' ]);
	return $said;
}

# Of a role that has its only connection, on a server that has none left for it.
my $session = $node->background_psql('postgres', extra_params => [ '-U', 'ann' ]);
my $before = $node->background_psql('postgres');
sub completes
{
	my ($name) = @_;
	$before->query_safe('TRUNCATE t');
	my $id = $session->query_safe("SELECT ml_import('$path', 't', $options)");
	is($session->query_safe("SELECT status, success_count, error_count FROM ml_wait($id)"), 'Completed with errors|60|1', $name);
	is($before->query_safe("SELECT bool_and(indisvalid) FROM pg_index WHERE indrelid = 't'::regclass"), 't', '... with its index');
	is($before->query_safe("SELECT max(attempts) FROM process_chunks WHERE uploaded_file_id = $id"), 1, '... at the first attempt');
	return;
}

$before->query_safe('ALTER ROLE ann CONNECTION LIMIT 1; ALTER DATABASE postgres CONNECTION LIMIT 1');
my $stderr = login();
like($stderr, qr/too many connections/, 'a role has all the connections that it and the database may have');
completes('... its import completes');
$before->query_safe('ALTER ROLE ann CONNECTION LIMIT -1; ALTER DATABASE postgres CONNECTION LIMIT -1');

my @others;
until ($stderr =~ /remaining connection slots are reserved/ || @others > 20)
{
	push @others, $node->background_psql('postgres');
	$stderr = login();
}
like($stderr, qr/remaining connection slots are reserved/, 'the connections that are left are reserved for others');
completes('... an import of who is connected completes');
$_->quit for @others;

# --- event triggers ---

$before->query_safe(q(
	CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'event % %', tg_event, tg_tag; END$$;
	CREATE EVENT TRIGGER at_start ON ddl_command_start WHEN TAG IN ('REINDEX') EXECUTE FUNCTION refuse();
	CREATE EVENT TRIGGER at_end ON ddl_command_end WHEN TAG IN ('REINDEX') EXECUTE FUNCTION refuse())) if $major >= 17;
$before->query_safe(q(
	CREATE FUNCTION refuse_any() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'event % %', tg_event, tg_tag; END$$;
	CREATE EVENT TRIGGER any_start ON ddl_command_start EXECUTE FUNCTION refuse_any();
	ALTER EVENT TRIGGER any_start ENABLE ALWAYS));
completes('event triggers that refuse every command: an import puts its indexes off and builds them');
$before->query_safe('DROP EVENT TRIGGER any_start');
SKIP:
{
	skip 'event triggers on REINDEX are of 17', 1 if $major < 17;
	fails_like($node, 'REINDEX INDEX by_id', 'P0001', qr/event ddl_command_start REINDEX/, '... which REINDEX does not get past');
	$before->query_safe('DROP EVENT TRIGGER at_start; DROP EVENT TRIGGER at_end');
}
SKIP:
{
	skip 'login event triggers are of 17', 6 if $major < 17;
	$before->query_safe(q(
		CREATE FUNCTION at_login() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN
			RAISE LOG 'login trigger in %', (SELECT backend_type FROM pg_stat_activity WHERE pid = pg_backend_pid());
			IF session_user = 'ann' THEN RAISE EXCEPTION 'no login'; END IF;
		END$$;
		CREATE EVENT TRIGGER logs_in ON login EXECUTE FUNCTION at_login();
		ALTER EVENT TRIGGER logs_in ENABLE ALWAYS));
	my $log = -s $node->logfile;
	$stderr = login();
	like($stderr, qr/no login/, 'a login event trigger lets a role in no more');
	completes('... the import of a session that was there before completes');
	my %fired = map { ($_ => 1) } slurp_file($node->logfile, $log) =~ /LOG:  login trigger in (.*)/g;
	is(join(', ', sort keys %fired), 'client backend', '... and it fires in sessions of clients only');
	is($before->query_safe(q(SELECT evtname FROM pg_event_trigger)), 'logs_in', '... as long as it is there');
}
$session->quit;
$before->quit;

$node->stop;
done_testing();
