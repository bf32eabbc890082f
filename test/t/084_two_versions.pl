# From an older version of PostgreSQL to this one, by pg_upgrade and by dump and restore: the ledger has the same content, files count as
# loaded, and an interrupted import goes on with exactly the rest after pg_upgrade, and is refused after a restore. The older
# version is the one of PG_OLD_CONFIG, where the extension is installed.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $old_config = $ENV{MOVIELENS_INGEST_OLD_PG_CONFIG} // '';
plan skip_all => 'going over from an older version: PG_OLD_CONFIG names none' if $old_config eq '';

sub major { my ($pg_config) = @_; return qx('$pg_config' --version) =~ /^PostgreSQL (\d+)/ ? $1 : die "not a pg_config: $pg_config" }
sub asked { my ($what) = @_; chomp(my $path = qx('$old_config' --$what)); return $path }

my ($from, $to) = (major($old_config), major('pg_config'));
plan skip_all => "going over from an older version: PG_OLD_CONFIG is of $from, the server of $to" if $from >= $to;
die "the extension is not installed where $old_config is" unless -e asked('sharedir') . '/extension/movielens_ingest.control';

my @settings = ('max_worker_processes = 16', 'movielens_ingest.max_processes = 64', "shared_preload_libraries = 'movielens_ingest'", 'movielens_ingest.autoresume = off');
my @init = (extra => [ '--data-checksums', '--no-locale', '--encoding=UTF8' ]); # the defaults differ
my $old = PostgreSQL::Test::Cluster->new('old', install_path => asked('bindir') =~ s{/bin$}{}r);
my $new = PostgreSQL::Test::Cluster->new('new');
for my $node ($old, $new)
{
	$node->init(@init);
	$node->append_conf('postgresql.conf', join("\n", @settings));
}
$old->start;
is($old->safe_psql('postgres', 'SHOW server_version_num') =~ s/....$//r, $from, "the old server is of $from");

my $path = write_file('numbers.csv', numbers(100));
my $bad = write_file('bad.csv', numbers(20) . "x,bad\n21,\"un\"\"quoted\"\n");
my $options = 'chunk_size => 10, min_chunks => 1, max_workers => 2';

$old->safe_psql('postgres', q(
	CREATE EXTENSION movielens_ingest;
	CREATE ROLE ann LOGIN; GRANT pg_read_server_files TO ann;
	CREATE TABLE t (id integer, name text); CREATE UNLOGGED TABLE u (LIKE t); CREATE TABLE done (LIKE t); CREATE INDEX done_id ON done (id);
	CREATE FUNCTION held() RETURNS integer LANGUAGE plpgsql AS $$BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN 1; END$$;
	CREATE TABLE v (LIKE t, held integer DEFAULT held()); CREATE INDEX v_id ON v (id);
	GRANT INSERT ON t, done TO ann));
my $done = imported($old, $bad, 'done', $options);
is("$done->{status} $done->{success_count} $done->{error_count}", 'Completed with errors 21 1', 'an import completes');
add_gate($old, $_, 'NEW.id IN (45, 55)') for 't', 'u';
my $gate = close_gate($old);
# Settings of the calling session that the next versions do not have any more.
my $of_old = join('', map { "SET $_ = off; " } grep { $old->safe_psql('postgres', "SELECT count(*) FROM pg_settings WHERE name = '$_'") } 'force_parallel_mode', 'escape_string_warning');
my @ids = ($old->safe_psql('postgres', "${of_old}SELECT ml_import('$path', 't', $options)", extra_params => [ '-U', 'ann' ]), start_import($old, $path, 'u', $options),
	$old->safe_psql('postgres', "SET movielens_ingest.defer_indexes = on; SELECT ml_import('$path', 'v', $options)"));
wait_at_gate($old, 6);
is($old->safe_psql('postgres', "SELECT indisvalid FROM pg_index WHERE indexrelid = 'v_id'::regclass"), 'f', 'one of three imports has put an index off');
$old->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader'");
poll($old, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%'", 'leaders and workers end');
$gate->quit;

# All tables of the ledger that are dumped, and what a role sees of them.
my $dumped = q(SELECT t::regclass::text FROM pg_extension, unnest(extconfig) t JOIN pg_class c ON c.oid = t WHERE extname = 'movielens_ingest' AND relkind = 'r' ORDER BY 1);
my @tables = split(/\n/, $old->safe_psql('postgres', $dumped));
cmp_ok(scalar(@tables), '>=', 4, "tables of the ledger: @tables");

sub ledger
{
	my ($node, $database) = @_;
	my %rows = map { ($_ => $node->safe_psql($database, "SELECT t::text FROM $_ t ORDER BY 1")) } @tables;
	$rows{'what ann sees'} = $node->safe_psql($database, 'SELECT string_agg(id || file_name || status, $$ $$ ORDER BY id), (SELECT count(*) FROM process_chunks) FROM uploaded_files', extra_params => [ '-U', 'ann' ]);
	$rows{'rows'} = $node->safe_psql($database, 'SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM u), (SELECT count(*) FROM done)');
	return \%rows;
}
my $ledger = ledger($old, 'postgres');
is($ledger->{rows}, '40|40|21', '... and two have loaded a part');

# The new version's pg_dump, as its documentation has it.
my $dump = $old->basedir . '/dump.sql';
command_ok([ 'pg_dump', '-d', $old->connstr('postgres'), '-f', $dump ], "pg_dump of $to dumps the database of $from");
$old->stop;

chdir(PostgreSQL::Test::Utils::tempdir('upgrade')) or die;
my @upgrade = ('pg_upgrade', '-d', $old->data_dir, '-D', $new->data_dir, '-b', asked('bindir'), '-B', $new->config_data('--bindir'), '-s', $new->host, '-p', $old->port, '-P', $new->port);
command_ok([ @upgrade, '--check' ], "pg_upgrade --check from $from to $to");
command_ok(\@upgrade, '... and pg_upgrade');

$new->start;
is_deeply(ledger($new, 'postgres'), $ledger, 'the ledger has the content that it had, and so have the tables');
is($new->safe_psql('postgres', "SELECT to_regclass('v_id') IS NULL, to_regclass('done_id') IS NULL"), 't|f', '... the server leaves out an index that was put off');
is($new->safe_psql('postgres', "SELECT string_agg(phase || ' ' || reason, ', ') FROM ml_progress"),
	join(', ', ('interrupted the server has been upgraded since') x 3), 'the imports are interrupted');
fails_like($new, "SELECT ml_import('$bad', 'done')", '42710', qr/was already imported into public\.done/, 'what was loaded counts as loaded');
is($new->safe_psql('postgres', "SELECT ml_resume($ids[0])", extra_params => [ '-U', 'ann' ]), 't', 'the role that began one resumes it');
is($new->safe_psql('postgres', "SELECT ml_resume($_)"), 't', '... and others are resumed') for @ids[ 1, 2 ];
for my $id (@ids)
{
	my $row = wait_import($new, $id);
	is("$row->{status} $row->{success_count}", 'Completed 100', "import $id completes") or diag($row->{error});
	is($new->safe_psql('postgres', "SELECT string_agg(DISTINCT attempts::text, ' ') FROM process_chunks WHERE uploaded_file_id = $id AND start_row < 41"), 1, '... what was in was not loaded again') if $id != $ids[2];
}
is($new->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id), (SELECT count(*) FROM u), (SELECT count(DISTINCT id) FROM u), (SELECT count(DISTINCT id) FROM v), (SELECT count(*) FROM _deferred_indexes) FROM t'), '100|100|100|100|100|0', 'each row is there once');
$new->safe_psql('postgres', 'SELECT ml_rejected_lines(1)');
is(imported($new, $path, 'done', "$options, columns => ARRAY['id', 'name']")->{status}, 'Completed', 'and other imports go on as ever');
is($new->safe_psql('postgres', 'SET enable_seqscan = off; SELECT count(*) FROM done WHERE id > 0'), 121, '... also with indexes');

# --- dump and restore ---

$new->safe_psql('postgres', 'CREATE DATABASE restored');
$new->command_ok([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $new->connstr('restored'), '-f', $dump ], "the dump of $from is restored in $to");
my $restored = ledger($new, 'restored');
is_deeply($restored, $ledger, 'the ledger has the content that it had, and so have the tables');
is($new->safe_psql('restored', "SELECT string_agg(DISTINCT reason, ', ') FROM ml_progress"), 'it was not made in this database: it came with a dump or a copy', 'interrupted imports say that they came with a dump');
fails_like($new, "SELECT ml_resume($_)", '55000', qr/import $_ was not made in this database/, '... and are not resumed', dbname => 'restored') for @ids;
fails_like($new, "SELECT ml_import('$bad', 'done')", '42710', qr/was already imported into public\.done/, 'what was loaded counts as loaded', dbname => 'restored');
my $next = $new->safe_psql('restored', "SELECT ml_import('$path', 'done', $options)");
my $row = json_row($new, "SELECT * FROM ml_wait($next)", 'restored');
is("$row->{status} $row->{success_count}", 'Completed 100', 'and other imports go on as ever');
cmp_ok($next, '>', $ids[-1], '... with ids of their own');

$new->stop;
done_testing();
