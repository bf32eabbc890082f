# A streaming standby that checks each record of WAL against its own pages, a logical subscriber and a logical slot, while imports by each
# writer run beside UPDATE, DELETE and VACUUM: the standby's tables are the same, the subscriber gets every row once, and nobody gets
# anything of an attempt that was rolled back. Page checksums are right on both.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

sub start_node
{
	my ($name, $backup, @settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	if (defined $backup)
	{
		$node->init_from_backup($backup, 'base', has_streaming => 1);
	}
	else
	{
		$node->init(allows_streaming => 'logical', extra => ['--data-checksums']);
	}
	$node->append_conf('postgresql.conf', join("\n", 'max_worker_processes = 16', 'autovacuum = off', @settings));
	$node->start;
	return $node;
}

my $node = start_node('primary', undef, 'wal_consistency_checking = all', 'checkpoint_timeout = 30s', "movielens_ingest.retry_delay = '1ms'");

sub sql { return $node->safe_psql('postgres', $_[0]) }

sql(q(
	CREATE EXTENSION movielens_ingest;
	CREATE TABLE parent (id integer PRIMARY KEY);
	INSERT INTO parent SELECT generate_series(0, 99);
	CREATE TABLE t (id integer, half numeric, name text, parent integer REFERENCES parent, made text DEFAULT 'x');
	CREATE UNIQUE INDEX t_id ON t (id); CREATE INDEX ON t (parent); CREATE INDEX ON t USING hash (name);
	CREATE TABLE bare (id integer, a text, b float8);
	CREATE PUBLICATION imports FOR TABLE t;
	CREATE PUBLICATION insertions FOR TABLE bare WITH (publish = 'insert');
	ALTER TABLE t REPLICA IDENTITY USING INDEX t_id) =~ s/CREATE TABLE t \(id integer/CREATE TABLE t (id integer NOT NULL/r);
$node->backup('base');
my $standby = start_node('standby', $node);
my $subscriber = start_node('subscriber');
$subscriber->safe_psql('postgres', 'CREATE TABLE t (id integer PRIMARY KEY, half numeric, name text, parent integer, made text); CREATE TABLE bare (id integer, a text, b float8);
	CREATE SUBSCRIPTION imports CONNECTION $$' . $node->connstr('postgres') . '$$ PUBLICATION imports, insertions');
$subscriber->wait_for_subscription_sync($node, 'imports');
sql(q(SELECT pg_create_logical_replication_slot('decoded', 'test_decoding')));

# The second half is there twice at the end of its chunk: an attempt that has filled its pages is rolled back.
my $count = 9000;
my $bare = write_file('bare.csv', "id,a,b\n" . join('', map { sprintf("%d,%s,%s\n", $_, 'a' x ($_ % 50), $_ % 3 ? $_ / 8 : '') } 1 .. $count));
my %rows; # of the keyed table, by writer
for my $i (0 .. $#writers)
{
	my $from = 1 + $i * $count;
	$rows{ $writers[$i] } = write_file("rows$i.csv", "id,half,name,parent\n" . join('', map { my $n = $_; sprintf("%d,%s,%s,%d\n", $n, $n / 2, "name $n", $n % 100) } $from .. $from + $count - 1, $from + $count - 1)
	  . sprintf("%d,1,no parent,1234\n", $from + 100000) . sprintf("x%d,1,no number,1\n", $from));
}
sub fingerprint { return join(';', map { "SELECT '$_', count(*), sum(hashtextextended(r::text, 0)) FROM $_ r" } @_) }

for my $writer (@writers)
{
	my $vacuum = in_session($node, join(';', 'SET lock_timeout = 0', map { "UPDATE t SET name = name || '!' WHERE id % 7 = $_; DELETE FROM bare WHERE id % 11 = $_; UPDATE bare SET a = b::text WHERE id % 5 = $_" } 1, 2));
	sql("SET movielens_ingest.writer = $writer; SELECT ml_import('$bare', 'bare', chunk_size => 4000, min_chunks => 1, max_workers => 3, force => true)");
	my $id = sql("SET movielens_ingest.writer = $writer; SELECT ml_import('$rows{$writer}', 't', chunk_size => 5000, min_chunks => 1, max_workers => 2, force => true)");
	sql($_) for 'VACUUM bare', 'CHECKPOINT', 'VACUUM t';
	my $row = wait_import($node, $id);
	is("$row->{status} $row->{success_count} $row->{error_count}", "Completed with errors $count 3", "$writer: loaded");
	is((wait_import($node, $id - 1))->{status}, 'Completed', '... both files');
	is(join('', $vacuum->finish), '', '... beside other work');
	sql($_) for 'VACUUM bare', 'VACUUM t';
}
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is($standby->safe_psql('postgres', fingerprint('t', 'bare')), sql(fingerprint('t', 'bare')), 'the standby has the same rows');
is($standby->safe_psql('postgres', 'SELECT success_count, error_count FROM uploaded_files ORDER BY id'), sql('SELECT success_count, error_count FROM uploaded_files ORDER BY id'), '... and the same ledger');
unlike(slurp_file($standby->logfile), qr/FATAL.*(inconsistent|redo)|PANIC/, '... and finds every record of WAL consistent with its pages');
$node->wait_for_catchup('imports');
is($subscriber->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id) FROM t'), @writers * $count . '|' . @writers * $count, 'the subscriber has each row of a table with a key once');
is($subscriber->safe_psql('postgres', fingerprint('t')), sql(fingerprint('t')), '... with the same values');
is($subscriber->safe_psql('postgres', 'SELECT min(c), max(c), count(*) FROM (SELECT count(*) AS c FROM bare GROUP BY id) x'), @writers . '|' . @writers . "|$count", '... and of the other one what was inserted');

my $decoded = sql(q(SELECT split_part(data, ' ', 2), count(*) FROM pg_logical_slot_get_changes('decoded', NULL, NULL) WHERE data ~ '^table public\.(t|bare): INSERT' GROUP BY 1 ORDER BY 1));
is($decoded, 'public.bare:|' . @writers * $count . "\npublic.t:|" . @writers * $count, 'a slot decodes each row once, and none of what was rolled back');

# --- the standby is promoted, and an import goes on there that was interrupted here ---

sql(q(CREATE FUNCTION hold(integer) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$
	BEGIN IF $1 = 8500 THEN PERFORM pg_advisory_xact_lock_shared(1); END IF; RETURN true; END$$;
	TRUNCATE bare; ALTER TABLE bare ADD CHECK (hold(id))));
my $gate = close_gate($node);
my $id = sql("SET movielens_ingest.writer = pages; SELECT ml_import('$bare', 'bare', chunk_size => 4000, min_chunks => 1, max_workers => 2, force => true)");
wait_at_gate($node, 1);
poll($node, "SELECT count(*) = 2 FROM process_chunks WHERE uploaded_file_id = $id AND status = 'Completed'", 'two chunks are in');
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
$node->stop('immediate');
eval { $gate->quit };
$standby->promote;
is($standby->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id) FROM bare'), '8000|8000', 'after a promotion in the middle of an import whole chunks are there');
is($standby->safe_psql('postgres', "SELECT ml_resume($id)"), 't', '... it is resumed');
is(wait_import($standby, $id)->{status}, 'Completed', '... and completes');
is($standby->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id) FROM bare'), "$count|$count", '... with each row once');

$standby->stop;
$subscriber->stop;
$node->start;
$node->stop;
command_ok([ 'pg_checksums', '--check', '-D', $_->data_dir ], $_->name . ': the checksums of all pages are right') for $node, $standby;
done_testing();
