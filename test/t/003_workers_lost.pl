# A worker that is terminated or cancelled in the middle of a chunk loses the chunk to another try, and the table holds
# what COPY would have loaded. A cancelled leader ends the import as Cancelled, a terminated one leaves it interrupted;
# what was committed stays, and the counts add up.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use Test::More;

my $node = start_server('main', "movielens_ingest.retry_delay = '10ms'");
my $path = write_file('numbers.csv', numbers(100));
$node->safe_psql('postgres', "CREATE TABLE t (id integer, name text); CREATE TABLE copied (LIKE t); COPY copied FROM '$path' (FORMAT csv, HEADER)");
# Two loaders stop here: chunks 1 to 4 are in then, 5 and 6 are being loaded.
add_gate($node, 't', 'NEW.id IN (45, 55)');
my $options = 'chunk_size => 10, min_chunks => 1, max_workers => 2, force => true';

sub same_as_copy
{
	my ($name) = @_;
	is($node->safe_psql('postgres', '(TABLE t EXCEPT ALL TABLE copied) UNION ALL (TABLE copied EXCEPT ALL TABLE t)'), '', $name);
}

# Starts an import, lets it come to the gate, and sends a signal to one of its processes.
sub held_import
{
	my ($more) = @_;
	$node->safe_psql('postgres', 'TRUNCATE t');
	my $gate = close_gate($node);
	my $id = start_import($node, $path, 't', $options . ($more // ''));
	wait_at_gate($node, 2);
	return ($gate, $id);
}

sub pid_of
{
	my ($type) = @_;
	return $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'movielens_ingest $type'");
}

sub signal
{
	my ($function, $type) = @_;
	my $pid = pid_of($type);
	is($node->safe_psql('postgres', "SELECT pg_${function}_backend($pid)"), 't', "$function the $type");
	return $pid;
}

sub gone
{
	my ($pid) = @_;
	poll($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid", "process $pid ends");
}

my @chunks;
sub chunks_with_errors { return join(';', map { "$_->{status} $_->{attempts} $_->{sqlstate} $_->{errors}" } grep { defined $_->{sqlstate} } @chunks) }

# The worker is terminated.
my ($gate, $id) = held_import();
gone(signal('terminate', 'worker'));
is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), 40, 'what the lost worker had not committed is not in');
open_gate($gate);
my $row = wait_import($node, $id);
is("$row->{status} $row->{success_count} $row->{unprocessed_count}", 'Completed 100 0', 'a worker was terminated: the import completes');
@chunks = chunk_list($node, $id);
is(chunks_with_errors(), 'Completed 2 57P01 the worker that was loading the chunk was terminated', '... its chunk in a second attempt');
is(scalar(grep { $_->{attempts} == 1 } @chunks), 9, '... the others in one');
same_as_copy('... and the table is as after COPY');
ledger_holds($node, $id, 't', '... and the ledger says so');

# The worker is cancelled: its chunk, not the import, is tried again.
($gate, $id) = held_import();
signal('cancel', 'worker');
poll($node, "SELECT count(*) = 1 FROM process_chunks WHERE uploaded_file_id = $id AND attempts = 2", 'the chunk is tried again');
open_gate($gate);
$row = wait_import($node, $id);
is($row->{status}, 'Completed', 'a worker was cancelled: the import completes');
@chunks = chunk_list($node, $id);
like(chunks_with_errors(), qr/^Completed 2 57014 canceling statement due to user request$/, '... its chunk in a second attempt');
same_as_copy('... and the table is as after COPY');
ledger_holds($node, $id, 't', '... and the ledger says so');

# More often than max_retries.
($gate, $id) = held_import(', max_retries => 2');
for my $attempt (1 .. 3)
{
	signal('cancel', 'worker');
	next if $attempt == 3;
	poll($node, "SELECT count(*) = 1 FROM process_chunks WHERE uploaded_file_id = $id AND attempts = $attempt + 1", 'next attempt');
	wait_at_gate($node, 2);
}
poll($node, "SELECT count(*) = 1 FROM process_chunks WHERE uploaded_file_id = $id AND status = 'Failed'", 'the chunk is given up');
open_gate($gate);
$row = wait_import($node, $id);
is("$row->{status} $row->{success_count} $row->{unprocessed_count} $row->{sqlstate}", 'Failed 90 10 57014',
	'a worker was cancelled in every attempt: the import fails, the other chunks are in');
@chunks = chunk_list($node, $id);
is(chunks_with_errors(), 'Failed 3 57014 canceling statement due to user request', '... the chunk after three attempts');
ledger_holds($node, $id, 't', '... and the ledger says so');

($gate, $id) = held_import(', max_retries => 0');
gone(signal('terminate', 'worker'));
open_gate($gate);
$row = wait_import($node, $id);
is("$row->{status} $row->{success_count} $row->{unprocessed_count} $row->{sqlstate} $row->{error}",
	'Failed 90 10 57P01 the worker that was loading the chunk was terminated', 'no retries, and a worker was terminated: the import fails');
@chunks = chunk_list($node, $id);
like(chunks_with_errors(), qr/^Failed 1 57P01 /, '... the chunk after one attempt');
ledger_holds($node, $id, 't', '... and the ledger says so');

# The leader is cancelled.
($gate, $id) = held_import();
signal('cancel', 'leader');
processes_gone($node);
$row = wait_import($node, $id);
is("$row->{status} $row->{success_count} $row->{unprocessed_count} $row->{sqlstate}", 'Cancelled 40 60 57014',
	'the leader was cancelled: Cancelled, and what was committed stays');
isnt($row->{end_time}, undef, '... with an end time');
ledger_holds($node, $id, 't', '... and the ledger says so');
open_gate($gate);

# The leader is terminated.
($gate, $id) = held_import();
my $waiter = in_session($node, "SELECT ml_wait($id)");
poll($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'SELECT ml_wait(%' AND wait_event_type = 'Lock'", 'a session waits');
signal('terminate', 'leader');
processes_gone($node);
my ($said, $error) = $waiter->finish;
like($error, qr/ERROR:  55000: import $id was interrupted/, 'the leader was terminated: who waits is told');
fails_like($node, "SELECT ml_wait($id)", '55000', qr/import $id was interrupted.*DETAIL:  Its processes are gone/s, '... and who asks later too');
is($node->safe_psql('postgres', "SELECT status FROM uploaded_files WHERE id = $id"), 'Processing', '... its status is left as it was');
is($node->safe_psql('postgres', "SELECT (SELECT count(*) FROM t), sum(success_count), count(*) FILTER (WHERE status = 'Pending')
	FROM process_chunks WHERE uploaded_file_id = $id"), '40|40|6', '... its workers are gone too, and the chunks tell what is in');
open_gate($gate);

# The only process: terminated before there is any other.
$gate = close_gate($node);
$node->safe_psql('postgres', 'TRUNCATE t');
$id = start_import($node, $path, 't', 'max_workers => 1, force => true');
wait_at_gate($node, 1);
signal('terminate', 'leader');
fails_like($node, "SELECT ml_wait($id)", '55000', qr/interrupted/, 'a leader without workers was terminated');
open_gate($gate);

# And all is well afterwards.
$node->safe_psql('postgres', 'TRUNCATE t');
is(imported($node, $path, 't', $options)->{status}, 'Completed', 'the next import completes');
same_as_copy('... and the table is as after COPY');

$node->stop;
done_testing();
