# The ledger's statements are planned once a process, not once a chunk, and never compiled, whatever the settings of the
# caller make of their cost.
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

$node->safe_psql('postgres', 'CREATE EXTENSION pg_stat_statements; CREATE TABLE rows (a integer)');
my $id = $node->safe_psql('postgres', "SELECT ml_import('$file', 'rows', chunk_size => 2, max_workers => 1)");
is($node->safe_psql('postgres', "SELECT status, success_count FROM ml_wait($id)"), 'Completed|200', 'a hundred chunks');

my $statements = "FROM pg_stat_statements WHERE query LIKE '%process_chunks%' AND query NOT LIKE '%pg_stat_statements%'";
is($node->safe_psql('postgres', "SELECT count(*) > 2 $statements AND calls = 100"), 't', 'some statements run for each of them');
is($node->safe_psql('postgres', "SELECT max(plans) <= 2 $statements AND calls = 100"), 't', '... and are planned once');
is($node->safe_psql('postgres', "SELECT sum(jit_functions) $statements"), '0', '... and none is compiled');

$node->stop;
done_testing();
