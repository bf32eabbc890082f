# A file that the planner reads in several steps: its chunks are handed out while it goes on, workers are started as
# chunks appear, and a copy of it is refused before a single row is loaded twice.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../t/lib";
use ImportTest;
use Test::More;

my $node = start_server('main', 'max_wal_size = 4GB', 'shared_buffers = 256MB');
my $path = write_file('large.csv', '');
(my $copy = $path) =~ s/large\.csv$/copy.csv/;
$node->safe_psql('postgres', qq(
	CREATE TABLE large (a bigint, b text); CREATE TABLE copied (LIKE large);
	COPY (SELECT g AS a, 'text with "quotes" and, a comma ' || g AS b FROM generate_series(1, 2500000) g) TO '$path' (FORMAT csv, HEADER);
	COPY copied FROM '$path' (FORMAT csv, HEADER)));
cmp_ok(-s $path, '>', 100 * 1024 * 1024, 'the file takes more than one step of 64 MB');

my $same = 'SELECT (SELECT count(*) FROM (TABLE large EXCEPT ALL TABLE copied) x) + (SELECT count(*) FROM (TABLE copied EXCEPT ALL TABLE large) x)';

# Each of the first steps yields one chunk: workers have to be started in later ones too.
my $id = start_import($node, $path, 'large', 'chunk_size => 800000, min_chunks => 1, max_workers => 3');
poll($node, "SELECT count(*) = 2 FROM pg_stat_activity WHERE backend_type = 'movielens_ingest worker'", 'two workers load beside the leader');
my $row = wait_import($node, $id);
is("$row->{status} $row->{success_count}", 'Completed 2500000', 'large chunks');
is($node->safe_psql('postgres', $same), '0', '... as by COPY');
ledger_holds($node, $id, 'large', '... and in the ledger');

$node->safe_psql('postgres', 'TRUNCATE large');
$id = start_import($node, $path, 'large', 'force => true');
$row = wait_import($node, $id);
is("$row->{status} $row->{success_count} " . scalar(chunk_list($node, $id)), 'Completed 2500000 84', 'chunks of 30,000 records');
is($node->safe_psql('postgres', $same), '0', '... as by COPY');
ledger_holds($node, $id, 'large', '... and in the ledger');

system('cp', $path, $copy) == 0 or die;
$row = imported($node, $copy, 'large');
is("$row->{status} $row->{sqlstate} $row->{success_count} $row->{row_count}", 'Failed 42710 0 2500000', 'a copy of the file is refused');
is($node->safe_psql('postgres', 'SELECT count(*) FROM large'), '2500000', '... with nothing loaded');

$node->stop;
done_testing();
