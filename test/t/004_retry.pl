# Transient errors are retried with growing pauses, up to max_retries; a deadlock or a serialization failure puts its
# chunk off; any other error of a chunk as a whole fails the import at once, and names its cause.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use POSIX qw(mkfifo);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_server('main', "movielens_ingest.retry_delay = '100ms'");
my $path = write_file('numbers.csv', numbers(30));
my $options = 'chunk_size => 10, min_chunks => 1, max_workers => 2, force => true';
my @chunks;
my ($id, $row);

# A fresh table t; a row trigger with this body if there is one.
sub new_table
{
	my ($body) = @_;
	$node->safe_psql('postgres', 'DROP TABLE IF EXISTS t; CREATE TABLE t (id integer, name text)');
	$node->safe_psql('postgres', qq(
		DROP SEQUENCE IF EXISTS calls; CREATE SEQUENCE calls;
		CREATE OR REPLACE FUNCTION body() RETURNS trigger LANGUAGE plpgsql AS \$\$BEGIN $body; RETURN NEW; END\$\$;
		CREATE TRIGGER body BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION body())) if defined $body;
}

# When the attempts at a chunk failed, in milliseconds, from the log.
sub failures
{
	my ($import, $chunk) = @_;
	return map { my ($h, $m, $s, $ms) = /(\d\d):(\d\d):(\d\d)\.(\d{3}) .*chunk $chunk of import $import failed in attempt/;
		defined $h ? (($h * 60 + $m) * 60 + $s) * 1000 + $ms : () } split(/\n/, slurp_file($node->logfile));
}

# --- a lock on the target, and lock_timeout in the session that calls ---

new_table();
my $caller = $node->background_psql('postgres');
$caller->query_safe("SET lock_timeout = '10ms'; BEGIN");
$id = $caller->query_safe("SELECT ml_import('$path', 't', $options, max_retries => 100)");
# The lock is asked for while the call holds its own, so it comes before any process of the import.
my $locker = in_session($node, "BEGIN; LOCK TABLE t; SELECT pg_advisory_xact_lock(7); COMMIT");
my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(7)');
poll($node, "SELECT count(*) = 1 FROM pg_locks WHERE relation = 't'::regclass AND mode = 'AccessExclusiveLock' AND NOT granted", 'LOCK TABLE waits');
$caller->query_safe('COMMIT');
poll($node, "SELECT count(*) > 0 FROM process_chunks WHERE uploaded_file_id = $id AND attempts > 3", 'a chunk is tried again and again');
is($node->safe_psql('postgres', "SELECT DISTINCT status, sqlstate, errors FROM process_chunks WHERE uploaded_file_id = $id AND sqlstate IS NOT NULL"),
	'Pending|55P03|canceling statement due to lock timeout', 'lock_timeout of the caller: the ledger shows the error while the chunk is tried again');
$holder->query_safe('SELECT pg_advisory_unlock(7)');
$holder->quit;
$locker->finish;
$row = wait_import($node, $id);
is("$row->{status} $row->{success_count}", 'Completed 30', '... once the lock is gone, the import completes');
is($row->{error}, undef, '... without an error of its own');
@chunks = chunk_list($node, $id);
my ($retried) = sort { $b->{attempts} <=> $a->{attempts} } @chunks;
is("$retried->{status} $retried->{sqlstate} $retried->{errors}", 'Completed 55P03 canceling statement due to lock timeout',
	'... and the chunk shows the last error that it met');
cmp_ok($retried->{attempts}, '>', 3, '... and its attempts');
ledger_holds($node, $id, 't', '... and the counts are right');
# The first attempt was beside others, which it could have waited for: then the chunk was put off until it was alone.
my (undef, @times) = failures($id, $retried->{chunk_number});
my @short = grep { $times[$_] - $times[ $_ - 1 ] < 100 * 2**($_ - 1) } 1 .. ($#times < 4 ? $#times : 4);
is("@short", '', '... and each pause was twice as long as the one before it') or diag("@times");
$caller->quit;

# --- errors raised in a trigger: retried or not by their SQLSTATE ---

for my $case ([ '08006', 2 ], [ '53100', 2 ], [ '53200', 2 ], [ '55P03', 2 ], [ '58030', 2 ], [ '40003', 2 ],
	[ '40001', 1 ], [ '40P01', 1 ])
{
	my ($sqlstate, $attempts) = @$case;
	new_table("IF NEW.id = 15 AND nextval('calls') = 1 THEN RAISE EXCEPTION 'just once' USING ERRCODE = '$sqlstate'; END IF");
	$id = start_import($node, $path, 't', $options);
	$row = wait_import($node, $id);
	@chunks = chunk_list($node, $id);
	is("$row->{status} $row->{success_count} $chunks[1]{attempts} $chunks[1]{sqlstate} $chunks[1]{errors}",
		"Completed 30 $attempts $sqlstate just once", "$sqlstate, once: the chunk is tried again" . ($attempts == 1 ? ', uncounted' : ''));
	ledger_holds($node, $id, 't', "$sqlstate, once: counts");
}

new_table("IF NEW.id = 15 THEN RAISE EXCEPTION 'always' USING ERRCODE = '53300'; END IF");
for my $retries (0, 1, 3)
{
	$node->safe_psql('postgres', "TRUNCATE t; ALTER SYSTEM SET movielens_ingest.retry_delay = 1; SELECT pg_reload_conf()");
	$id = start_import($node, $path, 't', "$options, max_retries => $retries");
	$row = wait_import($node, $id);
	@chunks = chunk_list($node, $id);
	is("$row->{status} $row->{success_count} $row->{unprocessed_count} $row->{sqlstate} $row->{error}", 'Failed 20 10 53300 always',
		"max_retries => $retries, an error that stays: Failed, the other chunks are in");
	is(join(' ', map { "$_->{status} $_->{attempts}" } @chunks), 'Completed 1 Failed ' . ($retries + 1) . ' Completed 1',
		"max_retries => $retries: attempts");
	ledger_holds($node, $id, 't', "max_retries => $retries: counts");
}

new_table("IF NEW.id = 15 THEN RAISE EXCEPTION 'always' USING ERRCODE = '40001'; END IF");
$row = wait_import($node, $id = start_import($node, $path, 't', "$options, max_retries => 2"));
@chunks = chunk_list($node, $id);
is("$row->{status} $row->{success_count} $row->{sqlstate} $chunks[1]{status} $chunks[1]{attempts}", 'Failed 20 40001 Failed 3',
	'a serialization failure that stays: counted once it is tried alone');

for my $sqlstate ('XX001', '58P01', '42P01', '57014')
{
	new_table("IF NEW.id = 5 THEN RAISE EXCEPTION 'hopeless' USING ERRCODE = '$sqlstate'; END IF");
	$row = wait_import($node, $id = start_import($node, $path, 't', 'chunk_size => 10, min_chunks => 1, max_workers => 1, force => true'));
	@chunks = chunk_list($node, $id);
	is("$row->{status} $row->{sqlstate} $row->{error} $chunks[0]{attempts} $chunks[1]{attempts}",
		"Failed $sqlstate hopeless 1 0", "$sqlstate: no retry, and no further chunk");
	ledger_holds($node, $id, 't', "$sqlstate: counts");
}

new_table("IF NEW.id = 15 THEN RAISE EXCEPTION 'not this one' USING ERRCODE = 'P0001'; END IF");
$row = wait_import($node, $id = start_import($node, $path, 't', $options));
is("$row->{status} $row->{success_count} $row->{error_count}", 'Completed with errors 29 1', 'P0001: the record is refused');
is($node->safe_psql('postgres', "SELECT row_number, line_number, sqlstate, message, raw_line FROM rejected_rows WHERE uploaded_file_id = $id"),
	'15|16|P0001|not this one|15,name 15', '... with its place and its reason');

# --- a deadlock, whose victim is the import ---

new_table("IF NEW.id = 15 THEN PERFORM pg_advisory_xact_lock(2); PERFORM pg_advisory_xact_lock_shared(1); PERFORM pg_advisory_xact_lock(3); END IF");
my $gate = close_gate($node);
$id = $node->safe_psql('postgres', "SET deadlock_timeout = '10ms'; SELECT ml_import('$path', 't', $options)");
wait_at_gate($node, 1);
# The import has 2; the other session has 3 and waits for 2, and will not look for a deadlock itself.
my $enemy = in_session($node, "SET deadlock_timeout = '60s'; BEGIN; SELECT pg_advisory_xact_lock(3), pg_advisory_xact_lock(2); COMMIT");
wait_at_gate($node, 2);
open_gate($gate);
$row = wait_import($node, $id);
my (undef, $stderr) = $enemy->finish;
is($stderr, '', 'a deadlock: the other session goes on');
@chunks = chunk_list($node, $id);
is("$row->{status} $row->{success_count} $chunks[1]{attempts} $chunks[1]{sqlstate} $chunks[1]{errors}", 'Completed 30 1 40P01 deadlock detected',
	'... and the chunk is tried again, uncounted');
ledger_holds($node, $id, 't', '... counts');

# --- what is not transient ---

my $file = write_file('changing.csv', numbers(30));
my $touched = write_file('touched.csv', '');

# Chunk 1 has been read and waits at the gate while something happens; what chunk 2 meets fails the import.
sub fails_midway
{
	my ($name, $happens, $sqlstate, $error) = @_;
	$node->safe_psql('postgres', 'DROP TABLE IF EXISTS t; CREATE TABLE t (id integer, name text)');
	add_gate($node, 't');
	system_or_bail('rm', '-rf', $file);
	write_file('changing.csv', numbers(30));
	my $guard = close_gate($node);
	my $import = start_import($node, $file, 't', 'chunk_size => 10, min_chunks => 1, max_workers => 1, force => true');
	wait_at_gate($node, 1);
	my $session;
	if (ref $happens)
	{
		$happens->();
	}
	else
	{
		$session = in_session($node, $happens);
		poll($node, "SELECT count(*) = 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted", 'the session waits');
	}
	open_gate($guard);
	$session->finish if $session;
	my $result = wait_import($node, $import);
	my @list = chunk_list($node, $import);
	is("$result->{status} $result->{sqlstate} $result->{success_count} $result->{unprocessed_count}", "Failed $sqlstate 10 20", "$name: Failed");
	is(join(' ', map { $_->{attempts} } @list), '1 1 0', '... without retry, and no further chunk is begun');
	like($result->{error}, $error, '... the error says what happened');
	is($list[1]{errors}, $result->{error}, '... in the row of the chunk too');
	return;
}

my $changed = qr/^file "\Q$file\E" has changed since its import began$/;
fails_midway('file removed', sub { unlink $file or die }, '58P01', qr/^could not open file "\Q$file\E" for reading: No such file or directory$/);
fails_midway('file truncated', sub { truncate $file, 100 or die }, '55000', $changed);
fails_midway('file grown', sub { append_to_file($file, "31,more\n") }, '55000', $changed);
fails_midway('file replaced by its like', sub { system_or_bail('cp', '-p', $file, "$file.new"); rename "$file.new", $file or die }, '55000', $changed);
fails_midway('file replaced by a FIFO', sub { unlink $file or die; mkfifo($file, 0600) or die }, '42809', qr/^"\Q$file\E" is not a regular file$/);
fails_midway('file made unreadable', sub { chmod 0, $file or die }, '42501', qr/^could not open file "\Q$file\E" for reading: Permission denied$/);
fails_midway('other bytes of the same size and time',
	sub {
		system_or_bail('touch', '-r', $file, $touched);
		my $bytes = slurp_file($file);
		$bytes =~ s/name 15/name 51/ or die;
		open(my $handle, '+<:raw', $file) or die;
		print $handle $bytes;
		close $handle or die;
		system_or_bail('touch', '-r', $touched, $file);
	},
	'55000', $changed);
fails_midway('table dropped', 'DROP TABLE t', '42P01', qr/ does not exist$/);
fails_midway('column dropped', 'ALTER TABLE t DROP name', '42703', qr/^column "name" of relation "t" does not exist$/);
fails_midway('table replaced by another of its name', 'BEGIN; ALTER TABLE t RENAME TO old; CREATE TABLE t (LIKE old); DROP TABLE old; COMMIT', '42P01', qr/ does not exist$/);

$node->stop;
done_testing();
