# A rule that a trigger enforces by looking at the table: with one process the chunks of an import run one after another, and
# the rule holds as in COPY; chunks at the same time do not see each other. They are READ COMMITTED whatever the default is.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use Test::More;

my $node = start_server('main', "default_transaction_isolation = 'serializable'");
my $path = write_file('numbers.csv', numbers(100));
$node->safe_psql('postgres', q(
	CREATE TABLE t (id integer, name text);
	CREATE TABLE copied (LIKE t);
	CREATE TABLE pairs (LIKE t);
	CREATE FUNCTION at_most() RETURNS trigger LANGUAGE plpgsql AS $$
	DECLARE
		rows integer;
	BEGIN
		EXECUTE format('SELECT count(*) FROM %I', TG_TABLE_NAME) INTO rows;
		IF rows >= TG_ARGV[0]::integer THEN
			RAISE check_violation USING MESSAGE = format('%s already has %s rows', TG_TABLE_NAME, rows);
		END IF;
		NEW.name := current_setting('transaction_isolation');
		RETURN NEW;
	END$$;
	CREATE TRIGGER at_most BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION at_most(25);
	CREATE TRIGGER at_most BEFORE INSERT ON copied FOR EACH ROW EXECUTE FUNCTION at_most(25);
	CREATE TRIGGER at_most BEFORE INSERT ON pairs FOR EACH ROW EXECUTE FUNCTION at_most(1)));

my $row = imported($node, $path, 't', 'chunk_size => 10, min_chunks => 1, max_workers => 1');
is("$row->{status} $row->{success_count} $row->{error_count}", 'Completed with errors 25 75', 'one process: as many rows as the rule allows');
my $loaded = write_file('loaded.csv', "id,name\n" . $node->safe_psql('postgres', "SELECT string_agg(raw, E'\\n' ORDER BY id) FROM (SELECT id, id || ',name ' || id AS raw FROM t) r") . "\n");
$node->safe_psql('postgres', "COPY copied FROM '$loaded' (FORMAT csv, HEADER)");
is($node->safe_psql('postgres', 'SELECT count(*), count(*) FILTER (WHERE id IN (SELECT id FROM copied)) FROM t'), '25|25', '... which COPY loads too');
is($node->safe_psql('postgres', "SELECT string_agg(DISTINCT message, ',') FROM rejected_rows"), 't already has 25 rows', '... and for the others it says why not');
is($node->safe_psql('postgres', 'SELECT string_agg(DISTINCT name, \',\') FROM t'), 'read committed', '... in transactions that are READ COMMITTED');

# Behind the other trigger: each of two chunks has counted when both wait.
add_gate($node, 'pairs', 'true');
$node->safe_psql('postgres', 'ALTER TRIGGER gate ON pairs RENAME TO behind');
my $gate = close_gate($node);
my $id = start_import($node, write_file('pair.csv', numbers(2)), 'pairs', 'chunk_size => 1, min_chunks => 1, max_workers => 2');
wait_at_gate($node, 2);
open_gate($gate);
$row = wait_import($node, $id);
is("$row->{status} $row->{success_count}", 'Completed 2', 'two processes: each chunk keeps to the rule, and both together do not');

$node->stop;
done_testing();
