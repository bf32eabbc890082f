# Processes of imports that are ended at awkward moments: a worker in the pause before another try, by pg_terminate_backend,
# pg_cancel_backend or a fast shutdown; a leader that is cancelled again while it writes the end of its import. The server
# stays up, and the import has an end. Nor does exit_on_error end an import, or a long path spoil pg_stat_activity.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use File::Path qw(make_path);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_server('main', 'track_activity_query_size = 4kB');
my $path = write_file('numbers.csv', numbers(100));
my $options = 'chunk_size => 10, min_chunks => 1, max_workers => 2, force => true';
my $server = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');

# The leader waits at the gate in its first chunk; a worker meets a transient error in its first record.
$node->safe_psql('postgres', q(
	CREATE TABLE t (id integer, name text); CREATE SEQUENCE calls;
	CREATE FUNCTION by_process() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF (SELECT backend_type FROM pg_stat_activity WHERE pid = pg_backend_pid()) = 'movielens_ingest leader' THEN
			PERFORM pg_advisory_xact_lock_shared(1);
		ELSIF nextval('calls') = 1 THEN
			RAISE EXCEPTION 'not now' USING ERRCODE = '55P03';
		END IF;
		RETURN NEW;
	END$$;
	CREATE TRIGGER by_process BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION by_process()));

sub process { return $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'movielens_ingest $_[0]'") }

sub paused_import
{
	$node->safe_psql('postgres', "TRUNCATE t; SELECT setval('calls', 1, false)");
	my $gate = close_gate($node);
	my $id = $node->safe_psql('postgres', "SET movielens_ingest.retry_delay = '30s'; SELECT ml_import('$path', 't', $options)");
	poll($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'movielens_ingest worker' AND query LIKE '%pausing%'", 'a worker pauses');
	wait_at_gate($node, 1);
	return ($gate, $id);
}

# --- a worker in its pause ---

for my $function ('terminate', 'cancel')
{
	my ($gate, $id) = paused_import();
	my $pid = process('worker');
	is($node->safe_psql('postgres', "SELECT pg_${function}_backend($pid)"), 't', "$function a worker in its pause");
	poll($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid", 'the worker ends');
	open_gate($gate);
	my $row = wait_import($node, $id);
	is("$row->{status} $row->{success_count} $row->{unprocessed_count}", 'Completed 100 0', '... the import goes on, and completes');
	is($node->safe_psql('postgres', "SELECT processing_duration < '25 s' FROM uploaded_files WHERE id = $id"), 't', '... before the pause would have ended');
	is(join(' ', grep { $_ > 1 } map { $_->{attempts} } chunk_list($node, $id)), '2', '... with one chunk in a second attempt');
	ledger_holds($node, $id, 't', '... and the ledger says so');
	is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'), $server, '... on the same server');
}
unlike(slurp_file($node->logfile), qr/terminated by signal|reinitializing|was not properly shut down/, 'no crash, and no recovery');

# --- the leader is cancelled twice ---

my ($gate, $id) = paused_import();
my $leader = process('leader');
my $holder = $node->background_psql('postgres');
$holder->query_safe("BEGIN; SELECT FROM uploaded_files WHERE id = $id FOR UPDATE");
is($node->safe_psql('postgres', "SELECT pg_cancel_backend($leader)"), 't', 'cancel the leader');
poll($node, "SELECT count(*) = 1 FROM pg_locks WHERE pid = $leader AND locktype = 'transactionid' AND NOT granted", 'the leader waits for the row');
is($node->safe_psql('postgres', "SELECT pg_cancel_backend($leader)"), 't', '... and again, while it writes the end');
is($node->safe_psql('postgres', "SELECT status FROM uploaded_files WHERE id = $id"), 'Processing', '... which is not there yet');
$holder->query_safe('COMMIT');
$holder->quit;
processes_gone($node);
my $row = json_row($node, "SELECT * FROM uploaded_files WHERE id = $id");
is("$row->{status} $row->{sqlstate} $row->{success_count} $row->{unprocessed_count}", 'Cancelled 57014 0 100', '... Cancelled, with its counts');
open_gate($gate);

# --- a fast shutdown ---

($gate, $id) = paused_import();
my $offset = -s $node->logfile;
$node->stop('fast');
my $log = slurp_file($node->logfile, $offset);
like($log, qr/database system is shut down/, 'a fast shutdown while a worker pauses');
unlike($log, qr/abnormal|terminated by signal|PANIC/, '... is a clean one');
eval { $gate->quit }; # its server is gone
$offset = -s $node->logfile;
$node->start;
unlike(slurp_file($node->logfile, $offset), qr/not properly shut down|recovery/, '... and the next start recovers nothing');
fails_like($node, "SELECT ml_wait($id)", '55000', qr/import $id was interrupted/, '... the import is interrupted');

# --- exit_on_error ---

$node->safe_psql('postgres', q(
	CREATE ROLE abrupt LOGIN; GRANT pg_read_server_files TO abrupt; ALTER ROLE abrupt SET exit_on_error = on;
	CREATE TABLE checked (id integer, name text); GRANT INSERT ON checked TO abrupt));
my $bad = write_file('bad.csv', "id,name\n1,a\nx,b\n3,c\n");
for my $workers (1, 2)
{
	$node->safe_psql('postgres', 'TRUNCATE checked');
	$id = $node->safe_psql('postgres', "SELECT ml_import('$bad', 'checked', chunk_size => 1, max_workers => $workers, force => true)",
		extra_params => [ '-U', 'abrupt' ]);
	$row = wait_import($node, $id);
	is("$row->{status} $row->{success_count} $row->{error_count}", 'Completed with errors 2 1', "exit_on_error of the role, max_workers => $workers: a bad record is refused");
}

# --- a path that is longer than what pg_stat_activity shows of it ---

$node->safe_psql('postgres', "CREATE DATABASE wide ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0");
$node->safe_psql('wide', 'CREATE EXTENSION movielens_ingest; CREATE TABLE t (id integer, name text)');
my $top = PostgreSQL::Test::Utils::tempdir('paths');
# Three bytes a character: of these three paths two are cut within one.
for my $shift (0 .. 2)
{
	my $folder = join('/', $top, 'x' x (3 + $shift), map { "\xE2\x82\xAC" x 80 } 1 .. 5);
	make_path($folder);
	my $file = "$folder/long.csv";
	open(my $handle, '>:raw', $file) or die "could not create $file: $!";
	print $handle numbers(3);
	close($handle) or die;
	cmp_ok(length($file), '>', 1100, 'a path of ' . length($file) . ' bytes');

	my $session = $node->background_psql('wide');
	$session->query_safe('BEGIN; LOCK TABLE process_chunks IN EXCLUSIVE MODE');
	my $import = $node->safe_psql('wide', "SELECT ml_import('$file', 't', force => true)");
	poll($node, "SELECT count(*) = 1 FROM pg_locks WHERE relation = 'process_chunks'::regclass AND NOT granted", 'the import is held up', 'wide');
	my $query = "SELECT query FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader'";
	my ($rc, $stdout, $stderr) = $node->psql('wide', "SET client_encoding = 'LATIN9'; $query");
	ok($rc == 0 && $stdout =~ /planning import $import of file ".*\xA4$/s, 'pg_stat_activity can be read in another encoding') or diag("$stdout $stderr");
	is($node->safe_psql('wide', "SELECT convert_from(convert_to(query, 'UTF8'), 'UTF8') = query AND octet_length(query) BETWEEN 1015 AND 1023 FROM ($query) q"),
		't', '... and its text ends with a whole character');
	$session->query_safe('COMMIT');
	$session->quit;
	is(json_row($node, "SELECT * FROM ml_wait($import)", 'wide')->{status}, 'Completed', '... the import completes');
}

$node->stop;
done_testing();
