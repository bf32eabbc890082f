# A data set is loaded while, at random moments, its processes are killed, terminated or cancelled, the server is stopped
# or killed, one of its imports is cancelled; and is resumed until it is complete. Each time the tables are as after COPY,
# the ledger agrees, and nothing is left behind: locks, processes, shared memory, temporary files. An import that is
# cancelled takes no other with it. And a file that is interrupted between two steps of its planning goes on from there.
#
# SEED=n repeats a run's choices (not its moments, which depend on the machine), ROUNDS=n sets its length.
#
# allow-log: terminated by signal 9: Killed
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../t/lib";
use ImportTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $seed = $ENV{SEED} || int(time) % 1_000_000;
my $rounds = $ENV{ROUNDS} || 60;
diag "SEED=$seed ROUNDS=$rounds";
srand($seed);

my $node = start_server('main', 'restart_after_crash = on', 'dynamic_shared_memory_type = mmap', 'autovacuum = off',
	'max_parallel_workers_per_gather = 0', "movielens_ingest.retry_delay = '10ms'");
my $directory = PostgreSQL::Test::Utils::tempdir('set');
system($^X, "$FindBin::RealBin/../data/generate.pl", $directory, 20000, $seed, 3000) == 0 or die;
my %tables = map { ("$_.csv" => $_ =~ tr/-/_/r) } qw(movies links ratings tags genome-scores genome-tags);
my @files = sort keys %tables;
my $path = write_file('large.csv', ''); # of no data set

sub sql { return $node->safe_psql('postgres', @_) }

sql(join(';', 'SELECT ml_create_tables()', 'CREATE SCHEMA copied',
	map { ("CREATE TABLE copied.$tables{$_} (LIKE $tables{$_})", "COPY copied.$tables{$_} FROM '$directory/$_' (FORMAT csv, HEADER)") } @files));

# --- what can happen to it; each returns its name, or nothing if it came too late ---

# Random among those that match, or undef.
sub pid_of
{
	my @pids = split(/\n/, sql("SELECT pid FROM pg_stat_activity WHERE $_[0] ORDER BY pid"));
	return $pids[ rand @pids ];
}

# Until the server has started again, if the process was there to be killed.
sub crash
{
	my ($which) = @_;
	my $pid = pid_of($which) // return;
	my $position = -s $node->logfile;
	my $until = time + 60;
	kill('KILL', $pid);
	for (;;)
	{
		my $answers = $node->psql('postgres', 'SELECT') == 0;
		my $log = slurp_file($node->logfile, $position);
		return 'killed' if $log =~ /ready to accept connections/;
		return if $answers && $log !~ /terminated by signal 9/;
		die 'the server does not start again' if time > $until;
		sleep(0.02);
	}
}

# The processes of a server whose postmaster was killed end by themselves, and only then can it start again.
sub kill_server
{
	my @pids = ($node->{_pid}, split(/\n/, sql('SELECT pid FROM pg_stat_activity')));
	my $until = time + 60;
	$node->kill9;
	while (my @left = grep { kill(0, $_) } @pids)
	{
		die "processes stay: @left" if time > $until;
		sleep(0.01);
	}
	$node->start;
	return 'killed';
}

sub stop_server
{
	my ($mode) = @_;
	$node->stop($mode);
	$node->start;
	return "stopped ($mode)";
}

sub signal
{
	my ($function, $type) = @_;
	my $pid = pid_of("backend_type = 'movielens_ingest $type'") // return;
	return sql("SELECT pg_${function}_backend($pid)") eq 't' ? ($function eq 'cancel' ? 'cancelled' : 'terminated') : undef;
}

sub cancel
{
	my $id = sql('SELECT id FROM ml_progress ORDER BY random() LIMIT 1');
	return $id ne '' && sql("SELECT ml_cancel($id)") eq 't' ? 'cancelled' : undef;
}

my @ends = (
	[ 'a worker', sub { crash("backend_type = 'movielens_ingest worker'") } ],
	[ 'the leader', sub { crash("backend_type = 'movielens_ingest leader'") } ],
	[ 'the session', sub { crash("query LIKE '%/* call */%' AND pid <> pg_backend_pid() AND state = 'active'") } ],
	[ 'the postmaster', \&kill_server ],
	[ 'the server', sub { stop_server('immediate') } ],
	[ 'the server', sub { stop_server('fast') } ],
	[ 'the leader', sub { signal('terminate', 'leader') } ],
	[ 'the leader', sub { signal('cancel', 'leader') } ],
	[ 'a worker', sub { signal('terminate', 'worker') } ],
	[ 'a worker', sub { signal('cancel', 'worker') } ],
	[ 'an import', \&cancel ]);

# --- one round ---

sub imports { return sql('SELECT count(*) FROM uploaded_files WHERE id > ' . $_[0]) }

# The call that makes the imports, or goes on with them; undef: they are running, or complete.
sub call
{
	my ($last) = @_;
	return "SELECT count(*) FROM ml_import_dataset('$directory', chunk_size => 100, max_workers => 3, force => true)" if !imports($last);
	return if sql("SELECT count(*) FROM ml_progress WHERE phase <> 'interrupted'");
	my $id = sql("SELECT id FROM uploaded_files WHERE id > $last AND status NOT LIKE 'Completed%' ORDER BY random() LIMIT 1");
	return $id eq '' ? undef : "SELECT ml_resume($id)";
}

sub resume_to_the_end
{
	my ($last) = @_;
	for (1 .. 10)
	{
		poll($node, "SELECT count(*) = 0 FROM ml_progress WHERE phase <> 'interrupted'", 'the imports end');
		processes_gone($node);
		my $call = call($last) // return 1;
		my $said = sql($call);
		next if $said eq 't' || $said eq @files;
		diag "$call: $said";
		return 0;
	}
	return 0;
}

sub check
{
	my ($last, $name) = @_;
	is(sql("SELECT string_agg(DISTINCT status, ' ') || count(*) FROM uploaded_files WHERE id > $last"), 'Completed' . @files, "$name: all files are complete");
	my @different = grep { sql("SELECT count(*) FROM ((TABLE $_ EXCEPT ALL TABLE copied.$_) UNION ALL (TABLE copied.$_ EXCEPT ALL TABLE $_)) d") } values %tables;
	is("@different", '', '... the tables are as after COPY');
	for my $file (@files)
	{
		ledger_holds($node, sql("SELECT id FROM uploaded_files WHERE id > $last AND file_name = '$file'"), $tables{$file}, "... so says the ledger of $file");
	}
	nothing_left();
	return;
}

# Of imports: they begin with a magic number.
sub segments
{
	return scalar grep { slurp_file($_) =~ /^\d[bs]lm/ } glob($node->data_dir . '/pg_dynshmem/mmap.*');
}

sub nothing_left
{
	is(sql("SELECT string_agg(locktype || ' ' || mode, ', ') FROM pg_locks WHERE locktype IN ('object', 'advisory', 'userlock')"), '', '... no lock is left');
	is(segments(), 0, '... nor shared memory');
	is(sql("SELECT count(*) FROM pg_ls_dir('base/pgsql_tmp', true, false)"), 0, '... nor a temporary file');
	return;
}

my $whole; # seconds that it takes undisturbed
for my $round (0 .. $rounds)
{
	sql('TRUNCATE ' . join(', ', values %tables));
	my $last = sql('SELECT coalesce(max(id), 0) FROM uploaded_files');
	my @happened;
	my $most = $round && 1 + int(rand(5));
	for (1 .. 3 * $most)
	{
		my $call = call($last);
		last if @happened == $most || (!defined $call && !sql('SELECT count(*) FROM ml_progress'));
		my $end = $ends[ rand @ends ];
		my $after = rand(rand() < 0.3 ? 0.03 : $whole);
		# A session is met before it has committed, or while it does.
		my $slowly = $end->[0] eq 'the session' ? '; SELECT pg_sleep(random() / 10)' : '';
		my $session = defined $call ? in_session($node, "$call /* call */$slowly") : undef;
		sleep($slowly ? rand(0.1) : $after);
		my $how = $end->[1]();
		$session->finish if defined $session;
		push @happened, "$end->[0] $how" if defined $how;
		# What was told to end does so before it is looked at again; or it goes on meanwhile.
		processes_gone($node) if rand() < 0.2;
	}
	my $name = "round $round (" . (join(', ', @happened) || 'nothing happens') . ')';
	ok(resume_to_the_end($last), "$name: resumed to the end");
	$whole //= sql("SELECT extract(epoch FROM max(end_time) - min(start_time)) FROM uploaded_files WHERE id > $last");
	check($last, $name);
}

# --- a cancel is for one import ---

# The processes that are cancelled go on with the other one at once, and max_retries forgives nothing.
my $pair = PostgreSQL::Test::Utils::tempdir('pair');
append_to_file("$pair/movies.csv", "movieId,title,genres\n" . join('', map { "$_,title $_,genre\n" } 1 .. 400));
append_to_file("$pair/genome-tags.csv", "tagId,tag\n" . join('', map { "$_,tag $_\n" } 1 .. 100));
sql(q(
	CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(TG_ARGV[0]::float8); RETURN NEW; END$$;
	CREATE TRIGGER slow BEFORE INSERT ON movies FOR EACH ROW EXECUTE FUNCTION slow(0.005);
	CREATE TRIGGER slow BEFORE INSERT ON genome_tags FOR EACH ROW EXECUTE FUNCTION slow(0.05)));
my @ended;
for (1 .. $rounds)
{
	sql('TRUNCATE ' . join(', ', values %tables));
	sql("SELECT ml_import_dataset('$pair', chunk_size => 10, max_workers => 3, max_retries => 0, force => true)");
	my ($tags, $movies) = map { sql("SELECT max(id) FROM uploaded_files WHERE file_name = '$_.csv'") } qw(genome-tags movies);
	poll($node, "SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE '%loading chunk % of import $tags %'", 'it is being loaded');
	sql("SELECT ml_cancel($tags)");
	push @ended, join(' ', map { wait_import($node, $_)->{status} } $tags, $movies);
}
is(join(', ', grep { $_ ne 'Cancelled Completed' } @ended), '', "of two imports that are loaded together one is cancelled, @{[ scalar @ended ]} times: the other completes");
processes_gone($node);

# --- between two steps of planning ---

# A step reads 64 MB: three chunks. The second step waits at the gate while they are loaded.
sql(qq(
	CREATE TABLE large (a bigint, b text); CREATE TABLE copied.large (LIKE large);
	COPY (SELECT g AS a, repeat('x', 80) AS b FROM generate_series(1, 1200000) g) TO '$path' (FORMAT csv, HEADER);
	COPY copied.large FROM '$path' (FORMAT csv, HEADER)));
add_ledger_gate($node, 'process_chunks', 'chunk_number <> 4');
my $gate = close_gate($node);
my $id = start_import($node, $path, 'large', 'chunk_size => 200000, min_chunks => 1, max_workers => 2');
poll($node, "SELECT count(*) = 3 FROM process_chunks WHERE uploaded_file_id = $id AND status = 'Completed'", 'the first chunks are loaded');
wait_at_gate($node, 1);
is(segments(), 2, 'a leader has shared memory for its batch and its seat');
sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader'");
processes_gone($node);
my $progress = "SELECT chunks_done, rows_done, rows_total, phase = 'interrupted' FROM ml_progress WHERE id = $id";
is(sql($progress), '3|600000||t', 'interrupted between two steps of planning');
is(sql("SELECT ml_resume($id)"), 't', '... resumed');
wait_at_gate($node, 1);
is(sql($progress), '3|600000||f', '... ml_progress knows what is in');
open_gate($gate);
my $row = wait_import($node, $id);
is("$row->{status} $row->{success_count}", 'Completed 1200000', '... the import completes');
is(sql('SELECT count(*) FROM ((TABLE large EXCEPT ALL TABLE copied.large) UNION ALL (TABLE copied.large EXCEPT ALL TABLE large)) d'), 0, '... as by COPY');
is(sql("SELECT string_agg(attempts::text, ' ' ORDER BY chunk_number) FROM process_chunks WHERE uploaded_file_id = $id"), '1 1 1 1 1 1', '... each chunk in one attempt');
ledger_holds($node, $id, 'large', '... and in the ledger');
processes_gone($node);
nothing_left();

$node->stop;
done_testing();
