# A row of the ledger is believed only when a call has made it. Whoever bypasses row security and was granted everything
# cannot write one, in no session and by no replication; rows of an edited dump make nothing run, restored into whatever
# database, also by the launcher; and a role that is renamed or dropped is its OID.
# allow-log: permission denied to write table
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_server('main', "shared_preload_libraries = 'movielens_ingest'", 'wal_level = logical', 'max_wal_senders = 8', 'max_replication_slots = 8', 'wal_retrieve_retry_interval = 100');
my $path = write_file('numbers.csv', numbers(20));
my $options = 'chunk_size => 10, min_chunks => 1';
my $superuser = sql('SELECT current_user');

sub sql { my ($sql, $database, @role) = @_; return $node->safe_psql($database // 'postgres', $sql, extra_params => [ map { ('-U', $_) } @role ]) }
sub refused { my ($sql, $role, $name) = @_; return fails_like($node, $sql, '42501', qr/permission denied to write table/, $name, connstr => $node->connstr('postgres') . " user=$role") }

# The launcher is always there.
sub scouts_gone
{
	poll($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%' AND backend_type <> 'movielens_ingest launcher'",
		'processes of imports end');
	return;
}

# What the forger wants: a trigger of his that runs as a superuser.
sql(q(
	CREATE ROLE forger LOGIN BYPASSRLS; CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN; GRANT bob TO alice;
	GRANT pg_read_server_files TO forger, alice, bob;
	GRANT ALL ON ALL TABLES IN SCHEMA public TO forger; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO forger;
	GRANT SET ON PARAMETER session_replication_role TO forger;
	CREATE SCHEMA own AUTHORIZATION forger; SET ROLE forger;
	CREATE TABLE own.bait (id integer, name text);
	CREATE FUNCTION own.rise() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN ALTER ROLE forger SUPERUSER; RETURN NEW; END';
	CREATE TRIGGER rise BEFORE INSERT ON own.bait FOR EACH ROW WHEN (current_user <> 'forger') EXECUTE FUNCTION own.rise()));
sub nobody_rose { my ($name) = @_; return is(sql("SELECT rolsuper FROM pg_roles WHERE rolname = 'forger'"), 'f', "$name: the forger is no superuser") }

my $real = sql("SELECT ml_import('$path', 'own.bait', $options)", undef, 'forger');
is(wait_import($node, $real)->{status}, 'Completed', 'an import of the forger');

# --- a role that bypasses row security, and may do everything ---

my $columns = sql("SELECT string_agg(attname, ', ') FROM pg_attribute WHERE attrelid = 'uploaded_files'::regclass AND attnum > 0 AND attname NOT IN ('id', 'owner_oid', 'owner_name', 'status')");
my $forged = "(id, owner_oid, owner_name, status, $columns) OVERRIDING SYSTEM VALUE SELECT %s, 10, '$superuser', 'Processing', $columns FROM uploaded_files WHERE id = $real";
my $copied = write_file('copied.txt', '');
sql("COPY (SELECT 900, 10, '$superuser', 'Processing', $columns FROM uploaded_files WHERE id = $real) TO '$copied'");
my @forgeries = (
	'INSERT INTO uploaded_files ' . sprintf($forged, 900),
	'INSERT INTO uploaded_files ' . sprintf($forged, 'id') . ' ON CONFLICT (id) DO UPDATE SET owner_oid = 10',
	'MERGE INTO uploaded_files f USING (VALUES (1)) v ON f.id = ' . $real . ' WHEN MATCHED THEN UPDATE SET owner_oid = 10',
	"COPY uploaded_files (id, owner_oid, owner_name, status, $columns) FROM '$copied'",
	"UPDATE uploaded_files SET owner_oid = 10, status = 'Processing'",
	'DELETE FROM uploaded_files',
	'TRUNCATE uploaded_files CASCADE',
	'UPDATE _callers SET role = 10, session_role = 10, authenticated_role = 10',
	"INSERT INTO _session_settings VALUES ($real, 'session_replication_role', 'replica', 5, 10)",
	"UPDATE process_chunks SET status = 'Pending', ended = NULL, success_count = 0",
	'INSERT INTO _deferred_indexes VALUES (1, 2)',
	"INSERT INTO _unlogged_witnesses VALUES ($real)",
	'DELETE FROM rejected_rows');
my @ledger = map { sql("SELECT coalesce(string_agg(t::text, ' '), '') FROM $_ t") } 'uploaded_files', 'process_chunks', '_callers', '_session_settings', '_deferred_indexes';
for my $mode ('origin', 'replica')
{
	refused("SET session_replication_role = $mode; $_", 'forger', "$mode: " . substr($_, 0, 60)) for @forgeries;
}
is(join('|', map { sql("SELECT coalesce(string_agg(t::text, ' '), '') FROM $_ t") } 'uploaded_files', 'process_chunks', '_callers', '_session_settings', '_deferred_indexes'),
	join('|', @ledger), '... and the ledger is as it was');
refused($_, $superuser, "not even a superuser: $_")
  for "INSERT INTO _callers VALUES ($real, 10, 10, 10)", 'UPDATE _callers SET role = 10', "INSERT INTO _session_settings VALUES ($real, 'a.b', 'c', 5, 10)";

# --- replication: it fires no statement triggers, and obeys session_replication_role ---

# From 16 on a subscription needs a password, and applies changes as the owner of the table, unless it is told otherwise.
my $as_before = sql('SHOW server_version_num') >= 160000 ? ', password_required = false, run_as_owner = true' : '';
sql('CREATE DATABASE publisher');
sql("CREATE EXTENSION movielens_ingest; CREATE PUBLICATION ledger FOR TABLE uploaded_files; SELECT pg_create_logical_replication_slot('ledger', 'pgoutput')", 'publisher');
sql(sprintf(q(CREATE ROLE replicator SUPERUSER;
	CREATE SUBSCRIPTION ledger CONNECTION '%s' PUBLICATION ledger WITH (create_slot = false, copy_data = false, enabled = false%s);
	ALTER SUBSCRIPTION ledger OWNER TO replicator; ALTER ROLE replicator NOSUPERUSER BYPASSRLS LOGIN;
	GRANT ALL ON uploaded_files TO replicator), $node->connstr('publisher') =~ s/'/''/gr, $as_before));
my $log = -s $node->logfile;
sql('ALTER SUBSCRIPTION ledger ENABLE');
sql(sprintf(q(INSERT INTO uploaded_files (id, file_name, file_path, file_size, target, options, owner_oid, owner_name, plan, dataset_id, origin) OVERRIDING SYSTEM VALUE
	SELECT 901, 'numbers.csv', '%s', 1, 'own.bait', '{}', 10, '%s', '{}', 901, id FROM _origin), $path, $superuser), 'publisher');
ok($node->wait_for_log(qr/logical replication.*permission denied to write table "uploaded_files"/s, $log), 'a subscription of a role without the right is refused');
is(sql('SELECT count(*) FROM uploaded_files WHERE id = 901'), 0, '... and nothing comes in');
sql('ALTER SUBSCRIPTION ledger DISABLE; ALTER SUBSCRIPTION ledger SET (slot_name = NONE); DROP SUBSCRIPTION ledger');
poll($node, "SELECT active = false FROM pg_replication_slots WHERE slot_name = 'ledger'", 'the slot is free', 'publisher');
sql("SELECT pg_drop_replication_slot('ledger')", 'publisher');

# A server that is replicated as a whole: as whom imports ran there means nothing here, and stops nothing.
sql('DELETE FROM uploaded_files; CREATE TABLE t (id integer, name text)', 'publisher');
sql('CREATE DATABASE mirror');
sql('CREATE EXTENSION movielens_ingest; CREATE TABLE t (id integer, name text)', 'mirror');
my @mirrored = (sql("SELECT ml_import('$path', 't', $options)", 'publisher'));
is(json_row($node, "SELECT status FROM ml_wait($mirrored[0])", 'publisher')->{status}, 'Completed', 'an import in a server that is replicated');
sql("CREATE PUBLICATION everything FOR ALL TABLES; SELECT pg_create_logical_replication_slot('everything', 'pgoutput')", 'publisher');
sql("CREATE SUBSCRIPTION everything CONNECTION '@{[ $node->connstr('publisher') =~ s/'/''/gr ]}' PUBLICATION everything WITH (create_slot = false)", 'mirror');
poll($node, "SELECT count(*) > 5 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel", 'all tables are copied', 'mirror');
push @mirrored, sql("SELECT ml_import('$path', 't', $options, force => true)", 'publisher');
poll($node, "SELECT count(*) = 2 AND bool_and(status = 'Completed') AND (SELECT count(*) FROM t) = 40 FROM uploaded_files", 'the imports are there', 'mirror');
is(sql('SELECT (SELECT count(*) FROM _callers), (SELECT count(*) FROM _session_settings), (SELECT count(*) FROM _origin)', 'mirror'), '0|0|1', '... but not in whose name they ran');
is(sql('SELECT count(*) FROM uploaded_files JOIN _origin ON origin = _origin.id', 'mirror'), 0, '... nor are they taken for imports of this server');
fails_like($node, "SELECT ml_resume($_)", '55000', qr/was not made in this database/, '... and none is resumed', dbname => 'mirror') for @mirrored;
sql($_, 'mirror') for 'ALTER SUBSCRIPTION everything DISABLE', 'ALTER SUBSCRIPTION everything SET (slot_name = NONE)', 'DROP SUBSCRIPTION everything';
poll($node, "SELECT active = false FROM pg_replication_slots WHERE slot_name = 'everything'", 'the slot is free', 'publisher');
sql("SELECT pg_drop_replication_slot('everything')", 'publisher');
scouts_gone();

# --- an edited dump ---

# An import of alice that has failed, and can be resumed. What it lets go on is in a table of hers.
sql(q(CREATE SCHEMA alice AUTHORIZATION alice; SET ROLE alice; CREATE TABLE alice.t (id integer, name text); CREATE TABLE alice.calm (); CREATE TABLE alice.seen (role name);
	CREATE FUNCTION alice.not_now() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF NOT EXISTS (SELECT FROM alice.calm) THEN RAISE EXCEPTION 'not now' USING ERRCODE = '42000'; END IF;
		INSERT INTO alice.seen VALUES (current_user);
		RETURN NULL;
	END$$;
	CREATE TRIGGER not_now BEFORE INSERT ON alice.t EXECUTE FUNCTION alice.not_now();
	GRANT USAGE ON SCHEMA alice TO bob; GRANT ALL ON ALL TABLES IN SCHEMA alice TO bob));

sub failed_import
{
	my ($role) = @_;
	my $id = sql("SET ROLE $role; SELECT ml_import('$path', 'alice.t', $options, force => true)", undef, 'alice');
	is(wait_import($node, $id)->{status}, 'Failed', "an import of $role has failed");
	return $id;
}

my $failed = failed_import('alice');
my $dump = write_file('dump.sql', '');
command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'pg_dump');
my $text = slurp_file($dump);
unlike($text, qr/^COPY public\.(_callers|_session_settings)/m, '... leaves out as whom imports run, and with what settings');
my ($alice, $target, $bait) = split(/\|/, sql("SELECT 'alice'::regrole::oid, 'alice.t'::regclass::oid, 'own.bait'::regclass::oid"));
my ($rows) = $text =~ /^(COPY public\.uploaded_files .*?^\\\.$)/ms;
my $edited = $rows =~ s/^\d+\t(?!.*\talice\t).*\n//mgr;
is($edited =~ s/\talice\t/\t$superuser\t/g, 1, 'the row is given to a superuser');
is($edited =~ s/\t$alice\t/\t10\t/g, 1, '... by OID too');
is($edited =~ s/\tFailed\t/\tProcessing\t/g, 1, '... and made to look interrupted');
is($edited =~ s/"target_oid": $target\b/"target_oid": $bait/g, 1, "... in the forger's table");
$edited =~ s/\talice\.t\t/\town.bait\t/g;

# Restored as a whole, and into the ledger that it came from.
sql('CREATE DATABASE restored');
(my $whole = $text) =~ s/\Q$rows\E/$edited/;
$whole =~ s/^(COPY public\.(process_chunks|rejected_rows) .*?\n).*?^(\\\.)$/$1$3/msg;
write_file('whole.sql', $whole);
command_ok([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump =~ s/dump\.sql$/whole.sql/r ], 'the edited dump is restored into another database');
sql("DELETE FROM uploaded_files WHERE id = $failed");
is(sql('SELECT count(*) FROM _callers WHERE uploaded_file_id = ' . $failed), 0, 'a deleted import leaves no caller behind');
write_file('rows.sql', "$edited\n");
command_ok([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $dump =~ s/dump\.sql$/rows.sql/r ], '... its rows into the ledger that it was made from');

$log = -s $node->logfile;
$node->restart;
scouts_gone();
unlike(slurp_file($node->logfile, $log), qr/was interrupted and goes on/, 'the launcher leaves it alone');
for my $database ('postgres', 'restored')
{
	is(sql("SELECT phase, resume IS NULL FROM ml_progress WHERE id = $failed", $database), 'interrupted|t', "$database: the row is shown, without a call that would go on");
	fails_like($node, "SELECT ml_resume($failed)", '55000', qr/import $failed was not made in this database/, '... but not resumed, not even by a superuser', dbname => $database);
	is(sql("SELECT ml_cancel($failed)", $database), 't', '... it can be cancelled');
}
is(sql('SELECT count(*) FROM own.bait'), 20, 'nothing was loaded');
nobody_rose('an edited dump');

# A row that says it belongs to another role's data set.
$failed = failed_import('alice');
sql("INSERT INTO uploaded_files (id, owner_oid, owner_name, status, dataset_id, " . $columns =~ s/dataset_id, //r . ") OVERRIDING SYSTEM VALUE
	SELECT 902, 10, '$superuser', 'Failed', $failed, " . $columns =~ s/dataset_id, //r . " FROM uploaded_files WHERE id = $real");
sql('INSERT INTO alice.calm DEFAULT VALUES', undef, 'alice');
is(sql("SELECT ml_resume($failed)", undef, 'alice'), 't', 'a data set to which somebody has added a row is resumed');
is(wait_import($node, $failed)->{status}, 'Completed', '... the import of its caller completes');
scouts_gone();
is(sql('SELECT status FROM uploaded_files WHERE id = 902'), 'Failed', '... and the row is left alone');
is(sql('SELECT count(*) FROM own.bait'), 20, '... with its table');

# A row of which nothing is left but the columns that must be there; and one that has gone wrong where a call had made it.
sql("UPDATE uploaded_files SET status = 'Processing', plan = '{}', options = '{}', dataset_id = NULL, owner_name = 'alice', origin = gen_random_uuid() WHERE id = 902");
is(sql('SELECT phase FROM ml_progress WHERE id = 902', undef, 'alice'), 'interrupted', 'an empty row is shown to the role that it names');
is(sql('SELECT ml_cancel(902); SELECT status FROM ml_wait(902)', undef, 'alice'), "t\nCancelled", '... which cancels it');
sql('DELETE FROM alice.calm');
my $emptied = failed_import('alice');
sql("UPDATE uploaded_files SET options = '{}' WHERE id = $emptied");
fails_like($node, "SELECT ml_resume($emptied)", 'XX000', qr/unexpected null in column/, 'a row without its options is an error, and no crash');
sql('DELETE FROM uploaded_files WHERE id = 902');

# --- renamed and dropped roles ---

$failed = failed_import('alice');
sql('ALTER ROLE alice RENAME TO alicia; CREATE ROLE alice LOGIN; GRANT pg_read_server_files TO alice');
sql('TRUNCATE alice.seen; INSERT INTO alice.calm DEFAULT VALUES');
fails_like($node, "SELECT ml_resume($failed)", '42704', qr/does not exist/, 'a new role of the old name cannot resume it', connstr => $node->connstr('postgres') . ' user=alice');
is(sql("SELECT ml_resume($failed)"), 't', 'a superuser resumes the import of a renamed role');
is(wait_import($node, $failed)->{status}, 'Completed', '... and it completes');
is(sql('SELECT DISTINCT role FROM alice.seen'), 'alicia', '... as that role');
is(sql("SELECT count(*) FROM uploaded_files WHERE id = $failed", undef, 'alicia'), 1, '... which sees it');
sql('DROP ROLE alice; ALTER ROLE alicia RENAME TO alice; DELETE FROM alice.calm');

# An interrupted import of a role that is gone when the launcher comes to it: the one who had logged in is there still.
sql('DROP TRIGGER not_now ON alice.t');
add_gate($node, 'alice.t');
my $gate = close_gate($node);
my $orphan = sql("SET ROLE bob; SELECT ml_import('$path', 'alice.t', $options, force => true, max_workers => 1)", undef, 'alice');
wait_at_gate($node, 1);
sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader'");
scouts_gone();
open_gate($gate);
$failed = sql("SET ROLE bob; SELECT ml_import('$path', 'alice.t', $options, force => true, max_workers => 1)", undef, 'alice');
is(wait_import($node, $failed)->{status}, 'Completed', 'an import of bob');
sql($_) for 'DROP DATABASE restored', 'DROP OWNED BY bob; DROP ROLE bob';
$node->restart;
poll($node, "SELECT status = 'Failed' FROM uploaded_files WHERE id = $orphan", 'the import of a dropped role ends');
is(json_row($node, "SELECT error FROM uploaded_files WHERE id = $orphan")->{error}, 'the leader of the import could not connect to the database', 'an import whose role was dropped fails, and runs as nobody');
scouts_gone();
is(sql('SELECT count(*) FROM alice.t'), 20 * 3, '... with nothing loaded');

sql('TRUNCATE uploaded_files CASCADE');
is(sql('SELECT (SELECT count(*) FROM _callers), (SELECT count(*) FROM _session_settings)'), '0|0', 'a superuser empties the ledger');

nobody_rose('in the end');
$node->stop;
done_testing();
