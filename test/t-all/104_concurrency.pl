# Two imports go into the same table, and one into a table without an index, while other sessions insert, update and delete, and vacuum
# (truncating too), write checkpoints, build and drop indexes. Everybody's rows are there once, no session meets an error, heap, indexes
# and page checksums are right; and the same when the server crashes in the middle of it and the imports are resumed.
#
# SEED=n repeats a run's choices (not its moments), ROUNDS=n sets its length.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../t/lib";
use ImportTest;
use JSON::PP qw(decode_json);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $seed = $ENV{SEED} || int(time) % 1_000_000;
my $rounds = $ENV{ROUNDS} || 12;
diag "SEED=$seed ROUNDS=$rounds";
srand($seed);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => ['--data-checksums']);
$node->append_conf('postgresql.conf', "max_worker_processes = 16\nautovacuum_naptime = 1s\nmovielens_ingest.retry_delay = '10ms'\nlog_statement = none\nlog_lock_waits = on");
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]) }

# What others add they note too.
sql(q(
	CREATE EXTENSION movielens_ingest; CREATE EXTENSION amcheck;
	CREATE TABLE t (id integer PRIMARY KEY, name text, n float8) WITH (fillfactor = 90); CREATE INDEX ON t (name);
	CREATE TABLE bare (id integer, name text);
	CREATE TABLE noted (id integer PRIMARY KEY);
	CREATE SEQUENCE ids));
my $count = 60000;
my @files = map { my $from = $_ * $count; write_file("part$_.csv", "id,name,n\n" . join('', map { "$_,name $_," . $_ / 4 . "\n" } $from + 1 .. $from + $count)) } 0, 1;
my $bare = write_file('bare.csv', "id,name\n" . join('', map { "$_,name $_\n" } 1 .. $count));

my %scripts = (
	insert   => "SELECT -nextval('ids') AS id \\gset\nBEGIN;\nINSERT INTO t VALUES (:id, 'own', 0);\nINSERT INTO bare VALUES (:id, 'own');\nINSERT INTO noted VALUES (:id);\nEND;\n",
	delete   => "BEGIN;\nWITH gone AS (DELETE FROM noted WHERE id = (SELECT id FROM noted LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id), other AS (DELETE FROM t USING gone WHERE t.id = gone.id)\nDELETE FROM bare USING gone WHERE bare.id = gone.id;\nEND;\n",
	update   => "\\set id random(1, 2 * $count)\nUPDATE t SET n = n + 1 WHERE id = :id;\n",
	rename   => "\\set id random(1, 2 * $count)\nUPDATE t SET name = name || '!' WHERE id = :id;\n",
	# Rows at the end of the table, which go again: VACUUM can give the pages back.
	truncate => "BEGIN;\nINSERT INTO bare SELECT -1000000000, repeat('x', 500) FROM generate_series(1, 300);\nROLLBACK;\nVACUUM (TRUNCATE) bare;\n",
	vacuum   => "VACUUM t;\nVACUUM bare;\n",
	write    => "CHECKPOINT;\n\\sleep 200 ms\n",
	index    => "CREATE INDEX CONCURRENTLY other ON t (n);\nDROP INDEX CONCURRENTLY other;\n",
	unique   => "CREATE UNIQUE INDEX CONCURRENTLY another ON t (id, name);\nREINDEX INDEX CONCURRENTLY another;\nDROP INDEX CONCURRENTLY another;\n");
my %script_files = map { $_ => write_file("$_.sql", $scripts{$_}) } keys %scripts;

# pgbench runs scripts in random order, until it is told to end.
sub noise
{
	my ($clients, @names) = @_;
	my %noise = (output => '');
	$noise{handle} = IPC::Run::start([ $node->installed_command('pgbench'), '-n', '-c', $clients, '-T', 3600, '--max-tries=20', map({ ('-f', $script_files{$_}) } @names), $node->connstr('postgres') ],
		'<', '/dev/null', '>', \$noise{output}, '2>&1');
	return \%noise;
}

sub quiet
{
	my ($noise) = @_;
	$noise->{handle}->signal('INT');
	eval { $noise->{handle}->finish };
	return $noise->{output};
}

# Also what is left of one that was not built to the end.
sub drop_indexes { return sql('SET client_min_messages = warning; DROP INDEX IF EXISTS other, another, other_ccnew, another_ccnew') }

# Whoever waits gives up where he is in a deadlock with those who build indexes; the import goes on, and he waits again.
sub ended
{
	my ($id) = @_;
	for (;;)
	{
		my ($rc, $out, $err) = $node->psql('postgres', "SELECT row_to_json(f) FROM ml_wait($id) f");
		return decode_json($out) if $rc == 0;
		die $err if $err !~ /deadlock detected/;
	}
	return;
}

sub check
{
	my ($name) = @_;
	is(sql("SELECT count(*), count(DISTINCT id) FROM t WHERE id > 0"), 2 * $count . '|' . 2 * $count, "$name: the rows of two imports are there once");
	is(sql("SELECT count(*), count(DISTINCT id) FROM bare WHERE id > 0"), "$count|$count", '... and those of the other table');
	is(sql("SELECT count(*) FROM ((SELECT id FROM $_ WHERE id < 0 EXCEPT ALL TABLE noted) UNION ALL (TABLE noted EXCEPT ALL SELECT id FROM $_ WHERE id < 0)) d"), 0, "... and what others have put into $_") for 't', 'bare';
	$node->command_ok([ 'pg_amcheck', '--heapallindexed', '--parent-check', 'postgres' ], '... pg_amcheck finds nothing wrong');
	return;
}

for my $round (1 .. $rounds)
{
	my $crash = $round % 2 == 0;
	my $position = -s $node->logfile;
	sql('TRUNCATE t, bare, noted');
	sql("INSERT INTO t VALUES (0); INSERT INTO bare VALUES (0)") if $round % 3; # or indexes are built at the end
	my @noise = (noise(4, 'insert', 'insert', 'delete', 'update', 'rename'), noise(1, 'truncate', 'vacuum', 'write', 'index', 'unique'));
	my @writers = map { ('pages', 'pages', 'multi_insert', 'spi')[ rand 4 ] } 1 .. 3;
	my $chunk_size = (4000, 10000, 30000)[ rand 3 ];
	my @ids = map { sql("SET movielens_ingest.writer = $writers[$_]; SELECT ml_import('" . (@files, $bare)[$_] . "', '" . ('t', 't', 'bare')[$_] . "', chunk_size => $chunk_size, min_chunks => 1, max_workers => 2, force => true)") } 0 .. 2;
	my $name = "round $round, @writers, chunk_size $chunk_size" . ($crash ? ', a crash' : '');
	if ($crash)
	{
		poll($node, "SELECT count(*) > 0 FROM process_chunks WHERE uploaded_file_id >= $ids[0] AND status = 'Completed'", 'something is loaded') if $round % 4;
		sleep(rand(0.5));
		$node->stop('immediate');
		quiet($_) for @noise;
		$node->start;
		note 'chunks that are in: ' . sql("SELECT count(*) FILTER (WHERE status = 'Completed') || ' of ' || count(*) FROM process_chunks WHERE uploaded_file_id >= $ids[0]");
		drop_indexes();
		for my $id (@ids)
		{
			sql("SELECT ml_resume($id) FROM uploaded_files WHERE id = $id AND status NOT LIKE 'Completed%'");
		}
	}
	my @ended = map { ended($_) } @ids;
	is(join(' ', map { $_->{status} } @ended), 'Completed Completed Completed', "$name: all is loaded") or diag(join(', ', map { $_->{error} // '' } @ended));
	processes_gone($node);
	if (!$crash)
	{
		my $said = join('', map { quiet($_) } @noise);
		poll($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()", 'the others end');
		unlike($said, qr/error|aborted/i, '... the others meet no error');
		unlike(slurp_file($node->logfile, $position) =~ s/^.*(?:canceling statement due to user request|canceling autovacuum task|could not analyze .* lock timeout|deadlock detected|unexpected EOF).*$//mgr, qr/^.*(?:ERROR|WARNING|PANIC): .*$/m, '... nor does the log');
	}
	drop_indexes();
	check($name);
}

$node->stop;
command_ok([ 'pg_checksums', '--check', '-D', $node->data_dir ], 'page checksums are right');
done_testing();
