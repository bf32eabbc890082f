# New pages of a table, got from the filesystem by either method: the rows are COPY's, and the setting is the server's.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use Test::More;

my $node = start_server('extend', 'movielens_ingest.writer = pages');
my $path = write_file('numbers.csv', numbers(50_000));
$node->safe_psql('postgres', "CREATE TABLE copied (id integer, name text); COPY copied FROM '$path' (FORMAT csv, HEADER); CREATE TABLE t (id integer, name text)");
for my $method ('posix_fallocate', 'write_zeros')
{
	$node->append_conf('postgresql.conf', "movielens_ingest.file_extend_method = $method");
	$node->reload;
	$node->safe_psql('postgres', 'TRUNCATE t');
	poll($node, "SELECT applied FROM pg_file_settings WHERE name = 'movielens_ingest.file_extend_method' AND setting = '$method'", 'the server has read the setting');
	my $id = start_import($node, $path, 't', 'force => true, max_workers => 2');
	is(wait_import($node, $id)->{status}, 'Completed', "$method: an import completes");
	is($node->safe_psql('postgres', '(TABLE t EXCEPT ALL TABLE copied) UNION ALL (TABLE copied EXCEPT ALL TABLE t)'), '', "$method: its rows are COPY's");
}
fails_like($node, "LOAD 'movielens_ingest'; SET movielens_ingest.file_extend_method = posix_fallocate", '55P02', qr/cannot be changed now/, 'a session does not change it');
$node->stop;
done_testing();
