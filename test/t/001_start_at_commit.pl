# An import starts when its transaction commits, and only then: not after ROLLBACK, an error, ROLLBACK TO SAVEPOINT, a
# caught exception, PREPARE TRANSACTION, or a commit that fails after its leader was registered. And a chunk that
# another session holds and loads is not loaded a second time.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use Test::More;

# With debug1 the postmaster's log names every background worker that is registered.
my $node = start_server('main', 'max_prepared_transactions = 2', 'log_min_messages = debug1');
my $path = write_file('numbers.csv', numbers(100));
my $call = "ml_import('$path', 't', force => true)";
$node->safe_psql('postgres', 'CREATE TABLE t (id integer, name text)');

my @started;

sub nothing_left
{
	my ($name) = @_;
	my $left = $node->safe_psql('postgres', qq(
		SELECT (SELECT count(*) FROM uploaded_files) - @{[ scalar @started ]},
		       (SELECT count(*) FROM t) - @{[ 100 * @started ]},
		       (SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%'
		           AND NOT EXISTS (SELECT FROM uploaded_files WHERE status = 'Processing'))));
	is($left, '0|0|0', $name);
}

sub not_started
{
	my ($name, $sql) = @_;
	$node->psql('postgres', $sql, on_error_stop => 0);
	nothing_left("nothing runs: $name");
}

# $sql prints the ids.
sub started
{
	my ($name, $count, $sql) = @_;
	my @ids = grep { $_ ne '' } split(/\n/, $node->safe_psql('postgres', $sql));
	is(join(' ', map { wait_import($node, $_)->{status} } @ids), join(' ', ('Completed') x $count), "starts: $name");
	push @started, @ids;
	processes_gone($node);
	nothing_left("as many as committed: $name");
}

not_started('ROLLBACK', "BEGIN; SELECT $call; ROLLBACK");
not_started('error later in the transaction', "BEGIN; SELECT $call; SELECT 1/0; COMMIT");
not_started('error in the same statement', "SELECT 1 / (0 * $call)");
not_started('ROLLBACK TO SAVEPOINT', "BEGIN; SAVEPOINT a; SELECT $call; ROLLBACK TO SAVEPOINT a; COMMIT");
not_started('inner savepoint released, outer one rolled back',
	"BEGIN; SAVEPOINT a; SAVEPOINT b; SELECT $call; RELEASE b; ROLLBACK TO a; COMMIT");
not_started('caught exception', qq(DO \$\$BEGIN
	BEGIN PERFORM $call; RAISE EXCEPTION 'no'; EXCEPTION WHEN raise_exception THEN NULL; END;
	END\$\$));
not_started('deferred constraint fails at commit', qq(
	CREATE TABLE deferred (id integer UNIQUE DEFERRABLE INITIALLY DEFERRED);
	BEGIN; SELECT $call; INSERT INTO deferred VALUES (1), (1); COMMIT));
not_started('session ends in the transaction', "BEGIN; SELECT $call;");

fails_like($node, "BEGIN; SELECT $call; PREPARE TRANSACTION 'p'", '0A000', qr/cannot PREPARE a transaction that has started an import/,
	'PREPARE TRANSACTION is refused');
nothing_left('nothing runs: PREPARE TRANSACTION');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'), '0', 'nothing is left prepared');

# Serializable transactions that each read what the other writes: the second to commit fails, behind the pre-commit
# callback that has registered its leader.
$node->safe_psql('postgres', 'CREATE TABLE skew (side integer); INSERT INTO skew VALUES (1), (2)');
my $other = $node->background_psql('postgres');
my $late = $node->background_psql('postgres', on_error_stop => 0);
$_->query_safe('BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM skew') for $other, $late;
$late->query_safe("SELECT $call");
$other->query_safe('INSERT INTO skew VALUES (3)');
$late->query_safe('INSERT INTO skew VALUES (4)');
$other->query_safe('COMMIT');
$late->query('COMMIT');
like($late->{stderr}, qr/could not serialize access/, 'a commit fails after its leader was registered');
$late->{stderr} = '';
$_->quit for $other, $late;
processes_gone($node);
nothing_left('nothing runs: commit that fails');

started('autocommit', 1, "SELECT $call");
started('transaction', 1, "BEGIN; SELECT $call; COMMIT");
started('released savepoint', 1, "BEGIN; SAVEPOINT a; SELECT $call; RELEASE a; COMMIT");
started('three calls, one of them rolled back', 2,
	"BEGIN; SELECT $call; SAVEPOINT a; DO \$\$BEGIN PERFORM $call; END\$\$; ROLLBACK TO a; SELECT $call; COMMIT");
started('three rows of one statement', 3, "SELECT $call FROM generate_series(1, 3)");
started('block with EXCEPTION that meets none', 1, qq(
	CREATE FUNCTION import_in_block() RETURNS bigint LANGUAGE plpgsql AS \$\$DECLARE id bigint; BEGIN
	BEGIN PERFORM $call; RAISE EXCEPTION 'no'; EXCEPTION WHEN raise_exception THEN NULL; END;
	BEGIN id := $call; EXCEPTION WHEN division_by_zero THEN NULL; END;
	RETURN id;
	END\$\$;
	SELECT import_in_block()));

started('COMMIT in a procedure, which then waits', 2, qq(
	CREATE PROCEDURE import_twice(INOUT ids text DEFAULT '') LANGUAGE plpgsql AS \$\$DECLARE id bigint; BEGIN
	FOR i IN 1 .. 2 LOOP
		id := $call;
		COMMIT;
		IF (ml_wait(id)).status = 'Completed' THEN ids := ids || E'\\n' || id; END IF;
		PERFORM $call;
		ROLLBACK;
	END LOOP;
	END\$\$;
	CALL import_twice()));
started('COMMIT AND CHAIN', 2, "BEGIN; SELECT $call; COMMIT AND CHAIN; SELECT $call; COMMIT AND CHAIN; ROLLBACK");

# A transaction that takes its time.
my $slow = $node->background_psql('postgres');
$slow->query_safe('BEGIN');
my $id = $slow->query_safe("SELECT $call");
nothing_left('before COMMIT no other session sees a row or a process');
fails_like($node, "SELECT ml_wait($id)", '42704', qr/import $id does not exist/, 'before COMMIT nobody else can wait for it');
$slow->query_safe('SELECT pg_current_xact_id_if_assigned(); COMMIT');
$slow->quit;
is(wait_import($node, $id)->{status}, 'Completed', 'after COMMIT it runs');
push @started, $id;
processes_gone($node);

fails_like($node, "BEGIN; SELECT $call AS id \\gset\nSELECT ml_wait(:id)", '55000',
	qr/does not begin before this transaction commits.*HINT:  Commit, then wait/s, 'ml_wait in the same transaction is an error');

# What the postmaster has registered: the leaders of what was committed, and the one whose commit failed.
my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile);
my %registered = map { $_ => 1 } $log =~ /registering background worker "movielens_ingest leader for import (\d+)"/g;
delete @registered{@started};
is(scalar(keys %registered), 1, 'no leader was registered for what was rolled back before the pre-commit callback');

# A chunk belongs to whoever holds its row in the ledger FOR UPDATE. The import has chunk 2 and waits at the gate:
add_gate($node, 't', 'NEW.id = 15');
my $options = 'chunk_size => 10, min_chunks => 1, max_workers => 1, force => true';
my $claim = 'SELECT chunk_number FROM process_chunks WHERE uploaded_file_id = %d AND chunk_number = %d FOR UPDATE SKIP LOCKED';
my $gate = close_gate($node);
$id = start_import($node, $path, 't', $options);
wait_at_gate($node, 1);
is($node->safe_psql('postgres', sprintf($claim, $id, 2)), '', 'nobody else can claim a chunk that is being loaded');
is($node->safe_psql('postgres', sprintf($claim, $id, 3)), '3', 'one that is waiting can be claimed');
open_gate($gate);
is(wait_import($node, $id)->{success_count}, 100, 'all rows are in');

# ... and the other way round: a session plays a second leader, which claims chunk 7, loads and completes it.
for my $end ('COMMIT', 'ROLLBACK')
{
	$node->safe_psql('postgres', 'TRUNCATE t');
	$gate = close_gate($node);
	$id = start_import($node, $path, 't', $options);
	wait_at_gate($node, 1);
	my $second = $node->background_psql('postgres');
	$second->query_safe('BEGIN');
	is($second->query_safe(sprintf($claim, $id, 7)), '7', "$end: a second leader claims a chunk");
	$second->query_safe("INSERT INTO t SELECT n, 'name ' || n FROM generate_series(61, 70) n;
		UPDATE process_chunks SET status = 'Completed', ended = now(), success_count = 10, attempts = 1
		 WHERE uploaded_file_id = $id AND chunk_number = 7");
	open_gate($gate);
	poll($node, "SELECT count(*) = 1 FROM pg_locks JOIN pg_stat_activity USING (pid)
		WHERE NOT granted AND locktype = 'transactionid' AND backend_type = 'movielens_ingest leader'",
		'the first leader waits for the chunk');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), 90, "$end: the first leader does not load it, but all the others");
	$second->query_safe($end);
	$second->quit;
	my $row = wait_import($node, $id);
	is("$row->{status} $row->{success_count}", 'Completed 100', "$end: the import ends");
	is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id) FROM t'), '100|100', "$end: every row is in once");
	ledger_holds($node, $id, 't', "$end: the ledger says so");
}

$node->stop;
done_testing();
