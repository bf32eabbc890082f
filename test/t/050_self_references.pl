# A foreign key of a table to itself: records may reference each other in any order and in circles, as with COPY, however the
# file is cut into chunks; what no record brings is refused, and only then counts.
#
# SEED=n begins with case n, CASES=n sets how many; TIME=n runs for so many seconds instead.
#
# allow-log: terminated by signal 9
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use List::Util qw(min shuffle uniq);
use Test::More;
use Time::HiRes qw(time);

my $node = start_server('main', 'autovacuum = off', 'restart_after_crash = on', "movielens_ingest.retry_delay = '10ms'");
my $number = 0;

sub sql { return $node->safe_psql('postgres', $_[0]) }

# An import into a new table t, of these records; returns its row of uploaded_files.
sub load
{
	my ($table, $records, $options) = @_;
	sql("DROP TABLE IF EXISTS t CASCADE; $table");
	my $columns = sql("SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0");
	return imported($node, write_file('t' . $number++ . '.csv', join("\n", $columns, @$records, '')), 't', join(', ', 'force => true', $options // ()));
}

# The numbers, among the records, of those that were refused.
sub refused { my ($id) = @_; return map { $_ - 1 } split(/\n/, sql("SELECT row_number FROM rejected_rows WHERE uploaded_file_id = $id ORDER BY 1")) }

# COPY of these records into a table like t: its rows, or its error.
sub copied
{
	my ($table, @records) = @_;
	my $path = write_file('copy.csv', join("\n", 'x', @records, ''));
	my ($rc, $out, $err) = $node->psql('postgres', "BEGIN; DROP TABLE IF EXISTS t CASCADE; SET client_min_messages = error; $table;
		COPY t FROM '$path' (FORMAT csv, HEADER); SELECT t::text FROM t ORDER BY 1; ROLLBACK", on_error_stop => 1);
	return $rc == 0 ? $out : "ERROR: $err";
}

# The law, for the table t as the import has left it; only some of the records are put back.
sub broken_law
{
	my ($table, $records, $row) = @_;
	my %bad = map { $_ => 1 } refused($row->{id});
	my @good = grep { !$bad{$_} } 0 .. $#$records;
	my $rows = sql('SELECT t::text FROM t ORDER BY 1');
	my @wrong;
	push @wrong, "ended $row->{status}: " . ($row->{error} // '') if $row->{status} !~ /^Completed/;
	push @wrong, 'counts' if $row->{success_count} + $row->{skipped_count} != @good || $row->{error_count} != keys %bad;
	push @wrong, 'a reject is pending' if sql('SELECT count(*) FROM rejected_rows WHERE pending AND uploaded_file_id = ' . $row->{id}) ne '0';
	my $copy = copied($table, @$records[@good]);
	push @wrong, "COPY leaves $copy, the import $rows" if $copy ne $rows;
	for my $put_back ((shuffle keys %bad)[ 0 .. min(4, keys(%bad) - 1) ])
	{
		push @wrong, "COPY takes record $put_back"
		  if copied($table, map { $records->[$_] } sort { $a <=> $b } @good, $put_back) !~ /^ERROR/;
	}
	return @wrong;
}

# --- the smallest cases ---

my $tree = 'CREATE TABLE t (id integer PRIMARY KEY, parent integer REFERENCES t)';
my $row = load($tree, [ '1,3', '2,3', '3,4', '4,' ]);
is("$row->{status} $row->{success_count} $row->{options}{min_chunks}", 'Completed 4 1', 'children first, with the default settings: one chunk, and all are in');
is(scalar(chunk_list($node, $row->{id})), 1, '... one chunk');
$row = load($tree, [ (map { ($_ + 2) . ',' . int(($_ + 2) / 2) } reverse 0 .. 98), '1,' ]);
is("$row->{status} $row->{success_count}", 'Completed 100', 'so are 100');
$row = load($tree =~ s/\)$/ DEFERRABLE INITIALLY DEFERRED)/r, [ '1,3', '2,3', '3,4', '4,' ], 'chunk_size => 1');
is("$row->{status} $row->{success_count}", 'Completed 4', 'a deferrable key, a chunk for each record');
is(sql("SELECT string_agg(concat_ws(' ', status, success_count, error_count), ', ') FROM process_chunks WHERE uploaded_file_id = $row->{id}"),
	join(', ', ('Completed 1 0') x 4), '... and the chunks say so');
$row = load($tree, [ '1,2', '2,3', '3,1', '4,4', '5,1', '6,7' ], 'chunk_size => 1');
is("$row->{status} $row->{success_count} $row->{error_count}", 'Completed with errors 5 1', 'a circle over three chunks, and what hangs on it; an orphan is refused');
is(sql("SELECT row_number, sqlstate, detail, pending FROM rejected_rows WHERE uploaded_file_id = $row->{id}"), '6|23503|Key (parent)=(7) is not present in table "t".|f', '... with its reason');

# More than a piece has, and more than one piece; a bad record within.
$row = load($tree, [ (map { "$_," . ($_ + 1) } 1 .. 20000), '20001,', '5,x', '7,7' ]);
is("$row->{status} $row->{success_count} $row->{error_count}", 'Completed with errors 20001 2', 'a chain of 20,000 records, the last one first to be there, and two bad records');

# Keys of types that hash in different ways: what waits for a record is not found by them.
$row = load('CREATE TABLE t (id numeric PRIMARY KEY, parent integer REFERENCES t)', [ (map { $_ * 11 % 31 . ',' . ($_ * 11 % 31 + 1) } 1 .. 30), '31,', '40,99' ], 'chunk_size => 1, max_workers => 1');
is("$row->{status} $row->{success_count} $row->{error_count}", 'Completed with errors 31 1', 'a chain that goes in neither forwards nor backwards, and an orphan beside it');

# --- what is not written in vain ---

# Rows that were inserted into t, also by what was rolled back, when nobody counts any more.
sub written
{
	$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%'");
	my $count = "SELECT n_tup_ins FROM pg_stat_user_tables WHERE relid = 't'::regclass";
	$node->poll_query_until('postgres', "SELECT ($count) >= $_[0]");
	return sql($count);
}

srand(1);
$row = load($tree, [ shuffle('1,', map { "$_," . (1 + int(rand($_ - 1))) } 2 .. 5000) ], 'chunk_size => 700');
is("$row->{status} $row->{success_count} " . written(5000), 'Completed 5000 5000', 'a shuffled tree in eight chunks: each record is written once');
my @shuffled = shuffle 1 .. 5000;
$row = load($tree, [ (map { "$_,$shuffled[$_ - 1]" } 1 .. 5000), map { ($_ + 5000) . ',' . ($_ < 500 ? $_ + 5001 : 9999) } 1 .. 500 ], 'chunk_size => 700');
is("$row->{status} $row->{success_count} $row->{error_count} " . written(5000), 'Completed with errors 5000 500 5000', '... so are circles, and a chain that leads nowhere is not written');
is(sql("SELECT sqlstate, message, detail, count(*) FROM rejected_rows WHERE uploaded_file_id = $row->{id} AND row_number = 5500 GROUP BY 1, 2, 3"),
	'23503|insert or update on table "t" violates foreign key constraint "t_parent_fkey"|Key (parent)=(9999) is not present in table "t".|1', '... and refused in the words of the server');

sql("ALTER DATABASE postgres SET maintenance_work_mem = '1MB'");
my @circle = map { "$_," . ($_ % 6000 + 1) } 1 .. 6000;
$row = load($tree, \@circle, 'chunk_size => 5000');
is("$row->{status} $row->{success_count} $row->{error_count}", 'Completed with errors 0 6000', 'a circle of more records than maintenance_work_mem holds is refused');
sql('ALTER DATABASE postgres RESET maintenance_work_mem');
$row = load($tree, \@circle, 'chunk_size => 5000');
is("$row->{status} $row->{success_count}", 'Completed 6000', '... and loaded with more of it');

# --- what counts, and when ---

$row = load($tree, [ '1,2', '2,3', '3,' ], "chunk_size => 1, on_error => 'stop', max_workers => 1");
is($row->{status}, 'Completed', 'on_error => stop: a record that waits for another is not refused');
$row = load($tree, [ '1,2', '2,', '3,9' ], "chunk_size => 1, on_error => 'stop', max_workers => 1");
is("$row->{status} $row->{sqlstate} $row->{success_count} $row->{error_count}", 'Failed 23503 2 1', '... but one whose referenced row is nowhere ends the import');
like($row->{error}, qr/^record at line 4 of file ".*" was refused: insert or update/, '... which names it');
is(sql("SELECT row_number, pending FROM rejected_rows WHERE uploaded_file_id = $row->{id}"), '3|t', '... and it is pending');
sql('INSERT INTO t VALUES (9)');
sql("SELECT ml_resume($row->{id})");
$row = wait_import($node, $row->{id});
is("$row->{status} $row->{success_count} $row->{error_count}", 'Completed 3 0', '... so that once the row is there, ml_resume loads it');
$row = load($tree, [ '1,2', '2,', '3,9' ], "on_error => 'stop'");
is("$row->{status} $row->{success_count}", 'Failed 0', 'in a file of one chunk the chunk rolls back');
$row = load($tree, [ '1,2', '2,3', '3,', '4,9', '5,9' ], 'chunk_size => 1, reject_limit => 2');
is("$row->{status} $row->{success_count}", 'Completed with errors 3', 'reject_limit: what waits does not count');
$row = load($tree, [ '1,2', '2,3', '3,', '4,9', '5,9', 'x,' ], 'chunk_size => 1, reject_limit => 2');
like("$row->{status} $row->{error}", qr/^Failed more than 2 records of file ".*" were refused, the last one at line 5: /, '... what is left does');

# --- what waits for the table waits for the records that wait ---

sql('CREATE TABLE movies (movieid integer PRIMARY KEY, same integer REFERENCES movies); CREATE TABLE links (movieid integer REFERENCES movies, imdbid text)');
my $folder = PostgreSQL::Test::Utils::tempdir('data_set');
PostgreSQL::Test::Utils::append_to_file("$folder/movies.csv", join("\n", 'movieId,same', (map { "$_," . ($_ + 1) } 1 .. 9), '10,', ''));
PostgreSQL::Test::Utils::append_to_file("$folder/links.csv", join("\n", 'movieId,imdbId', (map { "$_,0$_" } 1 .. 10), ''));
chmod(0755, $folder);
is(sql("SELECT string_agg(s, ', ') FROM (SELECT concat_ws(' ', f.file_name, (ml_wait(i.id)).status, (ml_wait(i.id)).success_count) AS s
		FROM uploaded_files f JOIN (SELECT id FROM uploaded_files WHERE dataset_id = " . (split(/\n/, sql("SELECT id FROM ml_import_dataset('$folder', chunk_size => 1)")))[0] . ') i USING (id) ORDER BY f.id) s'),
	'movies.csv Completed 10, links.csv Completed 10', 'a data set: no link is refused because its movie waits for another one');

# --- random trees, circles and orphans ---

my @tables = (
	[ 'one key', 1, $tree ],
	[ 'a deferrable key', 1, $tree =~ s/\)$/ DEFERRABLE)/r ],
	[ 'text', 1, 'CREATE TABLE t (id text PRIMARY KEY, parent text REFERENCES t)' ],
	[ 'other types', 1, 'CREATE TABLE t (id bigint PRIMARY KEY, parent smallint REFERENCES t)' ],
	[ 'numeric and integer', 1, 'CREATE TABLE t (id numeric PRIMARY KEY, parent integer REFERENCES t)' ],
	[ 'two keys', 2, 'CREATE TABLE t (id integer PRIMARY KEY, parent integer REFERENCES t, other integer REFERENCES t)' ],
	[ 'a pair, match full', 3, 'CREATE TABLE t (id integer, kind integer, parent integer, parent_kind integer, PRIMARY KEY (id, kind), FOREIGN KEY (parent, parent_kind) REFERENCES t MATCH FULL)' ],
	[ 'a pair', 3, 'CREATE TABLE t (id integer, kind integer, parent integer, parent_kind integer, PRIMARY KEY (id, kind), FOREIGN KEY (parent, parent_kind) REFERENCES t)' ],
	[ 'partitions', 1, 'CREATE TABLE t (id integer PRIMARY KEY, parent integer REFERENCES t) PARTITION BY HASH (id);
		CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE t2 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1)' ],
	[ 'another key too', 2, 'CREATE TABLE IF NOT EXISTS o (id integer PRIMARY KEY); INSERT INTO o SELECT generate_series(1, 500, 2) ON CONFLICT DO NOTHING;
		CREATE TABLE t (id integer PRIMARY KEY, parent integer REFERENCES t, other integer REFERENCES o)' ],
	[ 'a trigger that skips', 1, 'CREATE OR REPLACE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF NEW.id % 7 = 0 THEN RETURN NULL; END IF; RETURN NEW; END$$;
		CREATE TABLE t (id integer PRIMARY KEY, parent integer REFERENCES t); CREATE TRIGGER skip BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION skip()' ],
	[ 'an unlogged table', 1, 'CREATE UNLOGGED TABLE t (id integer PRIMARY KEY, parent integer REFERENCES t)' ],
);

sub random_records
{
	my ($form, $count) = @_;
	my $orphans = (0, 0.02, 0.3)[ rand 3 ];
	my $doubles = (0, 0.05)[ rand 2 ];
	my $style = int(rand 4); # chains, trees, anything (circles too), few parents
	my @records;
	for my $id (1 .. $count)
	{
		my $reference = sub {
			return $count + 1 + int(rand 5) if rand() < $orphans;
			return rand() < 0.2 ? '' : $id + 1 > $count ? '' : $id + 1 if $style == 0;
			return $id == 1 ? '' : 1 + int(rand($id - 1)) if $style == 1;
			return 1 + int(rand $count) if $style == 2;
			return 1 + int(rand min(3, $count));
		};
		my $own = rand() < $doubles ? 1 + int(rand $count) : $id;
		push @records, $form == 1 ? "$own," . $reference->()
		  : $form == 2 ? "$own," . $reference->() . ',' . $reference->()
		  : join(',', $own, 1, $reference->(), rand() < 0.1 ? '' : 1);
	}
	return rand() < 0.5 ? reverse @records : rand() < 0.2 ? @records : shuffle @records;
}

my $seed = $ENV{SEED} || 1;
my $cases = $ENV{CASES} // 60;
my $start = time;
my $wrong = 0;
for (my $case = $seed; !$wrong && ($ENV{TIME} ? time - $start < $ENV{TIME} : $case < $seed + $cases); $case++)
{
	srand($case);
	my ($what, $form, $table) = @{ $tables[ $case % @tables ] };
	my @records = random_records($form, 1 + int(rand((5, 30, 300)[ rand 3 ])));
	my $options = 'chunk_size => ' . (1 + int(rand @records)) . ', max_workers => ' . (1 + int(rand 3));
	my $import = load($table, \@records, $options);
	my @broken = broken_law($table, \@records, $import);
	$wrong = @broken;
	ok(!@broken, "case $case: $what, " . @records . " records, $options: $import->{success_count} in, $import->{error_count} refused")
	  or diag(join("\n", @broken, 'records:', @records));
}

# --- the end of the rounds is not the end of the server ---

# Waits at the gate when all chunks are in.
my $gated = "CREATE OR REPLACE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS \$\$
	BEGIN
		IF NOT EXISTS (SELECT FROM process_chunks c JOIN uploaded_files f ON f.id = uploaded_file_id WHERE f.status = 'Processing' AND c.status = 'Pending')
		   AND (SELECT row_count FROM uploaded_files WHERE status = 'Processing') IS NOT NULL
		THEN PERFORM pg_advisory_xact_lock_shared(1); END IF;
		RETURN NEW;
	END\$\$;
	DROP TABLE IF EXISTS t CASCADE; $tree; CREATE TRIGGER late BEFORE INSERT ON t FOR EACH ROW WHEN (NEW.id = 1) EXECUTE FUNCTION late()";
my @chain = ('1,2', '2,3', '3,1', '4,3', '5,6', '6,', '7,99');

sub in_round
{
	my ($name, $act) = @_;
	sql($gated);
	my $gate = close_gate($node);
	my $id = start_import($node, write_file('t' . $number++ . '.csv', join("\n", 'id,parent', @chain, '')), 't', 'chunk_size => 1, max_workers => 1, force => true');
	wait_at_gate($node, 1);
	$act->($id, $gate);
	return $id;
}

sub as_it_should_be
{
	my ($id, $name) = @_;
	my $import = wait_import($node, $id);
	is("$import->{status} $import->{success_count} $import->{error_count}", 'Completed with errors 6 1', $name);
	ledger_holds($node, $id, 't', '... the ledger holds');
	return;
}

my $id = in_round('cancel', sub {
	my ($id, $gate) = @_;
	is(sql("SELECT phase, rows_total FROM ml_progress WHERE id = $id"), 'loading|7', 'while the records that wait are loaded, the import is loading');
	is(sql("SELECT count(*) FROM rejected_rows WHERE uploaded_file_id = $id AND pending"), '6', '... they are pending');
	is(sql("SELECT ml_cancel($id)"), 't', '... and it can be cancelled');
	is(wait_import($node, $id)->{status}, 'Cancelled', '... which ends it');
	open_gate($gate);
});
ledger_holds($node, $id, 't', '... with a ledger that holds');
is(sql("SELECT ml_resume($id)"), 't', '... ml_resume goes on with what is pending');
as_it_should_be($id, '... to the end');

$id = in_round('terminate', sub {
	my ($id, $gate) = @_;
	sql("SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader'");
	open_gate($gate);
});
is(sql("SELECT phase FROM ml_progress WHERE id = $id"), 'interrupted', 'the leader is terminated in the round: interrupted');
sql("SELECT ml_resume($id)");
as_it_should_be($id, '... ml_resume goes on');

# ml_cancel ends what nobody leads: what is pending has not been tried, so it is not all in.
$id = in_round('abandoned', sub {
	my ($id, $gate) = @_;
	sql("SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader'");
	open_gate($gate);
});
sql("SELECT ml_cancel($id)");
is(wait_import($node, $id)->{status}, 'Cancelled', 'interrupted in the round, then cancelled: it is not complete');
is(sql("SELECT ml_resume($id)"), 't', '... ml_resume goes on with what is pending');
as_it_should_be($id, '... to the end');

$id = in_round('kill', sub {
	my ($id, $gate) = @_;
	my $pid = sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader'");
	my $position = -s $node->logfile;
	is(kill('KILL', $pid), 1, 'KILL for the leader in the round');
	$node->wait_for_log(qr/database system is ready to accept connections/, $position);
	eval { $gate->quit }; # the server has ended its session
});
is(sql("SELECT count(*) FROM rejected_rows WHERE uploaded_file_id = $id AND pending"), '6', 'killed in the round: six records are pending still');
sql("SELECT ml_resume($id)");
as_it_should_be($id, '... ml_resume goes on');

# A transient error is tried again.
sql("CREATE SEQUENCE tries; CREATE OR REPLACE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS \$\$
	BEGIN
		IF NOT EXISTS (SELECT FROM process_chunks c JOIN uploaded_files f ON f.id = uploaded_file_id WHERE f.status = 'Processing' AND c.status = 'Pending')
		   AND nextval('tries') < 3 THEN RAISE SQLSTATE '55P03'; END IF;
		RETURN NEW;
	END\$\$;");
sql("DROP TABLE t; $tree; CREATE TRIGGER late BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION late()");
$id = start_import($node, write_file('t' . $number++ . '.csv', join("\n", 'id,parent', @chain, '')), 't', 'chunk_size => 1, max_workers => 1, force => true');
as_it_should_be($id, 'an error that may pass: the round is tried again');

# So it is when the commit raises it.
sql("SELECT setval('tries', 1, false); DROP TABLE t; $tree;
	CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.id = 1) EXECUTE FUNCTION late();
	CREATE OR REPLACE FUNCTION defer() RETURNS trigger LANGUAGE plpgsql AS \$\$BEGIN SET CONSTRAINTS public.at_commit DEFERRED; RETURN NEW; END\$\$;
	CREATE TRIGGER defer BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION defer()");
$id = start_import($node, write_file('t' . $number++ . '.csv', join("\n", 'id,parent', @chain, '')), 't', 'chunk_size => 1, max_workers => 1, force => true');
as_it_should_be($id, 'an error that may pass at the commit: the round is tried again');
is(sql("SELECT last_value > 2 FROM tries"), 't', '... it was raised');
sql("DROP TABLE t; $tree; CREATE TRIGGER late BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION late()");

# One that does not pass ends the import, as it ends a chunk.
sql('TRUNCATE t; SELECT setval($$tries$$, 1, false)');
$id = start_import($node, write_file('t' . $number++ . '.csv', join("\n", 'id,parent', @chain, '')), 't', 'chunk_size => 1, max_workers => 1, force => true, max_retries => 1');
my $failed = wait_import($node, $id);
is("$failed->{status} $failed->{sqlstate} $failed->{error_count}", 'Failed 55P03 6', '... up to max_retries times; then the import fails');
sql('SELECT setval($$tries$$, 100)');
sql("SELECT ml_resume($id)");
as_it_should_be($id, '... and can be resumed');

# Cancelled when all is in, it is complete.
sql("DROP TABLE t; $tree; CREATE FUNCTION analyzed(integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS \$\$
	BEGIN
		IF (SELECT query FROM pg_catalog.pg_stat_activity WHERE pid = pg_backend_pid()) LIKE '%analyzing%' THEN PERFORM pg_catalog.pg_advisory_xact_lock_shared(1); END IF;
		RETURN \$1;
	END\$\$;
	CREATE INDEX ON t (analyzed(id))");
my $analyze_gate = close_gate($node);
$id = start_import($node, write_file('t' . $number++ . '.csv', join("\n", 'id,parent', @chain, '')), 't', 'chunk_size => 1, max_workers => 1, force => true');
wait_at_gate($node, 1);
is(sql("SELECT ml_cancel($id)"), 't', 'cancelled while the table is analyzed, behind the rounds');
as_it_should_be($id, '... all is in, and it is complete');
open_gate($analyze_gate);

# The file is another one when the import is resumed.
$id = in_round('file', sub { my ($id, $gate) = @_; sql("SELECT ml_cancel($id)"); wait_import($node, $id); open_gate($gate) });
my $path = sql("SELECT file_path FROM uploaded_files WHERE id = $id");
PostgreSQL::Test::Utils::append_to_file($path, "8,\n");
fails_like($node, "SELECT ml_resume($id)", '55000', qr/is not the one that import/, 'ml_resume wants the file as long as records are pending');

$node->stop;
done_testing();
