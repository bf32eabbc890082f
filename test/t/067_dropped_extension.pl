# DROP EXTENSION while imports run: their processes end, and a new ledger is not in their way.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use Test::More;

my $node = start_server('dropped', "movielens_ingest.retry_delay = '10ms'");
my $path = write_file('numbers.csv', numbers(200));

$node->safe_psql('postgres', 'CREATE TABLE t (id integer, name text)');
add_gate($node, 't');
for my $workers (1, 3)
{
	my $gate = close_gate($node);
	my $id = start_import($node, $path, 't', "chunk_size => 10, max_workers => $workers, force => true");
	wait_at_gate($node, $workers);
	my $dropper = $node->background_psql('postgres');
	$dropper->query_until(qr/dropping/, "\\echo dropping\nDROP EXTENSION movielens_ingest;\n");
	poll($node, "SELECT count(*) > 0 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted", 'the ledger is about to go');
	# The first thing that its leader does then is to look at the queue.
	poll($node, "SELECT now() - max(xact_start) > '2 s' FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader'", 'chunks take long');
	open_gate($gate);
	$dropper->quit;
	poll($node, "SELECT count(*) = 0 FROM pg_extension WHERE extname = 'movielens_ingest'", 'the extension is dropped');
	$node->safe_psql('postgres', 'CREATE EXTENSION movielens_ingest');
	processes_gone($node);
	$node->safe_psql('postgres', 'TRUNCATE t');
	is(wait_import($node, start_import($node, $path, 't'))->{status}, 'Completed', "$workers processes have ended, and the new ledger has an import");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), 200, '... with every record once');
}

done_testing();
