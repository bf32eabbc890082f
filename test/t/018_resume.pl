# An import that was interrupted (a process killed or terminated, the server stopped or killed), cancelled or has failed:
# what the views say of it, and that ml_resume loads exactly the rest, so that the table is as after COPY. Two calls at
# once, a worker of the dead leader that still holds a chunk, files and tables that have changed, other roles, calls that
# are rolled back.
#
# allow-log: terminated by signal 9: Killed
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = start_server('main', 'restart_after_crash = on', "movielens_ingest.retry_delay = '10ms'");
my $path = write_file('numbers.csv', numbers(100));
my $options = 'chunk_size => 10, min_chunks => 1, max_workers => 2, force => true';
my ($gate, $id, $row, @chunks);

sub sql { return $node->safe_psql('postgres', @_) }

sql(qq(CREATE TABLE t (id integer, name text); CREATE TABLE copied (LIKE t); COPY copied FROM '$path' (FORMAT csv, HEADER)));
# Two loaders stop here: chunks 1 to 4 are in then, 5 and 6 are being loaded.
add_gate($node, 't', 'NEW.id IN (45, 55)');

sub held_import
{
	my ($file, $more) = @_;
	sql('TRUNCATE t');
	$gate = close_gate($node);
	$id = start_import($node, $file // $path, 't', $options . ($more // ''));
	wait_at_gate($node, 2);
	return;
}

sub cancelled_import
{
	held_import(@_);
	sql("SELECT ml_cancel($id)");
	is(wait_import($node, $id)->{status}, 'Cancelled', 'an import is cancelled in the middle');
	processes_gone($node);
	open_gate($gate);
	return;
}

sub pid_of { return sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'movielens_ingest $_[0]'") }
sub status_of { return sql("SELECT status FROM uploaded_files WHERE id = $id") }
sub attempts { return join(' ', map { $_->{attempts} } chunk_list($node, $id)) }

# The import is complete, and all of it is in, once.
sub completes
{
	my ($name) = @_;
	$row = wait_import($node, $id);
	is("$row->{status} $row->{success_count} $row->{unprocessed_count} " . ($row->{error} // ''), 'Completed 100 0 ', $name);
	@chunks = chunk_list($node, $id);
	is(join(' ', map { $_->{status} } @chunks), join(' ', ('Completed') x 10), '... every chunk');
	is(sql('(TABLE t EXCEPT ALL TABLE copied) UNION ALL (TABLE copied EXCEPT ALL TABLE t)'), '', '... and the table is as after COPY');
	ledger_holds($node, $id, 't', '... and the ledger says so');
	processes_gone($node);
	return;
}

sub resumes
{
	my ($name) = @_;
	is(sql("SELECT ml_resume($id)"), 't', "$name: ml_resume goes on");
	completes('... and the import completes');
	return;
}

# ml_resume does nothing, and says why.
sub refuses
{
	my ($notice, $name) = @_;
	my ($rc, $stdout, $stderr) = $node->psql('postgres', "SELECT ml_resume($id)");
	ok($rc == 0 && $stdout eq 'f' && $stderr =~ /^psql:<stdin>:1: NOTICE:  import $id is $notice$/, $name) or diag("$rc $stdout $stderr");
	return;
}

# --- every end of a process, and of the server ---

sub crash
{
	my ($pid) = @_;
	my $position = -s $node->logfile;
	kill('KILL', $pid) == 1 or die "could not kill $pid";
	$node->wait_for_log(qr/database system is ready to accept connections/, $position);
	return;
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
	return;
}

# crashes: chunks that were being loaded in a crash; undef: that depends.
for my $end (
	[ 'a worker is killed', 2, sub { crash(pid_of('worker')) } ],
	[ 'the leader is killed', 2, sub { crash(pid_of('leader')) } ],
	[ 'the postmaster is killed', undef, \&kill_server ],
	[ 'immediate stop', 2, sub { $node->stop('immediate'); $node->start } ],
	[ 'fast stop', 0, sub { $node->stop('fast'); $node->start } ],
	[ 'the leader is terminated', 0, sub { sql('SELECT pg_terminate_backend(' . pid_of('leader') . ')') } ],
	[ 'the leader is cancelled', 0, sub { sql('SELECT pg_cancel_backend(' . pid_of('leader') . ')') }, 'Cancelled' ],
	[ 'ml_cancel', 0, sub { is(sql("SELECT ml_cancel($id)"), 't', 'ml_cancel is true') }, 'Cancelled' ])
{
	my ($name, $crashes, $end, $cancelled) = @$end;
	note $name;
	held_import();
	my ($server) = sql('SELECT pg_postmaster_start_time()');
	$end->();
	processes_gone($node);
	if ($cancelled)
	{
		$row = wait_import($node, $id);
		is("$row->{status} $row->{success_count} $row->{unprocessed_count} $row->{sqlstate}", 'Cancelled 40 60 57014', "$name: the import is Cancelled");
		ledger_holds($node, $id, 't', '... and the ledger says what is in');
		is(sql('SELECT count(*) FROM ml_progress'), 0, '... ml_progress has nothing to show');
	}
	else
	{
		$row = json_row($node, 'SELECT * FROM ml_progress');
		is("$row->{id} $row->{phase} $row->{rows_done} of $row->{rows_total}, $row->{chunks_done} of $row->{chunks_total}, $row->{workers}, $row->{percent}",
			sql("SELECT format('$id interrupted 40 of 100, 4 of 10, 0, %s', round(100.0 * sum(end_byte - start_byte) FILTER (WHERE chunk_number <= 4)
				/ sum(end_byte - start_byte), 1)) FROM process_chunks WHERE uploaded_file_id = $id"), "$name: ml_progress shows the import as interrupted");
		is($row->{resume}, "SELECT public.ml_resume($id)", '... with the call that goes on with it');
		fails_like($node, "SELECT ml_wait($id)", '55000', qr/import $id was interrupted.*HINT:  .*ml_resume\($id\)/s, '... and so does ml_wait');
		is(status_of(), 'Processing', '... its status is left');
	}
	is(sql('SELECT count(*) FROM t'), 40, '... what was committed is in');
	is(sql("SELECT sum(crashes) FROM process_chunks WHERE uploaded_file_id = $id"), $crashes, "... chunks in a crash: $crashes") if defined $crashes;
	eval { open_gate($gate) }; # unless its server is gone
	is(sql($row->{resume} // "SELECT ml_resume($id)"), 't', '... ml_resume goes on');
	completes('... and the import completes');
	# Whether an attempt that was cancelled counts is left open.
	my $again = $cancelled ? '[12]' : 2;
	like(join(' ', map { $_->{attempts} } @chunks), qr/^1 1 1 1 $again $again 1 1 1 1$/, '... with a second attempt at what was being loaded, and no other');
}

# Of a lost worker the import takes care itself.
for my $function ('terminate', 'cancel')
{
	held_import();
	my $pid = pid_of('worker');
	sql("SELECT pg_${function}_backend($pid)");
	poll($node, $function eq 'terminate' ? "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid"
		: "SELECT count(*) = 1 FROM process_chunks WHERE uploaded_file_id = $id AND sqlstate = '57014'", 'the worker loses its chunk');
	refuses('running', "$function a worker: there is nothing to resume");
	is(sql('SELECT phase FROM ml_progress'), 'loading', '... ml_progress says loading');
	open_gate($gate);
	completes('... the import completes');
	refuses('complete', '... and then there is nothing to resume either');
}

# --- in the middle of planning ---

# The leader stops at the gate before the first chunk is in the ledger.
sub unplanned_import
{
	my ($file) = @_;
	sql('TRUNCATE t');
	add_ledger_gate($node, 'process_chunks');
	$gate = close_gate($node);
	$id = start_import($node, $file, 't', $options);
	wait_at_gate($node, 1);
	is(sql('SELECT phase FROM ml_progress'), 'planning', 'an import is being planned');
	sql('SELECT pg_terminate_backend(' . pid_of('leader') . ')');
	processes_gone($node);
	open_gate($gate);
	sql('ALTER TABLE process_chunks DROP CONSTRAINT gate');
	$row = json_row($node, 'SELECT * FROM ml_progress');
	is("$row->{phase} $row->{chunks_total} $row->{percent}", 'interrupted 0 0', '... and is interrupted');
	is($row->{rows_total}, undef, '... with nobody knowing how many records there are');
	return;
}

unplanned_import($path);
resumes('interrupted before there was a chunk');

# As when a later step of the planner was interrupted (for a real one see t-all/101).
held_import();
sql('SELECT pg_terminate_backend(' . pid_of('leader') . ')');
processes_gone($node);
open_gate($gate);
sql("DELETE FROM process_chunks WHERE uploaded_file_id = $id AND chunk_number > 7;
	UPDATE uploaded_files SET row_count = NULL, unprocessed_count = NULL WHERE id = $id");
resumes('interrupted with 7 of 10 chunks planned');

# --- calls at the same time ---

# Both wait for the row; the gate is closed, so that the import runs when the second comes to it.
cancelled_import();
$gate = close_gate($node);
my $holder = $node->background_psql('postgres');
$holder->query_safe("BEGIN; SELECT FROM uploaded_files WHERE id = $id FOR UPDATE");
my @calls = map { in_session($node, "SELECT ml_resume($id)") } 1 .. 2;
poll($node, "SELECT count(*) = 2 FROM pg_stat_activity WHERE query LIKE 'SELECT ml_resume(%' AND wait_event_type = 'Lock'", 'two sessions resume it');
$holder->query_safe('COMMIT');
$holder->quit;
my @said = sort { $a->[0] cmp $b->[0] } map { [ $_->finish ] } @calls;
is(join(' ', map { $_->[0] } @said), 'f t', 'two sessions resume an import at once: one does');
like($said[0][1], qr/^NOTICE:  00000: import $id is running\n/, '... the other finds it running');
wait_at_gate($node, 2);
is(sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader'"), 1, '... it has one leader');
open_gate($gate);
completes('... and completes');

# A worker of the leader that died still holds a chunk.
held_import();
my $orphan = pid_of('worker');
kill('STOP', $orphan) == 1 or die;
END { kill 'KILL', $orphan if defined $orphan }
sql('SELECT pg_terminate_backend(' . pid_of('leader') . ')');
poll($node, "SELECT phase = 'interrupted' FROM ml_progress WHERE id = $id", 'the leader ends');
open_gate($gate);
is(sql("SELECT ml_resume($id)"), 't', 'resumed while a worker of the dead leader holds a chunk');
poll($node, "SELECT count(*) = 9 FROM process_chunks WHERE uploaded_file_id = $id AND status = 'Completed'", 'the other chunks are loaded');
poll($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE $orphan = ANY (pg_blocking_pids(pid)) AND backend_type LIKE 'movielens_ingest%'", 'somebody waits for the chunk');
is(status_of(), 'Processing', '... the import waits for it');
kill('CONT', $orphan) == 1 or die;
undef $orphan;
completes('... and completes when it lets go');

# --- calls that are rolled back ---

cancelled_import();
my $before = sql("SELECT f, (SELECT array_agg(c ORDER BY id) FROM process_chunks c WHERE uploaded_file_id = f.id) FROM uploaded_files f WHERE id = $id");
for my $call (
	[ 'ROLLBACK', "BEGIN; SELECT ml_resume($id); ROLLBACK" ],
	[ 'ROLLBACK TO SAVEPOINT', "BEGIN; SAVEPOINT a; SELECT ml_resume($id); ROLLBACK TO SAVEPOINT a; COMMIT" ],
	[ 'an exception that is caught', "DO 'BEGIN PERFORM ml_resume($id); RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END'" ])
{
	my ($name, $call) = @$call;
	sql($call);
	is(sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%'"), 0, "ml_resume and $name: starts nothing");
	is(sql("SELECT f, (SELECT array_agg(c ORDER BY id) FROM process_chunks c WHERE uploaded_file_id = f.id) FROM uploaded_files f WHERE id = $id"), $before,
		'... and leaves the ledger as it was');
}
fails_like($node, "BEGIN; SELECT ml_resume($id); SELECT ml_wait($id)", '55000', qr/does not begin before this transaction commits/, 'ml_wait in the same transaction is refused');
is(sql("BEGIN; SAVEPOINT a; SELECT ml_resume($id); ROLLBACK TO a; SELECT ml_resume($id); SAVEPOINT b; RELEASE b; COMMIT"), "t\nt", 'a second call after the first was rolled back');
completes('... completes the import');

# --- running, complete, unknown ---

held_import();
refuses('running', 'ml_resume of a running import');
open_gate($gate);
completes('... which completes');
refuses('complete', 'ml_resume of a complete import');
fails_like($node, "SELECT ml_resume($id + 1)", '42704', qr/import @{[ $id + 1 ]} does not exist/, 'ml_resume of an unknown import');
fails_like($node, 'SELECT ml_resume(NULL)', '22004', qr/must not be null/, 'ml_resume of no import');
fails_like($node, "BEGIN READ ONLY; SELECT ml_resume($id)", '25006', qr/read-only/, 'ml_resume in a read-only transaction');

# --- the file ---

# Puts another file in place, with another inode.
sub put
{
	my ($file, $bytes) = @_;
	my $fresh = write_file('fresh.csv', $bytes);
	rename($fresh, $file) or die "could not rename $fresh: $!";
	return;
}

my $file = write_file('file.csv', numbers(100));
cancelled_import($file);
put($file, numbers(99));
fails_like($node, "SELECT ml_resume($id)", '55000', qr/file "\Q$file\E" is not the one.*Its size was \d+ bytes and is \d+ bytes.*HINT:  /s, 'ml_resume of a file that was cut');
unlink($file) or die;
fails_like($node, "SELECT ml_resume($id)", '58P01', qr/could not stat file "\Q$file\E"/, '... that is missing');
put($file, numbers(100) =~ s/name 47/name 74/r);
fails_like($node, "SELECT ml_resume($id)", '55000', qr/is not the one.*Its bytes from \d+ to \d+, which are not loaded yet, are others/s, '... with other bytes in a chunk that is not loaded');
is(status_of(), 'Cancelled', '... leave it as it was');
put($file, numbers(100) =~ s/name 17/name 71/r);
resumes('other bytes in a chunk that is loaded');

$file = write_file('copy.csv', numbers(100));
cancelled_import($file);
put($file, numbers(100));
resumes('a copy of the file');

$file = write_file('touched.csv', numbers(100));
cancelled_import($file);
utime(1e9, 1e9, $file) == 1 or die;
resumes('the same file with another modification time');

# Of what is not planned nobody knows the bytes: here the columns change places.
$file = write_file('unplanned.csv', numbers(100));
unplanned_import($file);
put($file, numbers(100) =~ s/^id,name\n/name,id\n/r =~ s/^(\d+),(name \d+)$/$2,$1/mgr);
fails_like($node, "SELECT ml_resume($id)", '55000', qr/is not the one/, 'another file of the same size, and no plan to compare it with');

# --- the table ---

cancelled_import();
sql('ALTER TABLE t RENAME TO renamed');
fails_like($node, "SELECT ml_resume($id)", '55000', qr/the table of import $id was public\.t and is public\.renamed.*HINT:  /s, 'the table was renamed');
sql('CREATE TABLE t (LIKE renamed)');
fails_like($node, "SELECT ml_resume($id)", '55000', qr/is public\.renamed/, '... and another one has its name');
sql('DROP TABLE t; ALTER TABLE renamed RENAME TO t');
resumes('... it has its name again');

cancelled_import();
sql('DROP TABLE t; CREATE TABLE t (LIKE copied)');
add_gate($node, 't', 'NEW.id IN (45, 55)');
fails_like($node, "SELECT ml_resume($id)", '42P01', qr/table public\.t does not exist/, 'the table was dropped, and another one has its name');
is(status_of() . ' ' . sql('SELECT count(*) FROM t'), 'Cancelled 0', '... nothing is loaded into that');

# --- failed chunks ---

sql(q(
	CREATE TABLE broken (sqlstate text);
	CREATE FUNCTION maybe() RETURNS trigger LANGUAGE plpgsql AS $$
	DECLARE state text;
	BEGIN
		FOR state IN SELECT sqlstate FROM broken LOOP
			RAISE EXCEPTION 'broken' USING ERRCODE = state;
		END LOOP;
		RETURN NEW;
	END$$;
	CREATE TRIGGER maybe BEFORE INSERT ON t FOR EACH ROW WHEN (NEW.id = 55) EXECUTE FUNCTION maybe();
	INSERT INTO broken VALUES ('42P01')));
$id = start_import($node, $path, 't', $options);
is(wait_import($node, $id)->{status} . ' ' . (chunk_list($node, $id))[5]{attempts}, 'Failed 1', 'an import fails, at its first attempt');
is(sql("UPDATE broken SET sqlstate = '55P03'; SELECT ml_resume($id)"), 't', '... is resumed');
$row = wait_import($node, $id);
is("$row->{status} $row->{success_count} $row->{sqlstate} $row->{error}", 'Failed 90 55P03 broken', '... and fails otherwise');
is((chunk_list($node, $id))[5]{attempts}, 4, '... after all its attempts');
is(sql("SELECT status FROM ml_wait($id); SELECT ml_resume($id)"), "Failed\nt", '... is resumed again');
is(wait_import($node, $id)->{status} . ' ' . (chunk_list($node, $id))[5]{attempts}, 'Failed 4', '... to fail after as many');
sql('TRUNCATE broken');
resumes('when the cause is gone');
is(attempts(), join(' ', (1) x 10), '... the chunk in one attempt');

# Right after its end, again and again.
sql("INSERT INTO broken VALUES ('42P01'); TRUNCATE t");
$id = start_import($node, $path, 't', $options);
is(sql(join(';', ("SELECT status FROM ml_wait($id)", "SELECT ml_resume($id)") x 20)) =~ s/Failed\nt\n?//gr, '', 'resumed at once after its end, twenty times');
wait_import($node, $id);
sql('TRUNCATE broken');
resumes('after all that');

# --- roles ---

sql(q(
	CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE watcher LOGIN; CREATE ROLE mallory LOGIN;
	GRANT pg_read_server_files TO alice, bob, watcher; GRANT pg_monitor TO watcher;
	CREATE TABLE who (who name, session name); GRANT INSERT ON who, t TO alice; GRANT SELECT ON broken TO alice;
	CREATE FUNCTION record_who() RETURNS trigger LANGUAGE plpgsql
	AS $$BEGIN INSERT INTO public.who VALUES (current_user, session_user); RETURN NULL; END$$;
	CREATE TRIGGER record_who AFTER INSERT ON t FOR EACH STATEMENT EXECUTE FUNCTION record_who()));

sub as_role { return (extra_params => [ '-U', $_[0] ]) }
sub role { return (connstr => $node->connstr('postgres') . " user=$_[0]") }

sub import_of_alice
{
	sql('TRUNCATE t, who');
	$gate = close_gate($node);
	$id = sql("SELECT ml_import('$path', 't', $options)", as_role('alice'));
	wait_at_gate($node, 2);
	sql('SELECT pg_terminate_backend(' . pid_of('leader') . ')');
	processes_gone($node);
	open_gate($gate);
	return;
}

import_of_alice();
is(sql('SELECT DISTINCT who, session FROM who'), 'alice|alice', 'an import of alice');
fails_like($node, "SELECT ml_resume($id)", '42704', qr/import $id does not exist/, '... is not there for another role', role('bob'));
fails_like($node, "SELECT ml_resume($id)", '42501', qr/permission denied to resume import $id.*Only the role that started it and superusers/s, '... nor to be resumed by one that sees it', role('watcher'));
fails_like($node, "SELECT ml_resume($id)", '42501', qr/permission denied for function ml_resume/, '... or one that may not read files', role('mallory'));
is(status_of(), 'Processing', '... who leave it as it was');
sql('TRUNCATE who');
resumes('a superuser resumes it');
is(sql('SELECT DISTINCT who, session FROM who'), 'alice|alice', '... for alice');

import_of_alice();
sql('REVOKE INSERT ON t FROM alice');
fails_like($node, "SELECT ml_resume($id)", '42501', qr/permission denied for table t/, 'alice may not insert any more', role('alice'));
sql('GRANT INSERT ON t TO alice; REVOKE pg_read_server_files FROM alice; GRANT EXECUTE ON FUNCTION ml_resume TO alice');
fails_like($node, "SELECT ml_resume($id)", '42501', qr/permission denied to read file/, '... nor read files', role('alice'));
sql('GRANT pg_read_server_files TO alice; TRUNCATE who');
is(sql("SELECT ml_resume($id)", as_role('alice')), 't', 'alice resumes it herself');
completes('... and it completes');
is(sql('SELECT DISTINCT who, session FROM who'), 'alice|alice', '... for her');

$node->stop;
done_testing();
