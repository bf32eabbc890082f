# The ledger cannot be written for a while, as when the disk is full: whatever an import was about to note is noted when it
# can be, by the same processes, and nothing of it is lost: errors of chunks, cancels, the end of an import that is complete
# but for that. No chunk is left with a crash that never was, the log says it once, and the launcher waits too.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_server('main', "shared_preload_libraries = 'movielens_ingest'", "movielens_ingest.retry_delay = '10ms'");
my $path = write_file('numbers.csv', numbers(100));
my $options = 'chunk_size => 10, min_chunks => 1, max_workers => 2, force => true';
my $folder = PostgreSQL::Test::Utils::tempdir('full');
my ($gate, $id, $log);

sub sql { return $node->safe_psql('postgres', @_) }

# While there is a file of a table's name, no row of that table is written.
sql(qq(
	CREATE TABLE t (id integer, name text);
	CREATE SEQUENCE tries;
	CREATE FUNCTION has_room(what text) RETURNS boolean LANGUAGE plpgsql AS \$\$BEGIN
		IF (pg_stat_file('$folder/' || what, true)).size IS NOT NULL THEN
			PERFORM nextval('public.tries');
			RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full';
		END IF;
		RETURN true;
	END\$\$;
	ALTER TABLE uploaded_files ADD CHECK (has_room('uploaded_files'));
	ALTER TABLE process_chunks ADD CHECK (has_room('process_chunks'))));
add_gate($node, 't', 'NEW.id IN (45, 55)');

sub fill { for my $table (@_) { open(my $file, '>', "$folder/$table") or die; close($file) } return }
sub make_room { unlink(glob("$folder/*")); return }

sub held_import
{
	sql('TRUNCATE t');
	$gate = close_gate($node);
	$log = -s $node->logfile;
	$id = start_import($node, $path, 't', $options);
	wait_at_gate($node, 2);
	return;
}

# Until it is logged so often.
sub logged
{
	my ($what, $times) = @_;
	my $pattern = "(?:$what.*?)" x ($times // 1);
	$node->wait_for_log(qr/$pattern/s, $log);
	return;
}

sub times_logged
{
	my ($what) = @_;
	my @found = PostgreSQL::Test::Utils::slurp_file($node->logfile, $log) =~ /($what)/g;
	return scalar(@found);
}

# Until a write has been tried so often again.
sub tried
{
	my ($times) = @_;
	my $until = sql('SELECT last_value FROM tries') + $times;
	poll($node, "SELECT last_value >= $until FROM tries", "$times tries");
	return;
}

sub processes { return sql("SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%'") }

sub ends
{
	my ($expected, $name) = @_;
	my $row = wait_import($node, $id);
	is(join(' ', map { $_ // '-' } @$row{qw(status sqlstate success_count unprocessed_count)}), $expected, $name);
	is(join(' ', map { $_->{crashes} } chunk_list($node, $id)), join(' ', (0) x 10), '... no chunk is left with a crash');
	ledger_holds($node, $id, 't', '... and the ledger is right');
	poll($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%'", 'leader and workers end');
	return;
}

# The chunks in hand can't be noted as loaded, nor their errors.
held_import();
my $before = processes();
fill('uploaded_files', 'process_chunks');
open_gate($gate);
logged('could not note how an attempt at a chunk failed: could not extend file', 2);
tried(6);
is(processes(), $before, 'all processes are there while nothing can be noted');
make_room();
ends('Completed - 100 0', 'with room again the import goes on, and completes');
is(join(' ', map { $_->{attempts} . ($_->{sqlstate} // '') } (chunk_list($node, $id))[ 4, 5 ]), '253100 253100', '... the errors are noted');
is(times_logged('could not (?:note|count|write|go on)'), 2, '... the log has a line of each process');

# The leader is cancelled.
held_import();
$before = processes();
fill('uploaded_files', 'process_chunks');
sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader'");
logged('could not take back the count of an attempt: could not extend file');
is(processes(), $before, 'a leader that is cancelled waits until it can say so');
make_room();
ends('Cancelled 57014 40 60', '... and does');
open_gate($gate);

# All rows are in but the end can't be written.
held_import();
fill('uploaded_files');
open_gate($gate);
poll($node, "SELECT count(*) = 10 FROM process_chunks WHERE uploaded_file_id = $id AND status = 'Completed'", 'all chunks are loaded');
logged('could not (?:write|count) [^\n]*: could not extend file');
tried(3);
is(sql("SELECT status FROM uploaded_files WHERE id = $id"), 'Processing', 'an end that cannot be written is awaited');
make_room();
ends('Completed - 100 0', '... and is what it is');

# Planning is tried as often as a chunk.
sql('TRUNCATE t');
$log = -s $node->logfile;
fill('process_chunks');
$id = start_import($node, $path, 't', $options);
logged("planning import $id failed in attempt 2");
make_room();
ends('Completed - 100 0', 'a plan that cannot be written is written later');
sql('TRUNCATE t');
fill('process_chunks');
$id = start_import($node, $path, 't', $options . ', max_retries => 1');
my $row = wait_import($node, $id);
is(join(' ', map { $_ // '-' } @$row{qw(status sqlstate error)}), 'Failed 53100 could not extend file', '... but not for ever');
make_room();
is(sql("SELECT ml_resume($id)"), 't', '... then it is resumed');
ends('Completed - 100 0', '... and completes');

# The leader has gone, and the server starts again, before there is room.
held_import();
$log = -s $node->logfile;
$node->stop('immediate');
$gate->quit;
fill('uploaded_files', 'process_chunks');
$node->start;
logged('could not go on with an interrupted import: could not extend file');
make_room();
poll($node, 'SELECT count(*) = 0 FROM ml_progress', 'the import ends');
is(wait_import($node, $id)->{status}, 'Completed', 'the launcher goes on with an import when there is room');
is(sql('SELECT count(*), count(DISTINCT id) FROM t'), '100|100', '... each row is there once');

$node->stop;
done_testing();
