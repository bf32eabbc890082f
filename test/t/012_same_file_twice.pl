# A file that is imported twice at the same time without force is loaded once, in whatever order the calls commit.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use Test::More;

my $node = start_server('main');
my $path = write_file('numbers.csv', numbers(100));
my $copy = write_file('copy.csv', numbers(100));
$node->safe_psql('postgres', 'CREATE TABLE t (id integer, name text)');

for my $case ([ 'same path, first call commits first', $path, 0, 1 ], [ 'same path, second call commits first', $path, 1, 0 ],
	[ 'a copy, first call commits first', $copy, 0, 1 ], [ 'a copy, second call commits first', $copy, 1, 0 ])
{
	my ($name, $second, @order) = @$case;
	$node->safe_psql('postgres', 'TRUNCATE t; DELETE FROM uploaded_files');
	my @sessions = map { $node->background_psql('postgres') } 0 .. 1;
	my @ids = map { $sessions[$_]->query_safe("BEGIN; SELECT ml_import('" . ($_ ? $second : $path) . "', 't')") } 0 .. 1;
	for (@order)
	{
		$sessions[$_]->query_safe('COMMIT');
		wait_import($node, $ids[$_]);
	}
	$_->quit for @sessions;
	is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), 100, "$name: loaded once");
	is($node->safe_psql('postgres', "SELECT status || coalesce(sqlstate, '') FROM uploaded_files WHERE id = $ids[$order[1]]"), 'Failed42710', '... the later one fails');
}

$node->stop;
done_testing();
