# A leader whose user code does not return looks at no queue. What is queued begins all the same when it may, though no other
# leader of the database is there then: a process that loads nothing sees to it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use Test::More;

my $node = start_server('stuck', 'max_logical_replication_workers = 0');
my $path = write_file('numbers.csv', numbers(3));
my $waiting = "query = 'movielens_ingest: waiting until a queued import may begin'";

$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION movielens_ingest');
$node->safe_psql('postgres', "CREATE ROLE $_ LOGIN; GRANT pg_read_server_files TO $_") for 'ann', 'bob', 'mallory';
$node->safe_psql('postgres', 'ALTER ROLE ann SET movielens_ingest.max_processes_per_role = 1');
for my $database ('postgres', 'other')
{
	$node->safe_psql($database, "CREATE TABLE $_ (id integer, name text); ALTER TABLE $_ OWNER TO $_") for 'ann', 'bob', 'mallory';
}
add_gate($node, 'mallory');
add_gate($node, 'bob');
$node->safe_psql('other', q(
	CREATE FUNCTION stay() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM pg_advisory_xact_lock_shared(1);
		RETURN NEW;
	END $$;
	CREATE TRIGGER stay BEFORE INSERT ON ann FOR EACH ROW EXECUTE FUNCTION stay()));

sub import_of { my ($role, $database) = @_; return $node->safe_psql($database, "SELECT ml_import('$path', '$role', max_workers => 1, force => true)", extra_params => [ '-U', $role ]) }
sub status { return $node->safe_psql('postgres', "SELECT status FROM uploaded_files WHERE id = $_[0]") }

my $gate = close_gate($node);
my $stuck = import_of('mallory', 'postgres');
wait_at_gate($node, 1);

# Ann has her process in another database.
my $elsewhere = $node->background_psql('other');
$elsewhere->query_safe('SELECT pg_advisory_lock(1)');
my $first = import_of('ann', 'other');
poll($node, "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = 'other')", 'it loads', 'other');
my $second = import_of('ann', 'postgres');
is(status($second), 'Queued', 'the role has no process more');
poll($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = 'postgres' AND $waiting", 'a process looks at the queue');
my $third = import_of('ann', 'postgres');
$elsewhere->quit;
is(json_row($node, "SELECT * FROM ml_wait($first)", 'other')->{status}, 'Completed', 'it has one again');
is(wait_import($node, $_)->{status}, 'Completed', 'what was queued behind a leader in user code begins') for $second, $third;
is(status($stuck), 'Processing', '... which is there still');
poll($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE $waiting", 'nobody looks at an empty queue');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest %'"), 1, '... and no process is left but the one that loads');
open_gate($gate);
is(wait_import($node, $stuck)->{status}, 'Completed', 'the leader in user code goes on');
processes_gone($node);

# Who waits is shown by the process that looks at the queue, so that roles with more processes leave one to it. A leader does
# not show it beside that: in user code it would do so for ever.
$node->append_conf('postgresql.conf', 'movielens_ingest.max_processes = 3');
$node->reload;
$node->safe_psql('postgres', q(
	ALTER ROLE ann RESET ALL;
	CREATE TABLE slow (id integer, name text);
	GRANT INSERT ON slow TO mallory;
	CREATE FUNCTION take_time() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.01); RETURN NEW; END $$;
	CREATE TRIGGER take_time BEFORE INSERT ON slow FOR EACH ROW EXECUTE FUNCTION take_time()));
my $long = write_file('long.csv', numbers(100000));
my $looks = $node->safe_psql('postgres', "SELECT ml_import('$long', 'slow', max_workers => 1, chunk_size => 1)", extra_params => [ '-U', 'mallory' ]);
$gate = close_gate($node);
my $two = $node->safe_psql('postgres', "SELECT ml_import('$path', 'bob', max_workers => 2, force => true)", extra_params => [ '-U', 'bob' ]);
wait_at_gate($node, 2);
my $waits = import_of('ann', 'postgres');
is(status($waits), 'Queued', 'all processes are taken');
my $shown = "FROM pg_locks WHERE locktype = 'object' AND database = 0 AND objid = 'ann'::regrole AND objsubid = -1";
poll($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE $waiting AND pid IN (SELECT pid $shown)", 'who looks at the queue shows who waits');
for my $look (1, 2)
{
	my $count = $node->safe_psql('postgres', "SELECT success_count FROM uploaded_files WHERE id = $looks");
	poll($node, "SELECT success_count > $count FROM uploaded_files WHERE id = $looks", 'a leader looks around');
}
is($node->safe_psql('postgres', "SELECT count(DISTINCT pid) $shown"), 1, '... and a leader that looks too does not');
$node->safe_psql('postgres', "SELECT ml_cancel($looks)");
open_gate($gate);
is(wait_import($node, $_)->{status}, 'Completed', 'the others complete') for $two, $waits;
processes_gone($node);

done_testing();
