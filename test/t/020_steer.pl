# ml_cancel: who may call it, and that leader and workers end within moments whatever they are at, with what is committed
# kept and nothing of other files touched; ml_load cancelled, timed out or terminated; what ml_progress shows in each
# phase; LISTEN gets one message for each change of state.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use JSON::PP qw(decode_json);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_server('main', "movielens_ingest.retry_delay = '30s'");
my $path = write_file('numbers.csv', numbers(100));
my $options = 'chunk_size => 10, min_chunks => 1, force => true';
my ($id, $row, $gate, $session);

$node->safe_psql('postgres', q(
	CREATE TABLE t (id integer, name text); CREATE TABLE copied (LIKE t);
	CREATE ROLE owner LOGIN; CREATE ROLE member LOGIN IN ROLE owner; CREATE ROLE heir LOGIN NOINHERIT IN ROLE owner;
	CREATE ROLE signaller LOGIN IN ROLE pg_signal_backend; CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
	CREATE ROLE watchman LOGIN IN ROLE pg_monitor, pg_signal_backend; CREATE ROLE stranger LOGIN;
	GRANT pg_read_server_files TO owner; GRANT INSERT ON t TO owner));
$node->safe_psql('postgres', "COPY copied FROM '$path' (FORMAT csv, HEADER)");

sub query { return $node->safe_psql('postgres', @_) }

# A call by another role: what it returned, or its error, and the message.
sub call_as
{
	my ($role, $sql) = @_;
	my ($rc, $stdout, $stderr) = $node->psql('postgres', $sql, extra_params => [ '-U', $role, '-v', 'VERBOSITY=verbose' ]);
	return $rc == 0 && $stderr eq '' ? $stdout : $stderr =~ /^psql:.*?: (\w+):  (\w+): (.*)/m ? ($1 eq 'ERROR' ? $2 : "$stdout, $3") : $stderr;
}

# A fresh table t; a row trigger with this body if there is one.
sub new_table
{
	my ($body) = @_;
	query('DROP TABLE IF EXISTS t CASCADE; CREATE TABLE t (id integer, name text); GRANT INSERT ON t TO owner');
	query(qq(
		DROP SEQUENCE IF EXISTS calls; CREATE SEQUENCE calls;
		CREATE OR REPLACE FUNCTION body() RETURNS trigger LANGUAGE plpgsql AS \$\$BEGIN $body; RETURN NEW; END\$\$;
		CREATE TRIGGER body BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION body())) if defined $body;
	return;
}

# It ended Cancelled with so many rows; resumed without what held it up, it completes, and the table is as after COPY.
sub cancelled
{
	my ($name, $import, $rows) = @_;
	my $end = wait_import($node, $import);
	my $rest = defined $end->{row_count} ? 100 - $rows : 'null';
	is(join(' ', @$end{qw(status sqlstate error success_count)}, $end->{unprocessed_count} // 'null'),
		"Cancelled 57014 canceling statement due to user request $rows $rest", "$name: Cancelled, $rows rows are in");
	processes_gone($node);
	is(query('SELECT count(*) FROM t'), $rows, '... and in the table');
	is(query("SELECT count(*) FROM process_chunks WHERE uploaded_file_id = $import AND status NOT IN ('Pending', 'Completed') OR crashes <> 0"), '0',
		'... the other chunks are pending');
	query('ALTER TABLE t DISABLE TRIGGER ALL');
	is(query("SELECT ml_resume($import)"), 't', '... resumed');
	$end = wait_import($node, $import);
	is("$end->{status} $end->{success_count}", 'Completed 100', '... it completes');
	ledger_holds($node, $import, 't', '... with its counts');
	is(query('(TABLE t EXCEPT ALL TABLE copied) UNION ALL (TABLE copied EXCEPT ALL TABLE t)'), '', '... the table is as after COPY');
	processes_gone($node);
	return;
}

# --- who may ---

my $unknown = 'import \d+ does not exist';
sub held_import
{
	my ($role) = @_;
	new_table();
	add_gate($node, 't');
	$gate = close_gate($node);
	my $import = query("SELECT ml_import('$path', 't', $options, max_workers => 2)", extra_params => [ '-U', $role ]);
	wait_at_gate($node, 2);
	return $import;
}

my $superuser = query('SELECT current_user');
for my $case ([ owner => 'owner' ], [ owner => 'member' ], [ owner => 'signaller' ], [ owner => 'watchman' ], [ owner => $superuser ],
	[ $superuser => $superuser ])
{
	my ($owner, $role) = @$case;
	$id = held_import($owner);
	my $refused = $owner eq 'owner' ? 'heir 42704, monitor 42501, stranger 42704' : 'owner 42704, signaller 42704, monitor 42501, watchman 42501, stranger 42704';
	is(join(', ', map { "$_ " . call_as($_, "SELECT ml_cancel($id)") } $refused =~ /([a-z]+) /g), $refused, "an import of role $owner: others may not cancel it")
	  if $role ne 'member';
	is(call_as($role, "SELECT ml_cancel($id)"), 't', "... $role may");
	is(wait_import($node, $id)->{status}, 'Cancelled', '... Cancelled');
	open_gate($gate);
	processes_gone($node);
	is(call_as($role, "SELECT ml_cancel($id)"), "f, import $id has ended already", '... once');
}
is(call_as('stranger', "SELECT ml_cancel($id)"), '42704', 'an import that has ended, and that the role may not see');
is(call_as('monitor', "SELECT ml_cancel($id)"), '42501', '... or may see');
is(call_as($superuser, 'SELECT ml_cancel(4711)'), '42704', 'no such import');

# --- in the middle of slow chunks ---

for my $workers (1, 3)
{
	new_table('IF NEW.id > 20 THEN PERFORM pg_sleep(600); END IF');
	$id = start_import($node, $path, 't', "$options, max_workers => $workers");
	poll($node, "SELECT count(*) = $workers FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%' AND wait_event = 'PgSleep'",
		"$workers processes are in slow chunks");
	is(query("SELECT ml_cancel($id)"), 't', "slow chunks, max_workers => $workers: cancelled");
	cancelled('slow chunks', $id, 20);
	is(query("SELECT count(*) FROM process_chunks WHERE uploaded_file_id = $id AND sqlstate = '57014'"), $workers - 1, '... what a worker was at shows why it ended');
}

# Cancelled again and again, by its id or by hand, until its leader is gone.
for my $cancel ("ml_cancel(import)", 'pg_cancel_backend(leader)')
{
	new_table('PERFORM pg_sleep(600)');
	$id = start_import($node, $path, 't', "$options, max_workers => 2");
	poll($node, "SELECT count(*) = 2 FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%' AND wait_event = 'PgSleep'", 'two processes are in slow chunks');
	my ($rc) = $node->psql('postgres', qq(
		SET statement_timeout = '20s';
		DO \$\$
		DECLARE
			import bigint := $id;
			leader integer := (SELECT pid FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader');
		BEGIN
			WHILE $cancel LOOP
			END LOOP;
		END\$\$), on_error_stop => 1);
	is($rc, 0, "$cancel again and again: the leader ends");
	is(query("SELECT status, success_count, unprocessed_count FROM ml_wait($id)"), 'Cancelled|0|100', '... Cancelled');
	processes_gone($node);
}
unlike(slurp_file($node->logfile), qr/exited with exit code/, '... and no process ended with an error');

# --- in a pause before another try, of the leader or of a worker ---

for my $type ('leader', 'worker')
{
	new_table(qq(IF (SELECT backend_type FROM pg_stat_activity WHERE pid = pg_backend_pid()) = 'movielens_ingest $type' THEN
			RAISE EXCEPTION 'not now' USING ERRCODE = '55P03';
		ELSE PERFORM pg_sleep(600); END IF));
	$id = start_import($node, $path, 't', "$options, max_workers => 2");
	poll($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'movielens_ingest $type' AND query LIKE '%pausing%'", "the $type pauses");
	poll($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%' AND wait_event = 'PgSleep'", 'the other process loads');
	is(query("SELECT retries || ' ' || workers FROM ml_progress WHERE id = $id") =~ /^[01] 2$/, 1, "the $type pauses: ml_progress");
	is(query("SELECT ml_cancel($id)"), 't', '... cancelled');
	cancelled('a pause', $id, 0);
	is(query("SELECT processing_duration < '25 s' FROM uploaded_files WHERE id = $id"), 't', '... before the pause would have ended');
}

# --- while it is planned ---

new_table();
$session = $node->background_psql('postgres');
$session->query_safe('BEGIN; LOCK TABLE process_chunks IN EXCLUSIVE MODE');
$id = start_import($node, $path, 't', $options);
poll($node, "SELECT count(*) = 1 FROM pg_locks WHERE relation = 'process_chunks'::regclass AND NOT granted", 'planning is held up');
is(query('SELECT phase, rows_done, rows_total, bytes_done, percent, time_left, workers, chunks_total, bar, resume FROM ml_progress', extra_params => [ '-P', 'null=-' ]),
	'planning|0|-|0|0.0|-|0|0|[--------------------]|-', 'while it is planned: ml_progress');
is(query("SELECT ml_cancel($id)"), 't', '... cancelled');
$session->query_safe('COMMIT');
cancelled('planning', $id, 0);

# --- before its leader has begun ---

new_table();
$session->query_safe('BEGIN');
$id = $session->query_safe("SELECT ml_import('$path', 't', $options)");
fails_like($node, "SELECT ml_cancel($id)", '42704', qr/$unknown/, 'before the commit of the call: there is no such import');
is(query('SELECT count(*) FROM ml_progress'), '0', '... nor is it shown');
$session->query_safe('ROLLBACK');
processes_gone($node);

# Its row is held by a session that waits for the commit too, so that the leader cannot note where it is.
new_table('IF NEW.id > 20 THEN PERFORM pg_sleep(600); END IF');
$id = start_import($node, $path, 't', "$options, max_workers => 1");
poll($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%' AND wait_event = 'PgSleep'", 'the leader is in a slow chunk');
query("SELECT ml_cancel($id)");
processes_gone($node);
$session->query_safe("BEGIN; SELECT ml_resume($id)");
my $holder = in_session($node, "BEGIN; SELECT FROM uploaded_files WHERE id = $id FOR UPDATE; SELECT pg_advisory_lock(2); COMMIT");
my $guard = $node->background_psql('postgres');
$guard->query_safe('SELECT pg_advisory_lock(2)');
poll($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%FOR UPDATE%' AND wait_event = 'transactionid'", 'a session waits for the row');
$session->query_safe('COMMIT');
my $canceller = in_session($node, "SELECT ml_cancel($id)");
poll($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE query LIKE 'SELECT ml\\_cancel%' AND wait_event_type = 'Client'", 'the cancel has begun');
$guard->query_safe('SELECT pg_advisory_unlock(2)');
$holder->finish;
is(join('', $canceller->finish), 't', 'while its leader makes ready: cancelled');
cancelled('making ready', $id, 20);

# --- resumed at once, while the leader that has ended it is about to leave ---

new_table(q(IF NEW.id = 15 THEN RAISE EXCEPTION 'always' USING ERRCODE = '58P01'; END IF));
$id = start_import($node, $path, 't', "$options, max_workers => 3");
is(query(join('; ', ("SELECT status FROM ml_wait($id)", "SELECT ml_resume($id)") x 20)), join("\n", ('Failed', 't') x 20), 'resumed as soon as it has ended, twenty times');
wait_import($node, $id);
processes_gone($node);

# --- one that was interrupted ---

sub interrupted_import
{
	new_table('IF NEW.id > 20 THEN PERFORM pg_sleep(600); END IF');
	my $import = start_import($node, $path, 't', "$options, max_workers => 2");
	poll($node, "SELECT count(*) = 2 FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%' AND wait_event = 'PgSleep'", 'two processes are in slow chunks');
	query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader'");
	processes_gone($node);
	return $import;
}
$id = interrupted_import();
is(query("SELECT phase, rows_done, rows_total, percent, rows_per_second, time_left, workers, chunks_done, chunks_failed, chunks_total, rejects, bar, resume FROM ml_progress",
	extra_params => [ '-P', 'null=-' ]), "interrupted|20|100|18.6|-|-|0|2|0|10|0|[###-----------------]|SELECT public.ml_resume($id)",
	'its leader is terminated: ml_progress shows it as interrupted');
is(query("BEGIN; SELECT ml_cancel($id); ROLLBACK; SELECT phase FROM ml_progress"), "t\ninterrupted", '... a cancel that is rolled back leaves it so');
is(query("SELECT ml_cancel($id)"), 't', '... cancelled');
is(query('SELECT count(*) FROM ml_progress'), '0', '... no more in ml_progress');
cancelled('interrupted', $id, 20);
# As a worker of the dead leader that is in its commit still.
$id = interrupted_import();
my $dying = $node->background_psql('postgres');
$dying->query_safe("BEGIN; UPDATE process_chunks SET status = 'Completed', success_count = 10 WHERE uploaded_file_id = $id AND chunk_number = 3");
my $cancel = in_session($node, "SELECT ml_cancel($id)");
poll($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'SELECT ml\\_cancel%' AND wait_event_type = 'Lock'", 'ml_cancel waits for a chunk of a worker that has not quite ended');
$dying->query_safe('COMMIT');
$dying->quit;
is(($cancel->finish)[0], 't', '... then the import is cancelled');
is(query("SELECT status, success_count, unprocessed_count FROM uploaded_files WHERE id = $id"), 'Cancelled|30|70', '... with what that chunk has loaded');
$id = interrupted_import();
query('ALTER TABLE t DISABLE TRIGGER ALL');
is(query(query('SELECT resume FROM ml_progress')), 't', 'interrupted: the call that ml_progress shows resumes it');
is(wait_import($node, $id)->{status}, 'Completed', '... it completes');
ledger_holds($node, $id, 't', '... with its counts');
processes_gone($node);

# --- while it is analyzed ---

new_table();
query(q(
	CREATE FUNCTION waits(integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$
	BEGIN
		IF (SELECT query FROM pg_catalog.pg_stat_activity WHERE pid = pg_backend_pid()) LIKE '%analyzing%' THEN
			PERFORM pg_advisory_xact_lock_shared(1);
		END IF;
		RETURN $1;
	END$$;
	CREATE INDEX ON t (waits(id))));
$gate = close_gate($node);
$id = start_import($node, $path, 't', "$options, max_workers => 2");
wait_at_gate($node, 1);
is(query('SELECT phase, rows_done, rows_total, percent, time_left, workers, chunks_done, chunks_total, bar FROM ml_progress'),
	'analyzing|100|100|100.0|00:00:00|0|10|10|[####################]', 'while its table is analyzed: ml_progress');
is(query("SELECT ml_cancel($id)"), 't', '... a cancel');
open_gate($gate);
is(wait_import($node, $id)->{status}, 'Completed', '... comes too late');
ledger_holds($node, $id, 't', '... and changes nothing');
processes_gone($node);

# --- one of several files ---

my $directory = PostgreSQL::Test::Utils::tempdir('dataset');
my %lines = (
	'genome-tags' => [ 'tagId,tag', map { "$_,tag" } 1 .. 20 ],
	movies => [ 'movieId,title,genres', map { "$_,title,genres" } 1 .. 100 ]);
for my $name (keys %lines)
{
	open(my $handle, '>:raw', "$directory/$name.csv") or die "could not write $name.csv: $!";
	print $handle map { "$_\n" } @{ $lines{$name} };
	close($handle) or die;
}

# Imports both files, whose tables have row triggers with these bodies; the smaller one, genome_tags, comes first.
sub start_two
{
	my ($more, %body) = @_;
	query('DROP TABLE IF EXISTS movies, genome_tags; CREATE TABLE movies (movieid integer, title text, genres text); CREATE TABLE genome_tags (tagid integer, tag text)');
	query("CREATE OR REPLACE FUNCTION body_$_() RETURNS trigger LANGUAGE plpgsql AS \$\$BEGIN $body{$_}; RETURN NEW; END\$\$;
		CREATE TRIGGER body BEFORE INSERT ON $_ FOR EACH ROW EXECUTE FUNCTION body_$_()") for keys %body;
	return map { reverse split(/\|/) } split(/\n/, query("SELECT id, target FROM ml_import_dataset('$directory', chunk_size => 10, min_chunks => 1, force => true, $more)"));
}

# A worker notes an error of genome_tags when the cancel of genome_tags comes: it is not for the chunk of movies that
# the worker loads next.
my $is_worker = "(SELECT backend_type FROM pg_stat_activity WHERE pid = pg_backend_pid()) = 'movielens_ingest worker'";
$guard->query_safe('SELECT pg_advisory_lock(2), pg_advisory_lock(3)');
$gate = close_gate($node);
my %file = start_two('max_workers => 2, max_retries => 0',
	genome_tags => "PERFORM pg_advisory_xact_lock_shared(1); IF $is_worker THEN RAISE EXCEPTION 'not now' USING ERRCODE = '55P03'; END IF",
	movies => "IF NOT $is_worker THEN PERFORM pg_advisory_xact_lock_shared(3); END IF");
wait_at_gate($node, 2);
my $worker = query("SELECT pid FROM pg_stat_activity WHERE backend_type = 'movielens_ingest worker'");
$holder = in_session($node, 'BEGIN; LOCK TABLE process_chunks IN SHARE MODE; SELECT pg_advisory_lock(2); COMMIT');
poll($node, "SELECT count(*) = 1 FROM pg_locks WHERE relation = 'process_chunks'::regclass AND NOT granted", 'LOCK TABLE waits for both processes');
open_gate($gate);
poll($node, "SELECT count(*) = 1 FROM pg_locks WHERE relation = 'process_chunks'::regclass AND NOT granted AND pid = $worker", 'the worker waits behind it, to note its error');
is(query("SELECT ml_cancel($file{genome_tags})"), 't', 'one of two files, a worker notes an error of it: cancelled');
$guard->query_safe('SELECT pg_advisory_unlock(2)');
$holder->finish;
poll($node, "SELECT count(*) > 0 FROM process_chunks WHERE uploaded_file_id = $file{movies} AND status <> 'Pending'", 'the worker loads the other file');
$guard->query_safe('SELECT pg_advisory_unlock(3)');
is(wait_import($node, $file{genome_tags})->{status}, 'Cancelled', '... Cancelled');
$row = wait_import($node, $file{movies});
is("$row->{status} $row->{success_count} " . ($row->{error} // ''), 'Completed 100 ', '... the other file completes');
is(query("SELECT count(*) FROM process_chunks WHERE uploaded_file_id = $file{movies} AND errors IS NOT NULL"), '0', '... its chunks met no error');
processes_gone($node);

# The leader is at another file meanwhile: in a slow chunk of it, or in a pause.
for my $case ([ 'a slow chunk', 'PERFORM pg_sleep(600)', "wait_event = 'PgSleep'" ],
	[ 'a pause', q(RAISE EXCEPTION 'not now' USING ERRCODE = '55P03'), "query LIKE '%pausing%'" ])
{
	my ($name, $body, $condition) = @$case;
	%file = start_two('max_workers => 1', genome_tags => $body);
	poll($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader' AND $condition", $name);
	is(query("SELECT ml_cancel($file{movies})"), 't', "the leader is in $name of another file: cancelled");
	is(query("SELECT status FROM ml_wait($file{movies}, '15 s')"), 'Cancelled', '... ends within moments');
	is(query("SELECT status FROM ml_wait($file{genome_tags}, '0')"), 'Processing', '... the other file does not');
	is(query("SELECT ml_cancel($file{genome_tags})"), 't', '... but when it is cancelled');
	is(wait_import($node, $file{genome_tags})->{status}, 'Cancelled', '... Cancelled');
	processes_gone($node);
}

# --- ml_load ---

my $loading = "FROM pg_stat_activity WHERE query LIKE 'CALL ml\\_load%' AND backend_type = 'client backend'";

# Cancelled by another session, or by its own statement_timeout.
for my $how ('cancelled', 'timed out')
{
	new_table('IF NEW.id > 20 THEN PERFORM pg_sleep(600); END IF');
	local $ENV{PGOPTIONS} = $how eq 'timed out' ? '-c statement_timeout=2s' : '';
	my $call = in_session($node, "CALL ml_load('$path', 't', $options, max_workers => 2)");
	$ENV{PGOPTIONS} = '';
	if ($how eq 'cancelled')
	{
		poll($node, "SELECT count(*) = 2 FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%' AND wait_event = 'PgSleep'", 'two processes are in slow chunks');
		query("SELECT pg_cancel_backend(pid) $loading");
	}
	my (undef, $stderr) = $call->finish;
	my $error = $how eq 'cancelled' ? 'user request' : 'statement timeout';
	like($stderr, qr/NOTICE:  00000: the imports of this call are being cancelled\n/, "ml_load $how: it says so");
	like($stderr, qr/ERROR:  57014: canceling statement due to $error\n/, '... the call has its error');
	$id = query('SELECT max(id) FROM uploaded_files');
	wait_import($node, $id);
	cancelled('... its import', $id, query('SELECT count(*) FROM t'));
}

query('DROP TABLE movies, genome_tags; CREATE TABLE movies (movieid integer, title text, genres text); CREATE TABLE genome_tags (tagid integer, tag text)');
query('CREATE OR REPLACE FUNCTION body() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(600); RETURN NEW; END$$');
query("CREATE TRIGGER body BEFORE INSERT ON $_ FOR EACH ROW EXECUTE FUNCTION body()") for 'movies', 'genome_tags';
my $call = in_session($node, "CALL ml_load('$directory', max_workers => 2, force => true)");
poll($node, "SELECT count(*) = 2 FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%' AND wait_event = 'PgSleep'", 'two processes are in slow chunks');
query("SELECT pg_cancel_backend(pid) $loading");
$call->finish;
is(query("SELECT string_agg((ml_wait(id)).status, ' ') FROM (SELECT id FROM uploaded_files ORDER BY id DESC LIMIT 2) f"), 'Cancelled Cancelled',
	'ml_load of a directory, cancelled: both its imports are');
processes_gone($node);

new_table('PERFORM pg_advisory_xact_lock_shared(1)');
$gate = close_gate($node);
$call = in_session($node, "CALL ml_load('$path', 't', $options, max_workers => 2)");
wait_at_gate($node, 2);
$id = query('SELECT max(id) FROM uploaded_files');
query("SELECT pg_terminate_backend(pid) $loading");
like(($call->finish)[1], qr/FATAL:  57P01: /, 'the session of ml_load is terminated');
is(query("SELECT status FROM uploaded_files WHERE id = $id"), 'Processing', '... its import goes on');
open_gate($gate);
$row = wait_import($node, $id);
is("$row->{status} $row->{success_count}", 'Completed 100', '... and completes');
processes_gone($node);

# --- progress ---

# One chunk, and a trigger that waits for one lock after the other.
my $big = write_file('big.csv', numbers(1000));
new_table('IF NEW.id IN (300, 700) THEN PERFORM pg_advisory_xact_lock_shared(NEW.id); END IF');
$session->query_safe('SELECT pg_advisory_lock(300), pg_advisory_lock(700)');
$id = start_import($node, $big, 't', 'min_chunks => 1, max_workers => 2, force => true');
sub progress { return json_row($node, "SELECT *, time_left IS NULL OR time_left BETWEEN '0' AND '1 hour' AS sane FROM ml_progress WHERE id = $id") }
my @looks;
for my $lock (300, 700)
{
	poll($node, "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = $lock AND NOT granted", "row $lock is reached");
	push @looks, progress();
	$session->query_safe("SELECT pg_advisory_unlock($lock)");
}
is(wait_import($node, $id)->{status}, 'Completed', 'an import of one chunk');
is(join(' ', map { "$_->{phase} $_->{workers} $_->{chunks_done}/$_->{chunks_total} $_->{rows_total}" } @looks), 'loading 1 0/1 1000 loading 1 0/1 1000',
	'... was looked at twice within the chunk');
is(join(' ', map { $_->{rows_done} } @looks), '299 699', '... rows_done told where it was');
is(join(' ', map { $_->{bytes_total} } @looks), join(' ', (length(records(1, 1000))) x 2), '... bytes_total is the file without its header');
is(join(' ', map { abs($_->{bytes_done} / $_->{bytes_total} - $_->{rows_done} / 1000) < 0.01 } @looks), '1 1', '... bytes_done goes with the rows');
is(join(' ', map { abs($_->{percent} - 100 * $_->{bytes_done} / $_->{bytes_total}) <= 0.1 } @looks), '1 1', '... percent with the bytes');
is(join(' ', map { $_->{bar} } @looks), '[#####---------------] [#############-------]', '... and so does the bar');
ok($looks[1]{average_rows_per_second} > 0, '... a speed') or diag($looks[1]{average_rows_per_second});
is(join(' ', map { $_->{sane} ? 1 : 0 } @looks), '1 1', '... and a time left');
processes_gone($node);

# Rows that a trigger skips move it too.
new_table('IF NEW.id = 500 THEN PERFORM pg_advisory_xact_lock_shared(500); END IF; IF NEW.id > 200 THEN RETURN NULL; END IF');
$session->query_safe('SELECT pg_advisory_lock(500)');
$id = start_import($node, $big, 't', 'min_chunks => 1, max_workers => 1, force => true');
poll($node, "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 500 AND NOT granted", 'row 500 is reached');
is(progress()->{rows_done}, 499, 'rows that a trigger skips are counted within the chunk');
$session->query_safe('SELECT pg_advisory_unlock(500)');
is(wait_import($node, $id)->{skipped_count}, 800, '... and at the end');
processes_gone($node);

# Chunks done, a retry, rejects; the rest waits.
query("ALTER SYSTEM SET movielens_ingest.retry_delay = '10ms'; SELECT pg_reload_conf()");
my $mixed = write_file('mixed.csv', numbers(100) =~ s/^(3|5),/x$1,/gmr);
new_table(q(IF NEW.id = 15 AND nextval('calls') = 1 THEN RAISE EXCEPTION 'just once' USING ERRCODE = '55P03'; END IF;
	IF NEW.id > 50 THEN PERFORM pg_advisory_xact_lock_shared(1); END IF));
$gate = close_gate($node);
$id = start_import($node, $mixed, 't', "$options, max_workers => 3");
wait_at_gate($node, 3);
$row = progress();
is(join(' ', map { "$_ $row->{$_}" } qw(phase workers chunks_done chunks_failed chunks_total rows_done rows_total retries rejects)),
	'phase loading workers 3 chunks_done 5 chunks_failed 0 chunks_total 10 rows_done 50 rows_total 100 retries 1 rejects 2', 'three processes, half of the file');
is(call_as('monitor', 'SELECT id FROM ml_progress'), $id, '... pg_monitor sees it');
is(call_as('stranger', 'SELECT id FROM ml_progress'), '', '... a stranger does not');
query("SELECT ml_cancel($id)");
wait_import($node, $id);
processes_gone($node);
query("SELECT ml_resume($id)");
wait_at_gate($node, 3);
$row = progress();
is(join(' ', map { "$_ $row->{$_}" } qw(phase chunks_done chunks_total rows_done rejects)), 'phase loading chunks_done 5 chunks_total 10 rows_done 50 rejects 2',
	'resumed: what was done before counts');
open_gate($gate);
$row = wait_import($node, $id);
is("$row->{status} $row->{success_count} $row->{error_count}", 'Completed with errors 98 2', '... and the rest is loaded');
processes_gone($node);

# --- messages ---

my $listener = $node->background_psql('postgres');
$listener->query_safe('LISTEN movielens_ingest');
my %name;

# The messages since the last call, and no other lines, once these imports' processes are gone.
sub messages
{
	processes_gone($node);
	my @heard = split(/\n/, $listener->query_safe("SELECT 'that is all'"));
	return join(', ', map { /^Asynchronous notification "movielens_ingest" with payload "(.*)" received from server process with PID \d+\.$/ ? message($1) : $_ eq 'that is all' ? () : "?$_" } @heard);
}
sub message
{
	my $message = decode_json($_[0]);
	return join(' ', $message->{id} - $id, $message->{state}, grep { !/^(id|state)$/ } keys %$message);
}

new_table();
$id = start_import($node, $path, 't', $options);
wait_import($node, $id);
is(messages(), '0 Processing, 0 Completed', 'messages of an import');
$id = start_import($node, $mixed, 't', $options);
wait_import($node, $id);
is(messages(), '0 Processing, 0 Completed with errors', '... of one with rejects');
query("BEGIN; SELECT ml_import('$path', 't', $options); ROLLBACK");
is(messages(), '', '... of one that is rolled back: none');

new_table(q(IF NEW.id > 50 THEN RAISE EXCEPTION 'hopeless' USING ERRCODE = '58P01'; END IF));
$id = start_import($node, $path, 't', $options);
wait_import($node, $id);
is(messages(), '0 Processing, 0 Failed', '... of one that fails');
query("ALTER TABLE t DISABLE TRIGGER ALL; SELECT ml_resume($id)");
wait_import($node, $id);
is(messages(), '0 Processing, 0 Completed', '... and is resumed');
query("SELECT ml_resume($id); SELECT ml_cancel($id)");
is(messages(), '', '... and is neither resumed nor cancelled once more');

new_table('PERFORM pg_sleep(600)');
$id = start_import($node, $path, 't', "$options, max_workers => 2");
poll($node, "SELECT count(*) = 2 FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%' AND wait_event = 'PgSleep'", 'two processes are in slow chunks');
query("SELECT ml_cancel($id); SELECT ml_cancel($id)");
wait_import($node, $id);
is(messages(), '0 Processing, 0 Cancelled', '... of one that is cancelled, twice');
$id = interrupted_import();
is(messages(), '0 Processing', '... of one that is interrupted');
query("SELECT ml_cancel($id)");
is(messages(), '0 Cancelled', '... and then cancelled');

%file = start_two('max_workers => 2', movies => q(RAISE EXCEPTION 'hopeless' USING ERRCODE = '58P01'));
wait_import($node, $_) for values %file;
$id = $file{genome_tags};
my $other = $file{movies} - $id;
is(join(', ', sort split(/, /, messages())), join(', ', sort '0 Processing', '0 Completed', "$other Processing", "$other Failed"), '... of two files');
$node->stop;

# --- queued ---

$node = start_server('small', 'max_worker_processes = 1', 'max_logical_replication_workers = 0');
new_table('PERFORM pg_advisory_xact_lock_shared(1)') if query('CREATE ROLE owner; CREATE TABLE t (id integer, name text)') eq '';
$listener->quit;
$listener = $node->background_psql('postgres');
$listener->query_safe('LISTEN movielens_ingest');
$gate = close_gate($node);
my $first = start_import($node, $path, 't', $options);
wait_at_gate($node, 1);
$id = start_import($node, $path, 't', $options);
is(query("SELECT phase, rows_done, rows_total, percent, time_left, workers, resume FROM ml_progress WHERE id = $id", extra_params => [ '-P', 'null=-' ]),
	'queued|0|-|0.0|-|0|-', 'no slot is free: ml_progress shows it as queued');
is(query("SELECT status FROM uploaded_files WHERE id = $id"), 'Queued', '... so does the ledger');
is(query("SELECT ml_cancel($id)"), 't', '... cancelled');
is(query("SELECT status, success_count FROM ml_wait($id)"), 'Cancelled|0', '... Cancelled while the other import runs');
open_gate($gate);
is(wait_import($node, $first)->{status}, 'Completed', '... which completes');
is(query('SELECT count(*) FROM t'), '100', '... alone');
my $earlier = $first - $id;
is(messages(), "$earlier Processing, 0 Queued, 0 Cancelled, $earlier Completed", '... with a message for each change');
is(query("SELECT ml_resume($id)"), 't', '... resumed');
is(wait_import($node, $id)->{status}, 'Completed', '... it completes too');
$node->stop;
done_testing();
