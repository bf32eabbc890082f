# Tables of Citus, where its library is installed: distributed over the shards of two servers, whole on each of them, in one
# shard, partitioned, or local but made Citus' own by a foreign key. COPY, which Citus takes over, is the oracle.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

chomp(my $libraries = `pg_config --pkglibdir`);
plan skip_all => 'Citus is not installed' if !-e "$libraries/citus.so";

my @citus = ("shared_preload_libraries = 'citus'", 'max_prepared_transactions = 50', "citus.node_conninfo = 'sslmode=disable'", "citus.recover_2pc_interval = '1s'");
my $worker = PostgreSQL::Test::Cluster->new('worker');
$worker->init;
$worker->append_conf('postgresql.conf', join("\n", @citus));
$worker->start;
$worker->safe_psql('postgres', 'CREATE EXTENSION citus');
my $node = start_server('coordinator', @citus);
$node->safe_psql('postgres', 'CREATE EXTENSION citus; ' . join('; ', map { sprintf('SELECT %s(%s, %d)', $_->[0], "'" . $_->[1]->host . "'", $_->[1]->port) } [ 'citus_set_coordinator_host', $node ], [ 'citus_add_node', $worker ])
	. q(; SELECT citus_set_node_property(nodename, nodeport, 'shouldhaveshards', true) FROM pg_dist_node));

my $columns = q(id integer PRIMARY KEY, name text CHECK (name <> 'bad'), n integer NOT NULL);
my %tables = (
	distributed => "CREATE TABLE distributed ($columns); SELECT create_distributed_table('distributed', 'id', shard_count => 4)",
	reference => "CREATE TABLE reference ($columns); SELECT create_reference_table('reference')",
	one_shard => "CREATE TABLE one_shard ($columns); SELECT create_distributed_table('one_shard', NULL, colocate_with => 'none')",
	partitioned => "CREATE TABLE partitioned ($columns) PARTITION BY RANGE (id); CREATE TABLE low PARTITION OF partitioned FOR VALUES FROM (0) TO (700);
		CREATE TABLE high PARTITION OF partitioned FOR VALUES FROM (700) TO (10000); SELECT create_distributed_table('partitioned', 'id', shard_count => 4)",
	made_local => "CREATE TABLE numbers (n integer PRIMARY KEY); SELECT create_reference_table('numbers'); INSERT INTO numbers SELECT generate_series(1, 10000);
		CREATE TABLE made_local ($columns, FOREIGN KEY (n) REFERENCES numbers)");

# One of each kind of record that is refused, by the coordinator or by a shard.
my @records = map { "$_,name $_,$_" } 1 .. 3000;
@records[ 9, 1009, 2009 ] = ('x,a,1', '1010,bad,1', '2010,a,');
$records[2999] = '1,twice,1';
my $broken = write_file('broken.csv', join("\n", 'id,name,n', @records, ''));
my $clean = write_file('clean.csv', join("\n", 'id,name,n', @records[ grep { $_ % 1000 != 9 && $_ != 2999 } 0 .. $#records ], ''));

# But for key 1, which two records have: which of them is in is not defined.
sub all_rows { my ($table) = @_; return $node->safe_psql('postgres', "SELECT md5(string_agg(t::text, ' ' ORDER BY id)), count(*) FROM $table t WHERE id <> 1") }

for my $table (sort keys %tables)
{
	$node->safe_psql('postgres', $tables{$table});
	my (undef, undef, $messages) = $node->psql('postgres', "BEGIN; SET LOCAL client_min_messages = debug1; SELECT FROM ml_import('$broken', '$table'); ROLLBACK");
	like($messages, qr/table "$table" is written by spi: its INSERT is planned as custom scan "Citus Adaptive"/, "$table: it goes through Citus");
	my $id = start_import($node, $broken, $table, 'chunk_size => 1300, min_chunks => 1, max_workers => 2');
	my $import = wait_import($node, $id);
	is("$import->{status} $import->{success_count} $import->{error_count}", 'Completed with errors 2996 4', '... it is loaded') or diag($import->{error});
	my ($rejects) = $node->safe_psql('postgres', "SELECT string_agg(row_number || ' ' || sqlstate, ', ' ORDER BY row_number) FROM rejected_rows WHERE uploaded_file_id = $id AND row_number BETWEEN 2 AND 2999");
	is($rejects, '10 22P02, 1010 23514, 2010 23502', '... the records at fault are refused, with their SQLSTATEs');
	ledger_holds($node, $id, $table, '... the ledger and the shards agree');
	my $imported = all_rows($table);
	$node->safe_psql('postgres', "DELETE FROM $table; COPY $table FROM '$clean' (FORMAT csv, HEADER)");
	is($imported, all_rows($table), '... COPY leaves the same rows');
	is($node->safe_psql('postgres', "SELECT pg_relation_size('$table') + coalesce(sum(pg_relation_size(relid)), 0) FROM pg_partition_tree('$table')"), 0, '... and what is on the coordinator under that name is empty');
}

# --- EXCEPT ALL, without collisions ---

$node->safe_psql('postgres', "CREATE TABLE copied ($columns); SELECT create_distributed_table('copied', 'id'); COPY copied FROM '$clean' (FORMAT csv, HEADER); TRUNCATE distributed");
is(imported($node, $clean, 'distributed', 'chunk_size => 500, min_chunks => 1')->{status}, 'Completed', 'a clean file');
is($node->safe_psql('postgres', 'SELECT count(*) FROM ((TABLE distributed EXCEPT ALL TABLE copied) UNION ALL (TABLE copied EXCEPT ALL TABLE distributed)) d'), 0, '... has the rows that COPY has');

# --- what Citus cannot do, it says ---

$node->safe_psql('postgres', "CREATE UNLOGGED TABLE lost ($columns); SELECT create_distributed_table('lost', 'id')");
fails_like($node, "SELECT ml_import('$clean', 'lost')", '0A000', qr/cannot be loaded exactly once into unlogged table/, 'an unlogged distributed table is refused');

# --- the other server goes away in the middle, and comes back ---

$node->safe_psql('postgres', 'TRUNCATE distributed');
my $id = start_import($node, $clean, 'distributed', 'chunk_size => 100, min_chunks => 1, max_workers => 2, force => true');
poll($node, "SELECT count(*) > 2 FROM process_chunks WHERE uploaded_file_id = $id AND status = 'Completed'", 'some chunks are in');
$worker->stop('immediate');
$worker->start;
my $import = wait_import($node, $id);
if ($import->{status} eq 'Failed')
{
	note "import failed: $import->{error}";
	$node->safe_psql('postgres', "SELECT ml_resume($id)");
	$import = wait_import($node, $id);
}
is($import->{status}, 'Completed', 'a worker that crashed: the import completes') or diag($import->{error});
poll($worker, 'SELECT count(*) = 0 FROM pg_prepared_xacts', 'prepared transactions are settled');
is($node->safe_psql('postgres', 'SELECT count(*) FROM ((TABLE distributed EXCEPT ALL TABLE copied) UNION ALL (TABLE copied EXCEPT ALL TABLE distributed)) d'), 0, '... each record once');

# --- so does the coordinator ---

$node->safe_psql('postgres', 'TRUNCATE distributed');
$id = start_import($node, $clean, 'distributed', 'chunk_size => 100, min_chunks => 1, max_workers => 2, force => true');
poll($node, "SELECT count(*) > 2 FROM process_chunks WHERE uploaded_file_id = $id AND status = 'Completed'", 'some chunks are in');
$node->stop('immediate');
$node->start;
$node->safe_psql('postgres', "SELECT ml_resume($id)");
is(wait_import($node, $id)->{status}, 'Completed', 'a coordinator that crashed: the import goes on');
poll($worker, 'SELECT count(*) = 0 FROM pg_prepared_xacts', 'prepared transactions are settled');
is($node->safe_psql('postgres', 'SELECT count(*) FROM ((TABLE distributed EXCEPT ALL TABLE copied) UNION ALL (TABLE copied EXCEPT ALL TABLE distributed)) d'), 0, '... each record once');

$node->stop;
$worker->stop;
done_testing();
