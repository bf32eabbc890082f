# Statistics of a large import are gathered once, while workers still load the last tenth: they are those of the table all
# the same.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use ImportTest;
use Test::More;

my $rows = 20_000;
my $node = start_server('analyze');
my $file = write_file('many.csv', "a,b\n" . join('', map { "$_," . $_ % 7 . "\n" } 1 .. $rows));

for my $workers (1, 3)
{
	$node->safe_psql('postgres', "CREATE TABLE many$workers (a integer, b integer)");
	my $id = $node->safe_psql('postgres',
		"SELECT ml_import('$file', 'many$workers', chunk_size => 100, max_workers => $workers)");
	is($node->safe_psql('postgres', "SELECT status, success_count FROM ml_wait($id)"),
		"Completed|$rows", "200 chunks are loaded by $workers");
	is($node->safe_psql('postgres', "SELECT analyze_count FROM pg_stat_user_tables WHERE relname = 'many$workers'"),
		'1', '... and the table has been analyzed once');
	is($node->safe_psql('postgres', "SELECT n_distinct FROM pg_stats WHERE tablename = 'many$workers' AND attname = 'b'"),
		'7', '... with all its columns');
	my ($estimate) = $node->safe_psql('postgres', "EXPLAIN SELECT FROM many$workers") =~ /rows=(\d+)/;
	cmp_ok(abs($estimate - $rows), '<=', $rows / 5, "... and is known to have some $rows rows");
}

$node->stop;
done_testing();
