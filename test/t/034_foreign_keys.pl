# Foreign keys against what others do to the referenced table: a movie is deleted, gets another title or key, all are
# truncated, one is inserted; before, during and after a chunk; committed and rolled back. The tables end as after a COPY
# at the same place. No row is locked where SHARE is to be had, so no multixact is made; who waits for the table gets it
# between two chunks, and what was known before does not count behind it. Without SHARE rows are locked.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use Test::More;

my $node = start_server('main', 'max_prepared_transactions = 2', 'deadlock_timeout = 10s', 'client_min_messages = warning');

# The gate stands behind the look-up of keys: an expression of an index, which is evaluated when a row goes in.
$node->safe_psql('postgres', q(
	SELECT count(*) FROM ml_create_tables('public');
	CREATE FUNCTION gate(movie integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE
	AS $$BEGIN PERFORM pg_advisory_xact_lock_shared(movie); RETURN movie; END$$;
	CREATE INDEX ON ratings (gate(movieid))));

sub ratings { return "userId,movieId,rating,timestamp\n" . join('', map { "1,$_,5,0\n" } @_) }
my $path = write_file('ratings.csv', ratings(1 .. 24));
my $options = "force => true, min_chunks => 1";
my $locked = "SELECT count(*) FROM movies WHERE xmax <> 0";

# One rating is there, whose movie is not locked: the indexes of a table that is not empty are maintained in place.
sub fill
{
	my ($condition) = @_;
	$node->safe_psql('postgres', 'TRUNCATE movies CASCADE; INSERT INTO movies SELECT m, m FROM generate_series(1, 24) m WHERE '
		. ($condition // 'true') . '; SET session_replication_role = replica; INSERT INTO ratings VALUES (0, 1, 0, 0)');
	return;
}

sub close_gate_of
{
	my ($movie) = @_;
	my $session = $node->background_psql('postgres');
	$session->query_safe("SELECT pg_advisory_lock($movie)");
	return $session;
}

sub at_gate
{
	my ($movie) = @_;
	poll($node, "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = $movie AND NOT granted",
		"a chunk is at the gate of movie $movie");
	return;
}

my $by_import = "pid IN (SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%')";
my $by_psql = "pid IN (SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend')";

# Not the moment in which SHARE is tried.
sub waits
{
	my ($who, $name) = @_;
	poll($node, "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND $who AND (locktype, mode) <> ('relation', 'ShareLock')",
		"$name waits");
	return;
}

# --- the tables afterwards, by import and by COPY ---

my %sql = (
	delete => 'DELETE FROM movies WHERE movieid = 3',
	title => q(UPDATE movies SET title = 'new' WHERE movieid = 3),
	key => 'UPDATE movies SET movieid = 30 WHERE movieid = 3',
	truncate => 'TRUNCATE movies CASCADE',
	insert => q(INSERT INTO movies VALUES (3, 'late')));

# Who waits for whom, as COPY has it; a change that does not touch a key waits for an import in its chunk all the same.
my %stops = (delete => 1, key => 1, truncate => 1, title => 0, insert => 0);

sub tables
{
	return $node->safe_psql('postgres', q(
		SELECT (SELECT string_agg(movieid::text, ' ' ORDER BY movieid) FROM ratings WHERE userid = 1) || ' of '
		    || (SELECT string_agg(movieid || title, ' ' ORDER BY movieid) FROM movies) || ', orphans: '
		    || (SELECT count(*) FROM ratings r WHERE NOT EXISTS (SELECT FROM movies m WHERE m.movieid = r.movieid))));
}

# COPY refuses the whole file for what an import rejects.
sub copy_rest
{
	my ($error) = @_;
	return '' if $error eq '';
	my ($orphan) = $error =~ /23503: .*Key \(movieid\)=\((\d+)\)/s or return $error;
	my $rest = write_file('rest.csv', ratings(grep { $_ != $orphan } 1 .. 24));
	my ($rc, $stdout, $stderr) = $node->psql('postgres', "COPY ratings FROM '$rest' (FORMAT csv, HEADER)");
	return "refused $orphan";
}

sub refused
{
	my ($id) = @_;
	my $orphans = $node->safe_psql('postgres', "SELECT string_agg(sqlstate || ' ' || detail, ' ' ORDER BY row_number) FROM rejected_rows WHERE uploaded_file_id = $id");
	return $orphans =~ /^23503 Key \(movieid\)=\((\d+)\)/ ? "refused $1" : $orphans;
}

# The event, in a transaction of its own, at one of three moments of an import or a COPY. Returns what became of it all.
sub meet
{
	my ($way, $event, $moment, $end) = @_;
	my $import = $way eq 'import';
	my $copy = "COPY ratings FROM '$path' (FORMAT csv, HEADER)";
	my ($refused, $said, $gate, $copier, $id, $session, $transaction) = ('', '');

	fill($event eq 'insert' ? 'm <> 3' : 'true');
	if ($moment eq 'before')
	{
		my $other = $node->background_psql('postgres');
		$other->query_safe("BEGIN; $sql{$event}");
		$session = in_session($node, $import ? "SELECT ml_import('$path', 'ratings', $options)" : $copy);
		# TRUNCATE has the target locked too: the call waits.
		($id) = $session->finish if $import && $event ne 'truncate';
		if ($stops{$event}) { waits($import && $id ? $by_import : $by_psql, "$way, for $event") }
		# It ends while the other one's transaction is open.
		elsif ($import) { wait_import($node, $id) }
		else { (undef, $said) = $session->finish }
		$other->query_safe($end);
		$other->quit;
		($id) = $session->finish if $import && !$id;
		(undef, $said) = $session->finish if !$import && $stops{$event};
		wait_import($node, $id) if $import;
	}
	elsif ($moment eq 'during')
	{
		if ($import)
		{
			$gate = close_gate_of(4);
			$id = start_import($node, $path, 'ratings', $options);
			poll($node, 'SELECT count(*) = 1 FROM pg_locks WHERE objid = 4 AND NOT granted OR ' .
				"EXISTS (SELECT FROM uploaded_files WHERE id = $id AND end_time IS NOT NULL)", 'the gate, or the end');
		}
		else
		{
			$copier = $node->background_psql('postgres', on_error_stop => 0);
			$copier->query('\set VERBOSITY verbose');
			$copier->query("BEGIN; $copy");
			$said = $copier->{stderr};
		}
		$transaction = in_session($node, "BEGIN; $sql{$event}; $end");
		waits($by_psql, $event) if $stops{$event};
		if ($import)
		{
			open_gate_of($gate, 4);
			wait_import($node, $id);
		}
		else
		{
			$copier->query('COMMIT');
			$copier->quit;
		}
		my (undef, $error) = $transaction->finish;
		$refused = $error =~ /ERROR:  (\w+): (.*)/ ? "the event: $1 $2 " : '';
	}
	else
	{
		if ($import) { wait_import($node, $id = start_import($node, $path, 'ratings', $options)) }
		else { (undef, $said) = in_session($node, $copy)->finish }
		my (undef, $error) = in_session($node, "BEGIN; $sql{$event}; $end")->finish;
		$refused = $error =~ /ERROR:  (\w+): (.*)/ ? "the event: $1 $2 " : '';
	}
	$refused .= $import ? refused($id) : copy_rest($said);
	return "$refused: " . tables();
}

sub open_gate_of
{
	my ($session, $movie) = @_;
	$session->query_safe("SELECT pg_advisory_unlock($movie)");
	$session->quit;
	return;
}

for my $moment ('before', 'during', 'after')
{
	for my $event (sort keys %sql)
	{
		for my $end ('COMMIT', 'ROLLBACK')
		{
			is(meet('import', $event, $moment, $end), meet('COPY', $event, $moment, $end), "$event $moment a chunk, $end");
		}
	}
}

# --- many chunks, two processes: no row is locked ---

my @many = map { my $n = $_; map { 1 + ($_ * 7 + $n) % 24 } 1 .. 50 } 1 .. 40;
my $many = write_file('many.csv', ratings(@many));

sub multixacts
{
	$node->safe_psql('postgres', 'CHECKPOINT');
	return $node->safe_psql('postgres', q(SELECT next_multixact_id || ' ' || next_multi_offset FROM pg_control_checkpoint()));
}

sub outcome { return join(' ', map { $_[0]->{$_} } 'status', 'success_count', 'error_count') }

fill();
my $before = multixacts();
my $row = imported($node, $many, 'ratings', 'chunk_size => 50, min_chunks => 1, max_workers => 2');
is(outcome($row), 'Completed 2000 0', 'many chunks, two processes');
is($node->safe_psql('postgres', $locked), '0', '... lock no row of the referenced table');
is(multixacts(), $before, '... and make no multixact');
processes_gone($node);
is($node->safe_psql('postgres', q(SELECT count(*) FROM pg_locks WHERE relation = 'movies'::regclass)), '0', '... and leave no lock behind');

# --- SHARE is not to be had: a title stays open, be it in a prepared transaction; or the role has no right to it ---

fill();
my $other = $node->background_psql('postgres');
$other->query_safe("BEGIN; $sql{title}");
is(outcome(imported($node, $many, 'ratings', 'force => true, chunk_size => 50, min_chunks => 1, max_workers => 2')), 'Completed 2000 0',
	'many chunks while the title of a movie is open');
cmp_ok($node->safe_psql('postgres', $locked), '>', 0, '... lock rows');
$other->query_safe('COMMIT');
$other->quit;

fill();
$node->safe_psql('postgres', "BEGIN; $sql{delete}; PREPARE TRANSACTION 'gone'");
my $id = start_import($node, $path, 'ratings', $options);
waits($by_import, 'a chunk, for a prepared transaction');
$node->safe_psql('postgres', "COMMIT PREPARED 'gone'");
is(outcome(wait_import($node, $id)), 'Completed with errors 23 1', 'a prepared transaction has deleted a movie');

fill();
$node->safe_psql('postgres', q(CREATE ROLE loader LOGIN; GRANT pg_read_server_files TO loader; GRANT INSERT ON ratings TO loader;
	ALTER TABLE movies ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY));
my $session = close_gate_of(4);
$id = $node->safe_psql('postgres', "SELECT ml_import('$path', 'ratings', $options)", extra_params => [ '-U', 'loader' ]);
at_gate(4);
is($node->safe_psql('postgres', q(SELECT string_agg(mode, ' ') FROM pg_locks WHERE relation = 'movies'::regclass AND mode = 'ShareLock')), '',
	'a role that could not LOCK TABLE does not take SHARE');
open_gate_of($session, 4);
is(outcome(wait_import($node, $id)), 'Completed 24 0', '... and loads, whatever policies the referenced table has');
is($node->safe_psql('postgres', $locked), '24', '... with the rows locked');
$node->safe_psql('postgres', 'ALTER TABLE movies DISABLE ROW LEVEL SECURITY');

# --- between two chunks ---

# Both chunks name movie 3. One process; the gates are those of a movie of each.
my $two = write_file('two.csv', ratings(1 .. 4, 3, 5 .. 7));
my $two_chunks = 'force => true, chunk_size => 4, min_chunks => 1, max_workers => 1';

fill();
my ($first, $second) = (close_gate_of(1), close_gate_of(5));
$id = start_import($node, $two, 'ratings', $two_chunks);
at_gate(1);
my $delete = in_session($node, $sql{delete});
waits($by_psql, 'a delete');
open_gate_of($first, 1);
at_gate(5);
$delete->finish;
is($node->safe_psql('postgres', 'SELECT count(*) FROM movies WHERE movieid = 3'), '0', 'a delete that waits gets the table between two chunks');
open_gate_of($second, 5);
is(outcome(wait_import($node, $id)), 'Completed with errors 7 1', '... what the next chunk knew of it does not count');
is(tables(), '1 2 4 5 6 7 of ' . join(' ', map { "$_$_" } 1, 2, 4 .. 24) . ', orphans: 0', '... and no orphan is left');

# Somebody who has locked the target may want the referenced table next.
fill();
$first = close_gate_of(1);
$id = start_import($node, $two, 'ratings', $two_chunks);
at_gate(1);
my $both = in_session($node, "BEGIN; LOCK TABLE ratings IN SHARE MODE; $sql{title}; COMMIT");
poll($node, q(SELECT count(*) = 1 FROM pg_locks WHERE relation = 'ratings'::regclass AND mode = 'ShareLock' AND NOT granted), 'a session waits for the target');
open_gate_of($first, 1);
my ($stdout, $stderr) = $both->finish;
is($stderr, '', 'a session locks the target, then writes to the referenced table');
is(outcome(wait_import($node, $id)), 'Completed 8 0', '... and stops nobody');

# --- what this transaction itself does to the referenced table ---

$node->safe_psql('postgres', q(
	CREATE FUNCTION meddle(movie integer) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		IF movie = 7 THEN DELETE FROM movies WHERE movieid = 3; INSERT INTO movies VALUES (40, 'own'); END IF;
		IF movie = 8 THEN
			BEGIN INSERT INTO movies VALUES (50, 'undone'); RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN END;
		END IF;
		RETURN true;
	END$$;
	CREATE DOMAIN movie AS integer CHECK (meddle(VALUE));
	CREATE TABLE seen (movieid movie REFERENCES movies ON DELETE CASCADE);
	CREATE INDEX ON seen (gate(movieid))));
my $own = write_file('own.csv', join("\n", 'movieid', 1, 3, 40, 2, 7, 8, 3, 50, 40, 3, 40, 3, ''));
fill();
$row = imported($node, $own, 'seen', 'chunk_size => 3, min_chunks => 1, max_workers => 1');
is(outcome($row), 'Completed with errors 7 5', 'a domain that writes to the referenced table');
is($node->safe_psql('postgres', q(SELECT string_agg(row_number::text, ' ' ORDER BY row_number) FROM rejected_rows WHERE uploaded_file_id = ) . $row->{id}),
	'3 7 8 10 12', '... which is looked at again');
is($node->safe_psql('postgres', 'SELECT count(*) FROM seen s WHERE NOT EXISTS (SELECT FROM movies m WHERE m.movieid = s.movieid)'), '0', '... without an orphan');

$node->stop;
done_testing();
