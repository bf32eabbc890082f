# Few worker slots: fewer workers, down to the leader alone. None at all: the import is Queued while another one of its
# database is alive, and starts when a slot comes free; else there is an error at commit that names max_worker_processes
# and leaves nothing behind. max_workers is the number of processes that load, the leader counted.
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


# Statuses and phases of imports.
sub states
{
	my $ids = join(', ', @_);
	return $node->safe_psql('postgres', "SELECT string_agg(concat_ws(' ', f.status, p.phase), ', ' ORDER BY f.id)
		FROM uploaded_files f LEFT JOIN ml_progress p USING (id) WHERE f.id IN ($ids)");
}

# One slot is free, and two imports start in one transaction: the second is queued.
my $held = "SELECT ml_import('$holder', 'held', force => true, max_workers => 1)";
my @pair = split(/\n/, $node->safe_psql('postgres', "BEGIN; $held; $held; COMMIT"));
wait_at_gate($node, $slots);
is(states(@pair), 'Processing loading, Queued queued', 'a slot for one of two imports: the first runs, the second is queued');

# No slot, while others run: queued, alone or with the rest of a transaction.
$node->safe_psql('postgres', 'TRUNCATE free');
my $call = "SELECT ml_import('$path', 'free', $options, max_workers => 4)";
my @queued = ($node->safe_psql('postgres', $call), $node->safe_psql('postgres', "BEGIN; INSERT INTO free VALUES (0); $call; COMMIT"));
is(states(@queued), 'Queued queued, Queued queued', 'no slot, other imports run: queued');
is($node->safe_psql('postgres', "SELECT count(*) FROM free; SELECT count(*) FROM process_chunks WHERE uploaded_file_id IN ($queued[0], $queued[1])"),
	"1\n0", '... not begun; what else the transaction did is there');
is($node->safe_psql('postgres', "BEGIN; $held; ROLLBACK; SELECT count(*) FROM uploaded_files WHERE status = 'Queued'"),
	($queued[1] + 1) . "\n3", '... but not what is rolled back');

# No slot, and no import of this database is alive: its imports do not wait for those of another one.
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION movielens_ingest; CREATE TABLE free (id integer, name text)');
my $full = qr/no background worker slot is free for import \d+.*HINT:  .*max_worker_processes/s;
fails_like($node, $call, '53400', $full, 'no slot, no import alive: the statement fails', dbname => 'other');
fails_like($node, "BEGIN; INSERT INTO free VALUES (0); $call; COMMIT", '53400', $full, '... and COMMIT', dbname => 'other');
fails_like($node, "BEGIN; $call; $call; COMMIT", '53400', $full, '... of two imports too', dbname => 'other');
my $nothing = "SELECT (SELECT count(*) FROM uploaded_files), (SELECT count(*) FROM process_chunks), (SELECT count(*) FROM free),
	(SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
	  WHERE datname = current_database() AND locktype IN ('object', 'advisory')),
	(SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%' AND datname = current_database())";
is($node->safe_psql('other', $nothing), '0|0|0|0|0', 'nothing is left behind, neither of the import nor of its transaction');
is(states(@queued), 'Queued queued, Queued queued', '... and the queue is as it was');

open_gate($gate);
is(join(' ', map { wait_import($node, $_)->{status} } @holders, @pair, @queued), join(' ', ('Completed') x ($slots + 3)),
	'slots come free: those that held them complete, and those that were queued');
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id) FROM free'), '2001|1001', '... with all their rows');
processes_gone($node);
is(json_row($node, "SELECT * FROM ml_wait(" . $node->safe_psql('other', $call) . ")", 'other')->{status}, 'Completed',
	'with slots free again an import of the other database starts');
processes_gone($node);

# What takes the slots need not be an import: the server has one, for the launcher of logical replication, or none at all.
for my $settings ('max_worker_processes = 1 max_logical_replication_workers = 1', 'max_worker_processes = 0 max_logical_replication_workers = 0')
{
	$node->append_conf('postgresql.conf', join("\n", split(/(?<=\d) /, $settings)));
	$node->restart;
	poll($node, "SELECT count(*) = current_setting('max_worker_processes')::integer FROM pg_stat_activity
		WHERE backend_type = 'logical replication launcher'", 'the launcher of logical replication has the slot');
	$node->safe_psql('other', 'TRUNCATE free; TRUNCATE uploaded_files CASCADE');
	fails_like($node, $call, '53400', $full, "$settings: the statement fails", dbname => 'other');
	is($node->safe_psql('other', $nothing), '0|0|0|0|0', '... and nothing is left behind');
}

$node->stop;
done_testing();
