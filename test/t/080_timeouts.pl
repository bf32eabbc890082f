# What ends a client's statement, transaction or session after some time ends no process of an import, wherever it is set: in
# postgresql.conf, also while they run, for the database, for the role, in the session; nor when a user's function resets it.
# The caller's own session obeys. transaction_timeout (17 and later) is the one whose timer every process starts.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_server('main', "shared_preload_libraries = 'movielens_ingest'", "movielens_ingest.retry_delay = '10ms'", 'autovacuum = off');
my $path = write_file('numbers.csv', numbers(100) . "x,bad\n");
my $other = write_file('other.csv', numbers(20));
my $options = 'chunk_size => 10, min_chunks => 1, max_workers => 2, force => true';

# The test's own sessions, whatever is set for others; all of these are of sessions alone, and but for the last as old as PostgreSQL 14.
my @timeouts = split(/ /, $node->safe_psql('postgres', q(SELECT string_agg(name, ' ' ORDER BY name) FROM pg_settings
	WHERE name IN ('statement_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout'))));
my $has_transaction_timeout = grep { $_ eq 'transaction_timeout' } @timeouts;
is(scalar(@timeouts), $has_transaction_timeout ? 4 : 3, "timeouts of clients: @timeouts");
$ENV{PGOPTIONS} = join(' ', map { "-c $_=0" } @timeouts);

sub sql { my ($sql, @role) = @_; return $node->safe_psql('postgres', $sql, extra_params => [ map { ('-U', $_) } @role ]) }
sub settings { my ($before, $after, $value) = @_; return join('; ', map { "$before$_$after" . (defined $value ? " = '$value'" : '') } @timeouts) }
my $log = -s $node->logfile;
sub no_process_is_ended
{
	my ($name) = @_;
	unlike(slurp_file($node->logfile, $log), qr/due to .*timeout|exited with exit code/, $name);
	$log = -s $node->logfile;
	return;
}

sql('CREATE ROLE ann LOGIN; GRANT pg_read_server_files TO ann');

# One import as ann whose processes have been in their transactions for so long, and then complete it. The index is built by
# parallel workers of the leader's.
sub outlives
{
	my ($name, $call, $time, $meanwhile) = @_;
	sql('DROP TABLE IF EXISTS t; CREATE TABLE t (id integer, name text); GRANT INSERT ON t TO ann');
	add_gate($node, 't', 'NEW.id IN (15, 25)');
	my $gate = close_gate($node);
	my $id = sql("${call}SELECT ml_import('$path', 't', $options)" . ($call =~ /^BEGIN/ ? '; COMMIT' : ''), 'ann');
	poll($node, "SELECT count(*) = 2 FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%' AND clock_timestamp() - xact_start > '$time'", "$name: two processes are in a transaction");
	$meanwhile->() if defined $meanwhile;
	open_gate($gate);
	my $row = wait_import($node, $id);
	is("$row->{status} $row->{success_count} $row->{error_count}", 'Completed with errors 100 1', "$name: the import completes") or diag($row->{error});
	is(sql("SELECT string_agg(DISTINCT attempts::text, ' ') FROM process_chunks WHERE uploaded_file_id = $id"), '1', '... with one attempt for each chunk');
	no_process_is_ended('... and no process is ended');
	return;
}

# A millisecond is over before a process has connected.
for my $where ('ROLE ann', 'DATABASE postgres', 'ROLE ann IN DATABASE postgres')
{
	sql(settings("ALTER $where SET ", '', '1ms'));
	outlives("ALTER $where SET", '', '200ms');
	sql("ALTER $where RESET ALL");
}
outlives('SET in the session', settings('SET ', '', '10s') . '; ', '200ms');
outlives('SET LOCAL', 'BEGIN; ' . settings('SET LOCAL ', '', '10s') . '; ', '200ms');

sub reload
{
	my ($value) = @_;
	my $before = sql('SELECT clock_timestamp()');
	sql(settings('ALTER SYSTEM SET ', '', $value));
	sql('SELECT pg_reload_conf()');
	poll($node, "SELECT pg_conf_load_time() > '$before'", 'the configuration is read');
	return;
}
# A client too has that before it has read its own options.
outlives('a configuration that is reloaded meanwhile', '', '200ms', sub { reload('2s') });
outlives('postgresql.conf', '', '2500ms');
sql(settings('ALTER DATABASE postgres SET ', '', '1ms'));

# Interrupted, and gone on with by launcher and scout on such a server.
sql('DROP TABLE t; CREATE TABLE t (id integer, name text)');
add_gate($node, 't', 'NEW.id IN (15, 25)');
my $gate = close_gate($node);
my $id = start_import($node, $path, 't', $options);
wait_at_gate($node, 2);
$node->stop('immediate');
eval { $gate->quit }; # its server is gone
$log = -s $node->logfile;
$node->start;
poll($node, "SELECT status = 'Completed with errors' FROM uploaded_files WHERE id = $id", 'the launcher goes on with it');
is(sql('SELECT count(*), count(DISTINCT id) FROM t'), '100|100', 'ALTER DATABASE SET: the launcher goes on with what was interrupted');
no_process_is_ended('... and no process is ended');

# Validation, by several processes.
sql('DROP TABLE t; CREATE TABLE t (id integer, name text, CHECK (pg_sleep(0.002) IS NOT NULL)); GRANT INSERT, SELECT ON t TO ann');
my ($rc, $stdout, $stderr) = $node->psql('postgres', "SET client_min_messages = debug1; SET movielens_ingest.chunk_size = 200; SELECT count(*) FROM ml_validate('$path', 't', max_workers => 3)",
	extra_params => [ '-U', 'ann' ]);
is("$rc $stdout", '0 1', 'ALTER DATABASE SET: ml_validate finds the bad record');
unlike($stderr, qr/works alone|goes on with 0/, '... with workers');
no_process_is_ended('... and no process is ended');

# An index that is put off, and built by the leader.
sql("DROP TABLE t; CREATE TABLE t (id integer, name text); CREATE INDEX by_id ON t (id); ALTER TABLE t OWNER TO ann");
is(sql("SET movielens_ingest.defer_indexes = on; SET min_parallel_table_scan_size = 0; SELECT ml_import('$other', 't', chunk_size => 10) > 0", 'ann'), 't', 'an index is put off');
poll($node, q(SELECT count(*) = 1 FROM uploaded_files WHERE target = 'public.t' AND file_name = 'other.csv' AND status = 'Completed'), 'the import completes');
is(sql(q(SELECT indisvalid, (SELECT analyze_count FROM pg_stat_user_tables WHERE relname = 't') FROM pg_index WHERE indexrelid = 'by_id'::regclass)), 't|1', '... built, and the table analyzed');
no_process_is_ended('... and no process is ended');
sql('ALTER DATABASE postgres RESET ALL');
sql('ALTER SYSTEM RESET ALL');
sql('SELECT pg_reload_conf()');

# What a user's function resets goes back to what the process began with, not to what the role has.
sql('DROP TABLE t; CREATE TABLE t (id integer, name text); GRANT INSERT ON t TO ann;
	CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RESET ALL; PERFORM pg_sleep(0.005); RETURN NEW; END$$;
	CREATE TRIGGER forget BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION forget()');
sql(settings('ALTER ROLE ann SET ', '', '1ms') . '; ALTER ROLE ann SET exit_on_error = on');
for my $workers (1, 2)
{
	sql('TRUNCATE t');
	$id = sql("SELECT ml_import('$path', 't', chunk_size => 10, min_chunks => 1, max_workers => $workers, force => true)", 'ann');
	my $row = wait_import($node, $id);
	is("$row->{status} $row->{success_count} $row->{error_count}", 'Completed with errors 100 1', "RESET ALL in a trigger, max_workers => $workers: the import completes") or diag($row->{error});
	no_process_is_ended('... and no process is ended');
}
sql('ALTER ROLE ann RESET ALL; DROP TABLE t');

# The caller's session, who waits.
sql('CREATE TABLE t (id integer, name text); GRANT INSERT ON t TO ann');
add_gate($node, 't', 'NEW.id IN (15, 25)');
$gate = close_gate($node);
$id = sql("SELECT ml_import('$path', 't', $options)", 'ann');
wait_at_gate($node, 2);
fails_like($node, "SET statement_timeout = '100ms'; SELECT ml_wait($id)", '57014', qr/due to statement timeout/, 'ml_wait obeys statement_timeout');
SKIP:
{
	skip 'transaction_timeout of the caller: this version has none', 2 unless $has_transaction_timeout;
	my (undef, undef, $stderr) = $node->psql('postgres', "SET transaction_timeout = '100ms'; SELECT ml_wait($id)");
	like($stderr, qr/FATAL:  terminating connection due to transaction timeout/, 'ml_wait obeys transaction_timeout');
	(undef, undef, $stderr) = $node->psql('postgres', "BEGIN; SET LOCAL transaction_timeout = '100ms'; SELECT ml_import('$other', 't', force => true); SELECT pg_sleep(60); COMMIT");
	like($stderr, qr/FATAL:  terminating connection due to transaction timeout/, 'a transaction that has called ml_import obeys it');
}
is(sql("SELECT count(*) FROM uploaded_files WHERE file_name = 'other.csv' AND target = 'public.t'"), 1, '... and its import is not there');
open_gate($gate);
my $row = wait_import($node, $id);
is("$row->{status} $row->{success_count}", 'Completed with errors 100', 'the import that was waited for completes');

# Who ends while ml_load waits cancels it, as Ctrl-C does.
sql('TRUNCATE t');
for my $timeout (grep { /^(statement|transaction)_timeout$/ } @timeouts)
{
	$gate = close_gate($node);
	my (undef, undef, $stderr) = $node->psql('postgres', "SET $timeout = '500ms'; CALL ml_load('$path', 't', $options)");
	like($stderr, qr/due to (statement|transaction) timeout/, "ml_load obeys $timeout");
	open_gate($gate);
	poll($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%'", 'leader and workers end');
	like(sql('SELECT status FROM uploaded_files ORDER BY id DESC LIMIT 1'), qr/^(Cancelled|Completed with errors)$/, '... and its import has an end');
	note(sql('SELECT status FROM uploaded_files ORDER BY id DESC LIMIT 1'));
}

$node->stop;
done_testing();
