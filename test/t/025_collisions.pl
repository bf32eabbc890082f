# Records that collide on a unique key. Of those in one file exactly one loads, whichever processes have them, and a deadlock of
# two chunks is solved. One that meets a row of another session waits for its end, and then is refused or loaded.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use Test::More;

my $node = start_server('main', "movielens_ingest.retry_delay = '1ms'", "deadlock_timeout = '10ms'");

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub start
{
	my ($writer, $path, $options) = @_;
	return sql("SET movielens_ingest.writer = '$writer'; SELECT ml_import('$path', 't', $options, force => true)");
}

sub outcome
{
	my ($row) = @_;
	return join(' ', map { $row->{$_} // '-' } 'status', 'sqlstate', 'success_count', 'error_count', 'unprocessed_count');
}

# --- in the file ---

my $keys = 300;
my @once = map { "$_,first $_\n" } 1 .. $keys;
my @again = map { "$_,second $_\n" } 1 .. $keys;
my %order = (
	'far apart'                       => [ @once, @again ],
	'far apart and backwards'         => [ @once, reverse @again ],
	'in the next chunk and backwards' => [ map { my $n = 10 * $_; (@once[ $n .. $n + 9 ], reverse @again[ $n .. $n + 9 ]) } 0 .. $keys / 10 - 1 ],
	'side by side'                    => [ map { ($once[$_], $again[$_]) } 0 .. $keys - 1 ]);

for my $name (sort keys %order)
{
	my $path = write_file('twice.csv', join('', "id,name\n", @{ $order{$name} }));
	for my $writer (@writers)
	{
		sql('DROP TABLE IF EXISTS t; CREATE TABLE t (id integer PRIMARY KEY, name text)');
		my $row = wait_import($node, start($writer, $path, 'chunk_size => 10, min_chunks => 1, max_workers => 4'));
		is(outcome($row), "Completed with errors - $keys $keys 0", "each key twice, $name, $writer: one of each is in");
		is(sql('SELECT count(DISTINCT id) FROM t'), $keys, '... and no key is missing');
		is(sql("SELECT count(*), count(DISTINCT row_number), string_agg(DISTINCT sqlstate || ' ' || message, ' ') FROM rejected_rows WHERE uploaded_file_id = $row->{id}"),
			"$keys|$keys|23505 duplicate key value violates unique constraint \"t_pkey\"", '... the other is refused');
		is(sql("SELECT count(*) FROM t JOIN rejected_rows r ON r.uploaded_file_id = $row->{id} AND r.raw_line = t.id || ',' || t.name"), 0, '... not both');
		ledger_holds($node, $row->{id}, 't', '... the ledger says so');
	}
}

# Each of two chunks has the key that the other one inserts next: an index expression holds both up before it.
sql('CREATE FUNCTION hold(integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS $$
	BEGIN IF $1 > 4 THEN PERFORM pg_advisory_xact_lock_shared(1); END IF; RETURN $1; END$$');
my $crossed = write_file('crossed.csv', "id,name\n1,a\n5,b\n2,c\n2,d\n6,e\n1,f\n");
for my $writer (@writers)
{
	sql('DROP TABLE IF EXISTS t; CREATE TABLE t (id integer, name text); CREATE UNIQUE INDEX ON t (id, hold(id))');
	my $gate = close_gate($node);
	my $id = start($writer, $crossed, 'chunk_size => 3, min_chunks => 1, max_workers => 2');
	wait_at_gate($node, 2);
	open_gate($gate);
	my $row = wait_import($node, $id);
	is(outcome($row), 'Completed with errors - 4 2 0', "a deadlock of two chunks, $writer: one of each key is in");
	is(sql("SELECT string_agg(id::text, ' ' ORDER BY id) FROM t"), '1 2 5 6', '... and no key is missing');
	is(join(' ', sort map { ($_->{sqlstate} // 'none') . " $_->{attempts}" } chunk_list($node, $id)), '40P01 1 none 1', '... one of them gave way');
	ledger_holds($node, $id, 't', '... the ledger says so');
}

# Three keys a record, of which any may be the one that is met.
my $path = write_file('three.csv', join('', "a,b,c\n", map { join(',', $_ % 97, $_ % 101, $_ % 89) . "\n" } 1 .. 600));
for my $writer (@writers)
{
	sql('DROP TABLE IF EXISTS t; CREATE TABLE t (a integer UNIQUE, b integer UNIQUE, c integer UNIQUE)');
	my $row = wait_import($node, start($writer, $path, 'chunk_size => 10, min_chunks => 1, max_workers => 4'));
	is("$row->{status} $row->{unprocessed_count}", 'Completed with errors 0', "three keys, $writer: ended");
	ledger_holds($node, $row->{id}, 't', '... the ledger says so');
	is(sql("SELECT count(*) FROM rejected_rows r, LATERAL string_to_array(raw_line, ',') v
		WHERE uploaded_file_id = $row->{id} AND NOT EXISTS (SELECT FROM t WHERE a::text = v[1] OR b::text = v[2] OR c::text = v[3])"), 0,
		'... each refused record meets one that is in');
}

# --- with another session ---

my $numbers = write_file('numbers.csv', numbers(30));
my $options = 'chunk_size => 10, min_chunks => 1, max_workers => 2';

for my $writer (@writers)
{
	for my $case (
		[ 'inserts the key', 'COMMIT', 1 ], [ 'inserts the key', 'ROLLBACK', 0 ],
		[ 'deletes the key', 'COMMIT', 0 ], [ 'deletes the key', 'ROLLBACK', 1 ])
	{
		my ($does, $end, $refused) = @$case;
		sql('DROP TABLE IF EXISTS t; CREATE TABLE t (id integer PRIMARY KEY, name text)');
		sql("INSERT INTO t VALUES (15, 'theirs')") if $does =~ /deletes/;
		my $session = $node->background_psql('postgres');
		$session->query_safe($does =~ /inserts/ ? "BEGIN; INSERT INTO t VALUES (15, 'theirs')" : 'BEGIN; DELETE FROM t WHERE id = 15');
		my $id = start($writer, $numbers, $options);
		poll($node, "SELECT count(*) = 1 FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.backend_type LIKE 'movielens_ingest%' AND l.locktype = 'transactionid' AND NOT l.granted",
			'the import waits for the session');
		$session->query_safe($end);
		$session->quit;
		my $row = wait_import($node, $id);
		is(outcome($row), $refused ? 'Completed with errors - 29 1 0' : 'Completed - 30 0 0', "$writer: another session $does, $end: " . ($refused ? 'refused' : 'loaded'));
		is(sql('SELECT count(*), count(DISTINCT id) FROM t'), '30|30', '... each key is there once');
		is(sql('SELECT name FROM t WHERE id = 15'), $refused ? 'theirs' : 'name 15', '... of the one that won');
		is(join(' ', map { $_->{attempts} } chunk_list($node, $id)), '1 1 1', '... without a retry');
	}

	# The session has 18, the import has 12 and waits for 18, the session waits for 12: the import gives way.
	sql('DROP TABLE IF EXISTS t; CREATE TABLE t (id integer PRIMARY KEY, name text)');
	my $session = $node->background_psql('postgres');
	$session->query_safe("SET deadlock_timeout = '60s'; BEGIN; INSERT INTO t VALUES (18, 'theirs')");
	my $id = sql("SET deadlock_timeout = '500ms'; SET movielens_ingest.retry_delay = '500ms'; SET movielens_ingest.writer = '$writer'; SELECT ml_import('$numbers', 't', $options, force => true)");
	poll($node, "SELECT count(*) = 1 FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.backend_type LIKE 'movielens_ingest%' AND l.locktype = 'transactionid' AND NOT l.granted",
		'the import waits for the session');
	$session->query_safe("INSERT INTO t VALUES (12, 'theirs')");
	$session->query_safe('COMMIT');
	$session->quit;
	my $row = wait_import($node, $id);
	my @chunks = chunk_list($node, $id);
	is(outcome($row), 'Completed with errors - 28 2 0', "$writer: a deadlock with another session");
	# A second time, counted, if the chunk is faster with 12 than the session, which has just been woken up for it.
	like("$chunks[1]{attempts} $chunks[1]{sqlstate}", qr/^[12] 40P01$/, '... whose chunk was put off');
	is(sql("SELECT string_agg(id::text, ' ' ORDER BY id) FROM t WHERE name = 'theirs'"), '12 18', '... the session has its rows');
	ledger_holds($node, $id, '(SELECT FROM t WHERE name <> $$theirs$$) ours', '... the ledger says so');
}

$node->stop;
done_testing();
