# Few worker slots: fewer workers, down to the leader alone; none at all: an error at commit that names
# max_worker_processes and leaves nothing behind. max_workers is the number of processes that load, the leader counted.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use Test::More;

my $slots = 5;
my $node = start_server('main', "max_worker_processes = $slots", 'max_logical_replication_workers = 0');
my $path = write_file('numbers.csv', numbers(1000));
my $holder = write_file('holder.csv', numbers(1));
$node->safe_psql('postgres', 'CREATE TABLE t (id integer, name text); CREATE TABLE held (id integer, name text)');
add_gate($node, $_) for 't', 'held';
my $options = 'chunk_size => 50, force => true';

# pids of the processes of the import that wait at the gate, by type.
sub loaders
{
	my ($id) = @_;
	return $node->safe_psql('postgres', "SELECT backend_type, count(DISTINCT pid) FROM pg_stat_activity
		WHERE query LIKE '%import $id %' AND backend_type LIKE 'movielens_ingest%' GROUP BY 1 ORDER BY 1");
}

for my $max_workers (1 .. 4)
{
	$node->safe_psql('postgres', 'TRUNCATE t');
	my $gate = close_gate($node);
	my $id = start_import($node, $path, 't', "$options, max_workers => $max_workers");
	wait_at_gate($node, $max_workers);
	my $workers = $max_workers - 1;
	is(loaders($id), join("\n", 'movielens_ingest leader|1', $workers ? "movielens_ingest worker|$workers" : ()),
		"max_workers => $max_workers: a leader and $workers workers load");
	open_gate($gate);
	is(wait_import($node, $id)->{status}, 'Completed', "max_workers => $max_workers: completed");
	ledger_holds($node, $id, 't', "max_workers => $max_workers: counts");
	processes_gone($node);
}

# No more processes than chunks.
my $gate = close_gate($node);
my $id = start_import($node, $path, 't', 'chunk_size => 500, min_chunks => 2, max_workers => 4, force => true');
wait_at_gate($node, 2);
is(loaders($id), "movielens_ingest leader|1\nmovielens_ingest worker|1", 'two chunks: two processes');
open_gate($gate);
wait_import($node, $id);
processes_gone($node);

# Imports that wait at the gate, each a leader alone, take slots away.
my @holders;
$gate = close_gate($node);
sub leave_free
{
	my ($free) = @_;
	while (@holders < $slots - $free)
	{
		push @holders, start_import($node, $holder, 'held', 'force => true, max_workers => 1');
	}
	wait_at_gate($node, scalar @holders);
}

# The table has a gate of its own, so what is loaded here needs another.
$node->safe_psql('postgres', 'CREATE TABLE free (id integer, name text)');
for my $free (2, 1)
{
	leave_free($free);
	$node->safe_psql('postgres', 'TRUNCATE free');
	my $position = -s $node->logfile;
	my $import = start_import($node, $path, 'free', "$options, max_workers => 4");
	my $row = wait_import($node, $import);
	is("$row->{status} $row->{success_count}", 'Completed 1000', "free slots: $free; the import completes");
	ledger_holds($node, $import, 'free', "free slots: $free; counts");
	my $workers = $free - 1;
	like(PostgreSQL::Test::Utils::slurp_file($node->logfile, $position), qr/import $import goes on with $workers of 3 workers/,
		"free slots: $free; the log says with how many workers");
	poll($node, "SELECT count(*) = @{[ scalar @holders ]} FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%'",
		'its processes end');
}

# One slot is free, and two imports are to start in one transaction: neither does, and the slot is free again.
my $count = $node->safe_psql('postgres', 'TRUNCATE free; SELECT count(*) FROM uploaded_files');
my $full = qr/no background worker slot is free for import \d+.*HINT:  .*max_worker_processes/s;
my $call = "SELECT ml_import('$path', 'free', $options)";
fails_like($node, "BEGIN; $call; $call; COMMIT", '53400', $full, 'a slot for one of two imports: error at COMMIT');
poll($node, "SELECT count(*) = @{[ scalar @holders ]} FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%'",
	'the leader that had got a slot ends');
is($node->safe_psql('postgres', 'SELECT (SELECT count(*) FROM uploaded_files), (SELECT count(*) FROM free)'), "$count|0",
	'neither is in the ledger, and nothing is loaded');
is(imported($node, $path, 'free', "$options, max_workers => 4")->{status}, 'Completed', 'the slot can be used again');
$count++;
poll($node, "SELECT count(*) = @{[ scalar @holders ]} FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%'",
	'its processes end');

# No slot.
leave_free(0);
$count++;
$node->safe_psql('postgres', 'TRUNCATE free');
fails_like($node, $call, '53400', $full, 'no slot: the statement fails');
fails_like($node, "BEGIN; $call; INSERT INTO free VALUES (0); COMMIT", '53400', $full, 'no slot: COMMIT fails');
is($node->safe_psql('postgres', 'SELECT (SELECT count(*) FROM uploaded_files), (SELECT count(*) FROM free)'), "$count|0",
	'nothing is left behind, neither of the import nor of its transaction');

open_gate($gate);
is(join(' ', map { wait_import($node, $_)->{status} } @holders), join(' ', ('Completed') x @holders), 'the imports that held the slots complete');
processes_gone($node);
is(imported($node, $path, 'free', $options)->{status}, 'Completed', 'with slots free again an import starts');

$node->stop;
done_testing();
