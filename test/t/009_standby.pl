# A standby refuses an import, and a read-only transaction too, but not a validation; it shows the ledger and answers
# ml_wait for imports that have ended. Once promoted it imports.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', "max_worker_processes = 8\nshared_buffers = 16MB");
$primary->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION movielens_ingest; CREATE TABLE t (id integer, name text)');
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

my $path = write_file('numbers.csv', numbers(1000));
my $call = "SELECT ml_import('$path', 't', force => true)";
my $done = imported($primary, $path, 't');
is("$done->{status} $done->{success_count}", 'Completed 1000', 'the primary imports');
add_gate($primary, 't');
my $gate = close_gate($primary);
my $running = start_import($primary, $path, 't', 'chunk_size => 100, max_workers => 2, force => true');
wait_at_gate($primary, 2);
$primary->wait_for_catchup($standby);

is($standby->safe_psql('postgres', 'SELECT count(*), (SELECT count(*) FROM t) FROM uploaded_files'), '2|1000', 'the standby has the ledger and the rows');
is($standby->safe_psql('postgres', "SELECT status, success_count FROM ml_wait($done->{id})"), 'Completed|1000', 'ml_wait there returns an import that has ended');
fails_like($standby, "SELECT ml_wait($running + 1)", '42704', qr/import @{[ $running + 1 ]} does not exist/, '... and knows no unknown one');
fails_like($standby, "SELECT ml_wait($running)", '55000', qr/cannot wait for import $running during recovery/, '... and does not wait for one that runs elsewhere');
fails_like($standby, $call, '25006', qr/cannot execute ml_import\(\) during recovery/, 'ml_import is refused there');

my $bad = write_file('bad.csv', "id,name\n1,a\nx,b\n");
my $validate = "SELECT row_number, sqlstate FROM ml_validate('$bad', 't', max_workers => 4)";
is($standby->safe_psql('postgres', $validate), '2|22P02', 'ml_validate works there');
is($primary->safe_psql('postgres', "BEGIN READ ONLY; $validate; COMMIT"), '2|22P02', '... and in a read-only transaction');

for my $begin ('BEGIN READ ONLY', 'SET default_transaction_read_only = on', 'BEGIN; SET TRANSACTION READ ONLY')
{
	fails_like($primary, "$begin; $call", '25006', qr/cannot execute ml_import\(\) in a read-only transaction/, "$begin: refused on the primary");
}
is($primary->safe_psql('postgres', "BEGIN READ ONLY; SELECT status FROM ml_wait($done->{id}); COMMIT"), 'Completed', 'ml_wait works in a read-only transaction');
is($primary->safe_psql('postgres', 'SELECT count(*) FROM uploaded_files'), 2, 'no row is left of what was refused');

# An import that is read-only by default of its session, but not in its transaction.
open_gate($gate);
is(wait_import($primary, $running)->{status}, 'Completed', 'the import on the primary goes on');
my $id = $primary->safe_psql('postgres', "SET default_transaction_read_only = on; SET default_transaction_isolation = serializable; BEGIN READ WRITE; $call; COMMIT");
is(wait_import($primary, $id)->{status}, 'Completed', 'a session that is read-only by default can import in a transaction that is not');

$primary->wait_for_catchup($standby);
is($standby->safe_psql('postgres', "SELECT status FROM ml_wait($running)"), 'Completed', 'the standby sees the end');
$gate = close_gate($primary);
$running = start_import($primary, $path, 't', 'chunk_size => 100, max_workers => 2, force => true');
wait_at_gate($primary, 2);
$primary->wait_for_catchup($standby);
$primary->stop('immediate');
$gate->{run}->finish;
$standby->promote;
fails_like($standby, "SELECT ml_wait($running)", '55000', qr/import $running was interrupted/, 'promoted: an import that ran on the old primary was interrupted');
my $before = $standby->safe_psql('postgres', 'SELECT count(*) FROM t');
my $row = imported($standby, $path, 't', 'force => true');
is("$row->{status} $row->{success_count}", 'Completed 1000', '... and an import runs');
cmp_ok($row->{id}, '>', $running, '... with a fresh id');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM t') - $before, 1000, '... and its rows are in');

$standby->stop;
done_testing();
