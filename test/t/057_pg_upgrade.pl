# pg_upgrade of a server on which imports were interrupted, from one that preloads the library to one that does: nothing of
# the extension runs while it works. In the new server they are where they were, and ml_resume goes on with exactly the rest,
# into logged and unlogged tables; a ledger that was dumped and restored can't be resumed.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @settings = ("shared_preload_libraries = 'movielens_ingest'", 'log_min_messages = debug1');
my $old = start_server('old', @settings);
my $new = PostgreSQL::Test::Cluster->new('new');
$new->init;
$new->append_conf('postgresql.conf', join("\n", @settings));

my $path = write_file('numbers.csv', numbers(100));
my $options = 'chunk_size => 10, min_chunks => 1, max_workers => 2, force => true';
$old->safe_psql('postgres', 'CREATE ROLE ann LOGIN; GRANT pg_read_server_files TO ann');
$old->safe_psql('postgres', "CREATE TABLE t (id integer, name text); GRANT INSERT ON t TO ann; CREATE UNLOGGED TABLE u (LIKE t)");
my $done = imported($old, $path, 'u', $options);
add_gate($old, $_, 'NEW.id IN (45, 55)') for 't', 'u';
my $gate = close_gate($old);
my @ids = ($old->safe_psql('postgres', "SELECT ml_import('$path', 't', $options)", extra_params => [ '-U', 'ann' ]), start_import($old, $path, 'u', $options));
wait_at_gate($old, 4);
$old->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader'");
poll($old, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%'", 'leaders and workers end');
is($old->safe_psql('postgres', "SELECT string_agg(phase, ' ') FROM ml_progress"), 'interrupted interrupted', 'two imports are interrupted');
$gate->quit;
$old->stop;

# A restored ledger has the rows, and perhaps even the OIDs, but not the server's files.
$old->append_conf('postgresql.conf', 'movielens_ingest.autoresume = off');
$old->start;
my $dump = $old->basedir . '/dump.sql';
$old->command_ok([ 'pg_dump', '-d', $old->connstr('postgres'), '-f', $dump ], 'the database is dumped');
$old->stop;
$old->append_conf('postgresql.conf', 'movielens_ingest.autoresume = on');

my @logs = map { -s $_->logfile // 0 } $old, $new;
my $here = PostgreSQL::Test::Utils::tempdir('upgrade');
chdir($here) or die;
command_ok([ 'pg_upgrade', '-d', $old->data_dir, '-D', $new->data_dir, '-b', $old->config_data('--bindir'), '-B', $new->config_data('--bindir'),
	'--retain', '-s', $new->host, '-p', $old->port, '-P', $new->port ], 'pg_upgrade');
my $logs = '';
for my $file (glob($new->data_dir . '/pg_upgrade_output.d/*/log/*'), glob("$here/*.log"))
{
	$logs .= slurp_file($file);
}
like($logs, qr/database system is ready to accept connections/, '... its servers have logs');
unlike($logs, qr/background worker "movielens_ingest|import \d+ was interrupted/, 'no process of the extension starts while it works');

my $log = -s $new->logfile // 0;
$new->start;
$new->wait_for_log(qr/import $_ was interrupted and does not go on by itself/, $log) for @ids;
is($new->safe_psql('postgres', 'SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM u)'), '40|140', 'the new server has the rows of the old one');
is($new->safe_psql('postgres', "SELECT string_agg(phase || ' ' || reason, ', ') FROM ml_progress"),
	join(', ', ('interrupted the server has been upgraded since') x 2), 'the imports stay interrupted');
is($new->safe_psql('postgres', "SELECT ml_resume($ids[0])", extra_params => [ '-U', 'ann' ]), 't', 'the role that began one resumes it');
is($new->safe_psql('postgres', "SELECT ml_resume($ids[1])"), 't', '... and the other one is resumed');
for my $id (@ids)
{
	my $row = wait_import($new, $id);
	is("$row->{status} $row->{success_count}", 'Completed 100', "import $id completes");
	is($new->safe_psql('postgres', "SELECT string_agg(DISTINCT attempts::text, ' ') FROM process_chunks WHERE uploaded_file_id = $id AND start_row < 41"), 1, '... what was in was not loaded again');
}
is($new->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id), (SELECT count(*) FROM u) FROM t'), '100|100|200', 'each row is there once');
fails_like($new, "SELECT ml_import('$path', 'u', chunk_size => 10, min_chunks => 1)", '42710', qr/already imported|has the content/, 'an import of the old server counts as one of the file');
my $next = imported($new, $path, 't', $options);
is($next->{status}, 'Completed', 'and other imports go on as ever');

# The same ledger from a dump.
$new->safe_psql('postgres', 'CREATE DATABASE restored');
$new->command_ok([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $new->connstr('restored'), '-f', $dump ], 'the dump is restored');
is($new->safe_psql('restored', "SELECT string_agg(DISTINCT reason, ', ') FROM ml_progress"), 'it was not made in this database: it came with a dump or a copy', '... the imports there say so');
fails_like($new, "SELECT ml_resume($ids[0])", '55000', qr/was not made in this database/, '... and are not resumed', dbname => 'restored');

$new->stop;
done_testing();
