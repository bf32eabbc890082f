# A process takes its next chunk, and counts the attempt, in the transaction of the one before. That chunk is nobody's
# whose import was stopped meanwhile; it keeps a leader from nothing; and a crash finds it counted, whatever
# synchronous_commit is.
# allow-log: terminated by signal 9
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_server('main', 'wal_writer_delay = 10s', 'wal_level = replica', 'max_wal_senders = 1', "movielens_ingest.retry_delay = '10ms'");
my $path = write_file('numbers.csv', numbers(200));
my $options = 'chunk_size => 10, min_chunks => 1, force => true';

sub sql { return $node->safe_psql('postgres', $_[0]) }

# Chunks by status, attempts and crashes.
sub chunks
{
	my ($id) = @_;
	return sql("SELECT string_agg(format('%s %s %s: %s-%s', status, attempts, crashes, first, last), ', ' ORDER BY first) FROM
		(SELECT status, attempts, crashes, min(chunk_number) AS first, max(chunk_number) AS last
		   FROM process_chunks WHERE uploaded_file_id = $id GROUP BY 1, 2, 3) c");
}

sub new_table { return sql('SET client_min_messages = warning; DROP TABLE IF EXISTS t; CREATE TABLE t (id integer, name text)') }

# --- cancelled while the commit of the chunk before waits for a standby ---

new_table();
add_gate($node, 't', 'NEW.id = 5');
my $gate = close_gate($node);
my $id = sql("SELECT ml_import('$path', 't', $options, max_workers => 1)");
wait_at_gate($node, 1);
sql('CREATE TABLE probe ()');
sql(q(ALTER SYSTEM SET synchronous_standby_names = 'nobody'));
sql('SELECT pg_reload_conf()');
# Commits until one has to wait.
my $waiting = q(SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep');
my $probe = in_session($node, 'DO $$BEGIN LOOP INSERT INTO probe DEFAULT VALUES; COMMIT; END LOOP; END$$');
poll($node, $waiting, 'commits wait for a standby that is not there');
sql(q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'));
$probe->finish;
open_gate($gate);
poll($node, $waiting, 'a chunk waits for the standby');
is(sql("SET synchronous_commit = local; SELECT ml_cancel($id)"), 't', 'cancelled as a chunk waits for a standby');
sql('ALTER SYSTEM RESET synchronous_standby_names');
sql('SELECT pg_reload_conf()');
my $row = wait_import($node, $id);
is("$row->{status} $row->{success_count} $row->{unprocessed_count}", 'Cancelled 10 190', '... that chunk is in, no other');
is(chunks($id), 'Completed 1 0: 1-1, Pending 0 0: 2-20', '... and no other was tried');
processes_gone($node);
is(sql("SELECT ml_resume($id)"), 't', '... resumed');
is(wait_import($node, $id)->{status} . ' ' . chunks($id), 'Completed Completed 1 0: 1-20', '... each is tried once');
ledger_holds($node, $id, 't', '... and in the table');

# --- another file of the data set ends while the leader goes from chunk to chunk ---

my $folder = PostgreSQL::Test::Utils::tempdir('set');
append_to_file("$folder/genome-tags.csv", "tagId,tag\n" . join('', map { "$_,tag $_\n" } 1 .. 2000));
append_to_file("$folder/movies.csv", "movieId,title,genres\n" . join('', map { "$_,title $_,none\n" } 1 .. 20));
sql('SELECT FROM ml_create_tables()');
# A gate for each of the two chunks of movies, so that leader and worker have one each, and two for tags, before and
# behind which there are many chunks; the last is for the leader.
sql(q(CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
		IF TG_ARGV[0] <> '13' OR (SELECT backend_type FROM pg_stat_activity WHERE pid = pg_backend_pid()) = 'movielens_ingest leader' THEN
			PERFORM pg_advisory_xact_lock_shared(TG_ARGV[0]::integer);
		END IF;
		RETURN NEW; END$$;
	CREATE TRIGGER first BEFORE INSERT ON movies FOR EACH ROW WHEN (NEW.movieid = 5) EXECUTE FUNCTION hold(10);
	CREATE TRIGGER second BEFORE INSERT ON movies FOR EACH ROW WHEN (NEW.movieid = 15) EXECUTE FUNCTION hold(11);
	CREATE TRIGGER first BEFORE INSERT ON genome_tags FOR EACH ROW WHEN (NEW.tagid > 300 AND NEW.tagid % 10 = 5) EXECUTE FUNCTION hold(12);
	CREATE TRIGGER second BEFORE INSERT ON genome_tags FOR EACH ROW WHEN (NEW.tagid > 1000 AND NEW.tagid % 10 = 5) EXECUTE FUNCTION hold(13)));
my %gate;
for my $number (10 .. 13)
{
	$gate{$number} = $node->background_psql('postgres');
	$gate{$number}->query_safe("SELECT pg_advisory_lock($number)");
}
sub open_number { my $session = delete $gate{ $_[0] }; $session->query_safe("SELECT pg_advisory_unlock($_[0])"); $session->quit; return }
sub held { return "SELECT string_agg(objid::text, ' ' ORDER BY objid) = '$_[0]' FROM pg_locks WHERE locktype = 'advisory' AND NOT granted" }
my %id = split(/[|\n]/, sql("SELECT target::regclass, id FROM ml_import_dataset('$folder', chunk_size => 10, min_chunks => 1, max_workers => 2)"));
my ($movies, $tags) = @id{ 'movies', 'genome_tags' };
poll($node, held('10 11'), 'two processes have the two chunks of movies');
my $leaders = sql(q(SELECT objid FROM pg_stat_activity JOIN pg_locks USING (pid) WHERE locktype = 'advisory' AND NOT granted AND backend_type = 'movielens_ingest leader'));
my $workers = 21 - $leaders;
open_number($leaders);
poll($node, held("$workers 12"), 'the leader goes on with tags');
cmp_ok(sql('SELECT max(workers) FROM ml_progress'), '<=', 2, 'two processes: no more are shown');
open_number($workers);
poll($node, "SELECT count(*) = 2 FROM process_chunks WHERE uploaded_file_id = $movies AND status = 'Completed'", 'movies are in');
open_number(12);
poll($node, "SELECT status = 'Completed' FROM uploaded_files WHERE id = $movies", 'movies end');
is(sql("SELECT status FROM uploaded_files WHERE id = $tags"), 'Processing', 'the end of a small file does not wait for that of a large one');
open_number(13);
is(wait_import($node, $tags)->{status}, 'Completed', '... which comes in its time');
is(sql("SELECT bool_and(attempts = 1 AND crashes = 0) FROM process_chunks WHERE uploaded_file_id = $tags"), 't', '... each chunk at the first attempt');

# --- a chunk that crashes the server at once, where commits are not flushed ---

# The WAL writer sleeps meanwhile: what is on disk was flushed by a commit.
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'movielens_ingest'\nrestart_after_crash = on");
$node->restart;
new_table();
sql(q(CREATE FUNCTION crash() RETURNS trigger LANGUAGE plpgsql
	AS $$BEGIN EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', 'kill -KILL ' || pg_backend_pid()); RETURN NEW; END$$;
	CREATE TRIGGER crash BEFORE INSERT ON t FOR EACH ROW WHEN (NEW.id = 25) EXECUTE FUNCTION crash()));
sql('ALTER DATABASE postgres SET synchronous_commit = off');
my $log = -s $node->logfile;
$id = sql("SELECT ml_import('$path', 't', $options, max_workers => 1)");
poll($node, "SELECT status = 'Failed' FROM uploaded_files WHERE id = $id", 'the import fails');
is(scalar(() = slurp_file($node->logfile, $log) =~ /all server processes terminated; reinitializing/g), 3, 'a chunk crashes the server three times, and is given up');
is(chunks($id), 'Completed 1 0: 1-20, Failed 3 3: 3-3', '... the others are loaded');
ledger_holds($node, $id, 't', '... exactly once');

$node->stop;
done_testing();
