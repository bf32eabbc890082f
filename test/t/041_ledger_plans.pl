# What a chunk costs besides its rows: the ledger's statements are planned once a process, not once a chunk, and never
# compiled, whatever the settings of the caller make of their cost; and there is one commit a chunk, not two.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ImportTest;
use Test::More;

my $node = start_server(
	'plans',
	"shared_preload_libraries = 'pg_stat_statements'",
	"pg_stat_statements.track = 'all'",
	'pg_stat_statements.track_planning = on',
	'jit_above_cost = 0');
my $file = write_file('rows.csv', "a\n" . join('', map { "$_\n" } 1 .. 200));

$node->safe_psql('postgres', 'CREATE EXTENSION pg_stat_statements; CREATE EXTENSION pg_walinspect; CREATE TABLE rows (a integer)');
my $from = $node->safe_psql('postgres', 'SELECT pg_current_wal_flush_lsn()');
my $id = $node->safe_psql('postgres', "SELECT ml_import('$file', 'rows', chunk_size => 2, max_workers => 1)");
is($node->safe_psql('postgres', "SELECT status, success_count FROM ml_wait($id)"), 'Completed|200', 'a hundred chunks');

my $statements = "FROM pg_stat_statements WHERE query LIKE '%process_chunks%' AND query NOT LIKE '%pg_stat_statements%'";
is($node->safe_psql('postgres', "SELECT count(*) > 2 $statements AND calls = 100"), 't', 'some statements run for each of them');
is($node->safe_psql('postgres', "SELECT max(plans) <= 2 $statements AND calls = 100"), 't', '... and are planned once');
is($node->safe_psql('postgres', "SELECT sum(jit_functions) $statements"), '0', '... and none is compiled');

my $commits = $node->safe_psql('postgres', "SELECT count(*) FROM pg_get_wal_records_info('$from', pg_current_wal_flush_lsn()) WHERE resource_manager = 'Transaction' AND record_type = 'COMMIT'");
cmp_ok($commits, '>=', 100, 'each chunk is a transaction');
cmp_ok($commits, '<=', 140, '... which counts the attempt at the next one too');
is($node->safe_psql('postgres', "SELECT min(attempts), max(attempts), max(crashes) FROM process_chunks WHERE uploaded_file_id = $id"), '1|1|0', '... once');

# The next chunk's attempt is counted when this one's rows are in, and not before.
my $gate = close_gate($node);
$node->safe_psql('postgres', 'CREATE TABLE gated (a integer CHECK (a <> 99 OR pg_advisory_xact_lock_shared(1) IS NOT NULL))');
$id = $node->safe_psql('postgres', "SELECT ml_import('$file', 'gated', chunk_size => 2, max_workers => 1)");
wait_at_gate($node, 1);
is($node->safe_psql('postgres', "SELECT status, attempts, crashes, count(*), min(chunk_number), max(chunk_number) FROM process_chunks WHERE uploaded_file_id = $id GROUP BY 1, 2, 3 ORDER BY 5"),
	"Completed|1|0|49|1|49\nPending|1|1|1|50|50\nPending|0|0|50|51|100", 'of the chunks that are left, the one in hand has been tried');
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', "SELECT attempts, crashes, count(*), min(chunk_number) FROM process_chunks WHERE uploaded_file_id = $id AND status = 'Pending' GROUP BY 1, 2 ORDER BY 4"),
	"1|1|1|50\n0|0|50|51", '... and a crash is charged to it alone');
undef $gate;
$node->safe_psql('postgres', "SELECT ml_resume($id)");
is($node->safe_psql('postgres', "SELECT status, success_count FROM ml_wait($id)"), 'Completed|200', '... and the rest is loaded');

$node->stop;
done_testing();
