# User code that gives up all advisory locks does not make a running import look interrupted.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use Test::More;

my $node = start_server('main');
my $path = write_file('numbers.csv', numbers(30));
$node->safe_psql('postgres', q(
	CREATE TABLE t (id integer, name text);
	CREATE FUNCTION a_unlock() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_unlock_all(); RETURN NEW; END';
	CREATE TRIGGER a_unlock BEFORE INSERT ON t FOR EACH ROW WHEN (NEW.id = 5) EXECUTE FUNCTION a_unlock()));
add_gate($node, 't', 'NEW.id = 7');
my $gate = close_gate($node);
my $id = start_import($node, $path, 't', 'chunk_size => 10, min_chunks => 1, max_workers => 1');
wait_at_gate($node, 1);
is($node->safe_psql('postgres', "SELECT status FROM ml_wait($id, '10 ms')"), 'Processing', 'the import runs, and is not taken for interrupted');
open_gate($gate);
is(wait_import($node, $id)->{status}, 'Completed', 'it completes');
$node->stop;
done_testing();
