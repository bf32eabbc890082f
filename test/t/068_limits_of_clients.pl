# Before the library is loaded, nobody knows that a role may not set its limits. It cannot get around them then either.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use Test::More;

my $node = start_server('limits', 'movielens_ingest.max_processes = 2');
my $limit = 'movielens_ingest.max_processes_per_role';

$node->safe_psql('postgres', "CREATE ROLE ann LOGIN; GRANT pg_read_server_files TO ann; ALTER ROLE ann SET $limit = 1");
my $connection = $node->connstr('postgres') . ' user=ann';
my $load = 'SELECT count(*) FROM ml_progress';

is($node->safe_psql('postgres', "SET $limit = 50; $load; SHOW $limit", extra_params => [ '-U', 'ann' ]), "0\n1", 'set before the library is loaded: the limit is that of the role');
is($node->safe_psql('postgres', "SET movielens_ingest.max_processes = 50; $load; SHOW movielens_ingest.max_processes", extra_params => [ '-U', 'ann' ]), "0\n2", '... and that of the server');
for my $name ($limit, 'movielens_ingest.max_processes')
{
	fails_like($node, $load, '42501', qr/permission denied to set parameter "\Q$name\E"/, "$name as an option of the connection", connstr => "$connection options='-c $name=50'");
	fails_like($node, "RESET ALL; $load", '42501', qr/permission denied to set parameter "\Q$name\E"/, '... which RESET does not take away', connstr => "$connection options='-c $name=50'");
}
is($node->safe_psql('postgres', "$load; SHOW $limit", connstr => $node->connstr('postgres') . " options='-c $limit=5'"), "0\n5", 'a superuser may set it so');

done_testing();
