# on_error => 'stop' and reject_limit: an exact number of records of the whole file, wherever its chunks are loaded and however
# often they are tried. What is committed stays, and ml_resume goes on once the rest can be loaded.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use Test::More;

my $node = start_server('main', "movielens_ingest.retry_delay = '1ms'");

# 400 records, one of 50 no integer; and the same without bad ones, of which some may lack a parent.
my $bytes = numbers(400);
$bytes =~ s/^(\d*[05]0),/bad $1,/mg;
my $path = write_file('some_bad.csv', $bytes);
my $orphans = write_file('orphans.csv', numbers(400));
my $bad = () = $bytes =~ /^bad/mg;

sub sql { return $node->safe_psql('postgres', $_[0]) }
sub new_table { sql("DROP TABLE IF EXISTS t, parent; CREATE TABLE parent (id integer PRIMARY KEY); CREATE TABLE t (id integer $_[0], name text)"); return }

sub outcome
{
	my ($row) = @_;
	return join(' ', map { $row->{$_} // '-' } 'status', 'sqlstate', 'success_count', 'error_count', 'unprocessed_count');
}

sub rejected { return sql("SELECT count(*), count(DISTINCT row_number) FROM rejected_rows WHERE uploaded_file_id = $_[0]") }

# The import failed, and no more than the limit was refused; the ledger has all of it.
sub failed_by_limit
{
	my ($row, $limit, $sqlstate, $name) = @_;
	is("$row->{status} $row->{sqlstate}", "Failed $sqlstate", $name);
	my ($refused) = split(/\|/, rejected($row->{id}));
	cmp_ok($refused, '<=', $limit, "... with $refused refused");
	ledger_holds($node, $row->{id}, 't', '... and counted');
	my ($line, $reason) = $row->{error} =~ /^more than $limit records of file ".*\.csv" were refused, the last one at line (\d+): (.*)$/;
	my ($chunk) = grep { ($_->{errors} // '') eq $row->{error} } chunk_list($node, $row->{id});
	ok($chunk && $chunk->{status} eq 'Failed' && $line >= $chunk->{start_line} && $line - 1 <= $chunk->{end_row}, '... the error names a line of its chunk')
	  or diag($row->{error});
	return ($line, $reason);
}

# --- the limit ---

for my $workers (1, 4)
{
	my $options = "chunk_size => 10, min_chunks => 1, max_workers => $workers, force => true";
	new_table('');
	my $row = imported($node, $path, 't', "$options, reject_limit => $bad");
	is(outcome($row), 'Completed with errors - ' . (400 - $bad) . " $bad 0", "reject_limit $bad, $bad bad records, $workers processes: loaded");
	is(rejected($row->{id}), "$bad|$bad", '... each noted once');

	new_table('');
	$row = imported($node, $path, 't', "$options, reject_limit => " . ($bad - 1));
	my ($line, $reason) = failed_by_limit($row, $bad - 1, '22P02', 'reject_limit ' . ($bad - 1) . ': Failed');
	is($reason, 'invalid input syntax for type integer: "bad ' . ($line - 1) . '"', '... and the reason');
	is(sql("SELECT ml_resume($row->{id})"), 't', '... nothing has changed, and it is resumed');
	failed_by_limit(wait_import($node, $row->{id}), $bad - 1, '22P02', '... Failed again');

	new_table('');
	$row = imported($node, $path, 't', "$options, reject_limit => 0");
	failed_by_limit($row, 0, '22P02', 'reject_limit 0: Failed');
	is(rejected($row->{id}), '0|0', '... nothing is refused');
	new_table('');
	is(outcome(imported($node, $orphans, 't', "$options, reject_limit => 0")), 'Completed - 400 0 0', 'reject_limit 0, and nothing is bad: loaded');
}

# Records that were refused in an attempt that failed do not count: each chunk fails once, at its end.
my $options = 'chunk_size => 10, min_chunks => 1, max_workers => 4, force => true';
for my $sqlstate ('55P03', '40001')
{
	new_table('');
	sql(qq(SELECT format('CREATE SEQUENCE tries_%s', n) FROM generate_series(0, 39) n \\gexec
		CREATE FUNCTION pass(id integer) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS \$\$
		BEGIN
			IF id % 10 = 9 AND nextval('tries_' || id / 10) = 1 THEN RAISE EXCEPTION 'once' USING ERRCODE = '$sqlstate'; END IF;
			RETURN true;
		END\$\$;
		ALTER TABLE t ADD CHECK (pass(id))));
	my $bad_first = $bytes =~ s/^bad (\d+),(.*)$/$1,$2/mgr =~ s/^(\d*[05]1),/bad $1,/mgr;
	my $count = () = $bad_first =~ /^bad/mg;
	my $row = imported($node, write_file('bad_first.csv', $bad_first), 't', "$options, reject_limit => $count");
	is(outcome($row), 'Completed with errors - ' . (400 - $count) . " $count 0", "each chunk fails once with $sqlstate behind its bad record, reject_limit $count: loaded");
	is(sql("SELECT count(*) FROM process_chunks WHERE uploaded_file_id = $row->{id} AND sqlstate = '$sqlstate'"), 40, '... having failed');
	is(rejected($row->{id}), "$count|$count", '... each bad record is noted once');
	sql("DROP TABLE t; SELECT format('DROP SEQUENCE tries_%s', n) FROM generate_series(0, 39) n \\gexec\nDROP FUNCTION pass");
}

# Nor those of a worker that was terminated.
new_table('');
add_gate($node, 't', 'NEW.id % 50 = 49');
my $gate = close_gate($node);
my $id = start_import($node, $path, 't', "chunk_size => 50, min_chunks => 1, max_workers => 2, force => true, reject_limit => $bad");
wait_at_gate($node, 2);
is(sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'movielens_ingest worker'"), 1, 'a worker is terminated within a chunk with bad records');
open_gate($gate);
is(outcome(wait_import($node, $id)), 'Completed with errors - ' . (400 - $bad) . " $bad 0", '... they count once');

# --- stop ---

for my $writer (@writers)
{
	sql("LOAD 'movielens_ingest'; ALTER SYSTEM SET movielens_ingest.writer = '$writer'; SELECT pg_reload_conf()");
	new_table('');
	my $stopped = imported($node, $path, 't', "on_error => 'stop', chunk_size => 10, min_chunks => 1, max_workers => 1, force => true");
	is(outcome($stopped), 'Failed 22P02 40 0 360', "on_error => 'stop', $writer: Failed at the first bad record, the chunks before it are in");
	is($stopped->{error}, qq(record at line 51 of file "$path" was refused: invalid input syntax for type integer: "bad 50"), '... the error names it');
	is((grep { $_->{status} eq 'Failed' } chunk_list($node, $stopped->{id}))[0]{errors}, $stopped->{error}, '... in the row of the chunk too');
	is(rejected($stopped->{id}), '0|0', '... nothing is refused');
	ledger_holds($node, $stopped->{id}, 't', '... and counted');

	# Keys and parents, which are found when the records of a chunk go in.
	new_table('UNIQUE');
	sql('INSERT INTO t VALUES (35)');
	$stopped = imported($node, $orphans, 't', "on_error => 'stop', chunk_size => 10, min_chunks => 1, max_workers => 1, force => true");
	is(outcome($stopped), 'Failed 23505 30 0 370', '... at a key that is there');
	like($stopped->{error}, qr/^record at line 36 of file .* was refused: duplicate key value violates unique constraint "t_id_key"$/, '... whose line is named');

	new_table('REFERENCES parent');
	sql('INSERT INTO parent SELECT generate_series(1, 400); DELETE FROM parent WHERE id IN (77, 333)');
	$stopped = imported($node, $orphans, 't', "on_error => 'stop', $options");
	is("$stopped->{status} $stopped->{sqlstate}", 'Failed 23503', '... at a record without a parent, 4 processes');
	like($stopped->{error}, qr/^record at line (78|334) of file .* was refused: insert or update on table "t" violates foreign key constraint "t_id_fkey"$/, '... whose line is named');
	is(rejected($stopped->{id}), '0|0', '... nothing is refused');
	ledger_holds($node, $stopped->{id}, 't', '... and counted');
	sql('INSERT INTO parent VALUES (77), (333)');
	is(sql("SELECT ml_resume($stopped->{id})"), 't', '... resumed when the parents are there');
	is(outcome(wait_import($node, $stopped->{id})), 'Completed - 400 0 0', '... it completes');
	ledger_holds($node, $stopped->{id}, 't', '... with each record once');
}
sql('LOAD $$movielens_ingest$$; ALTER SYSTEM RESET movielens_ingest.writer; SELECT pg_reload_conf()');

# --- a limit that was met, and then fewer records are bad ---

new_table('REFERENCES parent');
sql('INSERT INTO parent SELECT n FROM generate_series(1, 400) n WHERE n % 40 <> 0');
my $row = imported($node, $orphans, 't', "$options, reject_limit => 9");
my ($line, $reason) = failed_by_limit($row, 9, '23503', 'ten orphans, reject_limit 9: Failed');
is($reason, 'insert or update on table "t" violates foreign key constraint "t_id_fkey"', '... the reason');
sql("INSERT INTO parent VALUES ($line - 1)");
is(sql("SELECT ml_resume($row->{id})"), 't', '... resumed when that parent is there');
$row = wait_import($node, $row->{id});
is(outcome($row), 'Completed with errors - 391 9 0', '... it completes, those refused before counted');
ledger_holds($node, $row->{id}, 't', '... with each record once');

$node->stop;
done_testing();
