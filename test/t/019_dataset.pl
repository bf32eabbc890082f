# ml_import_dataset: one leader loads the files of a data set in the order that the foreign keys of their tables need,
# whatever these are; files that need not wait do not, and each ends when it is done. If one ends Failed or Cancelled,
# those whose tables reference its table end Failed, naming it, with nothing loaded; ml_resume then loads all the rest.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_server('main');
my @tables = qw(movies links ratings tags genome_scores genome_tags);
my $last = 60; # movies, and genome tags
my %content = (
	movies => [ 'movieId,title,genres', map { qq($_,"Movie $_ (1995)",Comedy|Drama) } 1 .. $last ],
	links => [ 'movieId,imdbId,tmdbId', map { sprintf('%d,%07d,%d', $_, $_ * 11, $_ * 7) } 1 .. $last ],
	ratings => [ 'userId,movieId,rating,timestamp', map { join(',', $_, $_ * 7 % $last + 1, $_ % 10 / 2, 1e9 + $_) } 1 .. 1000 ],
	tags => [ 'userId,movieId,tag,timestamp', map { qq($_,@{[ $_ % $last + 1 ]},"tag, ""$_""",$_) } 1 .. 200 ],
	genome_scores => [ 'movieId,tagId,relevance', map { my $movie = $_; map { "$movie,$_,0.$movie$_" } 1 .. 10 } 1 .. $last ],
	genome_tags => [ 'tagId,tag', map { "$_,tag $_" } 1 .. $last ]);
my $directory = PostgreSQL::Test::Utils::tempdir('dataset');
my %file = map { $_ => tr/_/-/r . '.csv' } @tables;

sub write_table
{
	my ($table, @lines) = @_;
	open(my $handle, '>:raw', "$directory/$file{$table}") or die "could not write $file{$table}: $!";
	print $handle map { "$_\r\n" } @lines;
	close($handle) or die;
	return;
}
write_table($_, @{ $content{$_} }) for @tables;

# The gate: a worker waits in it while a session of the test holds it closed. The leader does not wait: when a worker
# does, it meets a serialization failure, which puts the chunk off, and is free for what else there is to do.
$node->safe_psql('postgres', q(
	CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF pg_try_advisory_xact_lock_shared(1) THEN
			RETURN NULL;
		ELSIF (SELECT backend_type FROM pg_stat_activity WHERE pid = pg_backend_pid()) = 'movielens_ingest worker' THEN
			PERFORM pg_advisory_xact_lock_shared(1);
			RETURN NULL;
		END IF;
		WHILE NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 1 AND NOT granted) LOOP
			PERFORM pg_sleep(0.01);
		END LOOP;
		RAISE EXCEPTION 'not by the leader' USING ERRCODE = '40001';
	END$$;
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no % today', TG_TABLE_NAME; END$$;
	CREATE SCHEMA copied));
$node->safe_psql('postgres', 'SELECT ml_create_tables()');
$node->safe_psql('postgres', "CREATE TABLE copied.$_ (LIKE $_); COPY copied.$_ FROM '$directory/$file{$_}' (FORMAT csv, HEADER)") for @tables;

# New tables, changed by some SQL, and an import of the data set into them: ids by table. Two processes load.
sub start_dataset
{
	my ($sql) = @_;
	$node->safe_psql('postgres', join('; ', map { "DROP TABLE IF EXISTS $_ CASCADE" } @tables));
	$node->safe_psql('postgres', "SELECT ml_create_tables(); $sql");
	my $ids = $node->safe_psql('postgres', "SELECT target, id FROM ml_import_dataset('$directory', strict => true,
		chunk_size => 50, min_chunks => 2, max_workers => 2, force => true)");
	note "imports $ids";
	return map { split(/\|/) } split(/\n/, $ids);
}

# Until a worker waits at the gate and the leader has nothing else to do.
sub leader_idle
{
	wait_at_gate($node, 1);
	poll($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader' AND query LIKE '%waiting for the workers%'",
		'the leader has nothing else to do');
	return;
}

# The status of each file, in the order of the tables; and how many rows each table has.
sub states
{
	my (%id) = @_;
	return join(' ', map { $node->safe_psql('postgres', "SELECT status FROM uploaded_files WHERE id = $id{$_}") } @tables);
}
sub ends
{
	my (%id) = @_;
	return join(' ', map { wait_import($node, $id{$_})->{status} } @tables);
}
sub loaded { return join(' ', map { $node->safe_psql('postgres', "SELECT count(*) FROM $_") } @tables) }
my $all_loaded = join(' ', map { $#{ $content{$_} } } @tables);
my $all_completed = join(' ', ('Completed') x @tables);

# Each table is as after COPY, and each file's ledger agrees with it.
sub as_copied
{
	my ($name, %id) = @_;
	is(join(' ', grep { $node->safe_psql('postgres', "SELECT EXISTS (TABLE $_ EXCEPT ALL TABLE copied.$_) OR EXISTS (TABLE copied.$_ EXCEPT ALL TABLE $_)") ne 'f' } @tables),
		'', "$name, tables as after COPY");
	ledger_holds($node, $id{$_}, $_, "... $_: ledger") for @tables;
	processes_gone($node);
	return;
}

# --- movies first ---

my $gate = close_gate($node);
my %id = start_dataset('CREATE TRIGGER gate BEFORE INSERT ON movies EXECUTE FUNCTION gate()');
is(wait_import($node, $id{genome_tags})->{status}, 'Completed', 'movies are held up: genome_tags has its end');
leader_idle();
is(states(%id), 'Processing Processing Processing Processing Processing Completed', '... the others have none');
is(loaded(), '0 0 0 0 0 60', '... and nothing loaded');
is($node->safe_psql('postgres', "SELECT count(*) FROM process_chunks WHERE attempts > 0 AND uploaded_file_id NOT IN ($id{movies}, $id{genome_tags})"), '0',
	'... no chunk of theirs is begun');
is($node->safe_psql('postgres', "SELECT string_agg(phase || ' ' || workers, ', ' ORDER BY id) FROM ml_progress"),
	'loading 1, queued 0, queued 0, queued 0, queued 0', '... and they are shown as queued');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader'"), '1', 'there is one leader');
is($node->safe_psql('postgres', "SELECT count(DISTINCT plan ->> 'leader'), count(DISTINCT dataset_id), count(*) FROM uploaded_files WHERE dataset_id = $id{movies}"),
	'1|1|6', '... of all six files');
open_gate($gate);
is(ends(%id), $all_completed, 'the gate opens: all complete');
as_copied('a data set', %id);
is($node->safe_psql('postgres', "SELECT min(c.ended) FILTER (WHERE target <> 'public.movies') > max(c.ended) FILTER (WHERE target = 'public.movies')
	FROM uploaded_files f JOIN process_chunks c ON c.uploaded_file_id = f.id WHERE dataset_id = $id{movies} AND target <> 'public.genome_tags'"), 't',
	'... chunks of the others are loaded behind those of movies');

# --- a small file does not wait for a big one ---

$gate = close_gate($node);
%id = start_dataset('CREATE TRIGGER gate BEFORE INSERT ON ratings EXECUTE FUNCTION gate()');
is(join(' ', map { wait_import($node, $id{$_})->{status} } grep { $_ ne 'ratings' } @tables), join(' ', ('Completed') x 5),
	'ratings are held up: the other files complete, and have their ends');
leader_idle();
is($node->safe_psql('postgres', 'SELECT file_name, phase FROM ml_progress'), 'ratings.csv|loading', '... ratings is still being loaded');
is(loaded(), '60 60 0 200 600 60', '... nothing of it is committed');
open_gate($gate);
is(ends(%id), $all_completed, '... and then it completes too');
as_copied('held up at ratings', %id);

# --- the order is that of the foreign keys ---

$gate = close_gate($node);
%id = start_dataset('ALTER TABLE genome_tags ADD UNIQUE (tagid); ALTER TABLE genome_scores ADD FOREIGN KEY (tagid) REFERENCES genome_tags (tagid);
	CREATE TRIGGER gate BEFORE INSERT ON genome_tags EXECUTE FUNCTION gate()');
is(join(' ', map { wait_import($node, $id{$_})->{status} } qw(movies links ratings tags)), join(' ', ('Completed') x 4),
	'genome_scores references genome_tags, which is held up: the others complete');
leader_idle();
is(loaded(), '60 60 1000 200 0 0', '... genome_scores waits');
open_gate($gate);
is(ends(%id), $all_completed, '... and then both complete');
as_copied('a further key', %id);

$gate = close_gate($node);
%id = start_dataset('ALTER TABLE tags DROP CONSTRAINT tags_movieid_fkey; CREATE TRIGGER gate BEFORE INSERT ON movies EXECUTE FUNCTION gate()');
is(join(' ', map { wait_import($node, $id{$_})->{status} } qw(tags genome_tags)), 'Completed Completed', 'tags references movies no more: it does not wait for them');
leader_idle();
is(loaded(), '0 0 0 200 0 60', '... while the others do');
open_gate($gate);
is(ends(%id), $all_completed, '... and then all complete');
as_copied('a key less', %id);

%id = start_dataset('ALTER TABLE genome_tags ADD UNIQUE (tagid), ADD movie integer REFERENCES movies;
	ALTER TABLE movies ADD tag integer REFERENCES genome_tags (tagid), ADD same integer REFERENCES movies');
is(ends(%id), $all_completed, 'tables that reference each other, and one itself: all complete');
is(loaded(), $all_loaded, '... and are loaded');
processes_gone($node);

# --- one that fails ---

my $failed_first = join(' ', 'Failed', ('Failed') x 4, 'Completed');

# What became of the files that reference movies.
sub dependents
{
	my ($end, %ids) = @_;
	my @others = grep { $_ !~ /^(movies|genome_tags)$/ } @tables;
	for my $table (@others)
	{
		my $row = json_row($node, "SELECT * FROM uploaded_files WHERE id = $ids{$table}");
		is("$row->{sqlstate} $row->{error}", "55000 file \"movies.csv\" (import $ids{movies}), whose table public.movies is referenced, ended $end",
			"... $table names it");
	}
	is($node->safe_psql('postgres', "SELECT count(*) FROM process_chunks c JOIN uploaded_files f ON f.id = uploaded_file_id
		WHERE dataset_id = $ids{movies} AND target <> 'public.genome_tags' AND (c.status <> 'Pending' OR c.attempts > 0) AND f.id <> $ids{movies}"), '0',
		'... no chunk of theirs was begun');
	is(loaded(), '0 0 0 0 0 60', '... nothing of them is loaded');
	processes_gone($node);
	return;
}

%id = start_dataset('CREATE TRIGGER refuse BEFORE INSERT ON movies EXECUTE FUNCTION refuse()');
is(ends(%id), $failed_first, 'movies fail: what references them fails, genome_tags completes');
my $row = json_row($node, "SELECT * FROM uploaded_files WHERE id = $id{movies}");
is("$row->{sqlstate} $row->{error}", 'P0001 no movies today', '... movies has its own error');
dependents('Failed', %id);
my $completed_at = $node->safe_psql('postgres', "SELECT end_time FROM uploaded_files WHERE id = $id{genome_tags}");
is($node->safe_psql('postgres', "DROP TRIGGER refuse ON movies; SELECT ml_resume($id{movies})"), 't', 'resumed when the cause is gone');
is(ends(%id), $all_completed, '... all complete');
as_copied('resumed', %id);
is($node->safe_psql('postgres', "SELECT end_time FROM uploaded_files WHERE id = $id{genome_tags}"), $completed_at, '... what was complete is not touched');
is($node->safe_psql('postgres', "SELECT count(*) FROM uploaded_files WHERE dataset_id = $id{movies} AND (sqlstate IS NOT NULL OR error IS NOT NULL)"), '0', '... no error is left');

# --- one that is cancelled ---

$gate = close_gate($node);
%id = start_dataset('CREATE TRIGGER gate BEFORE INSERT ON movies EXECUTE FUNCTION gate()');
is(wait_import($node, $id{genome_tags})->{status}, 'Completed', 'movies are held up again');
leader_idle();
is($node->safe_psql('postgres', "SELECT ml_cancel($id{movies})"), 't', '... and cancelled');
is(ends(%id), $failed_first =~ s/^Failed/Cancelled/r, '... what references them fails, genome_tags is complete');
dependents('Cancelled', %id);
open_gate($gate);
is($node->safe_psql('postgres', "SELECT ml_resume($id{tags})"), 't', 'resumed by the id of another file');
is(ends(%id), $all_completed, '... all complete');
as_copied('resumed', %id);

# A file that others wait for, and one that nobody waits for.
$gate = close_gate($node);
%id = start_dataset('CREATE TRIGGER gate BEFORE INSERT ON movies EXECUTE FUNCTION gate()');
leader_idle();
is($node->safe_psql('postgres', "SELECT ml_cancel($id{tags})"), 't', 'a file that waits for movies is cancelled');
is(wait_import($node, $id{tags})->{status}, 'Cancelled', '... and ends while movies are held up');
open_gate($gate);
is(ends(%id), 'Completed Completed Completed Cancelled Completed Completed', '... the others complete');
is(loaded(), '60 60 1000 0 600 60', '... nothing of it is loaded');
is($node->safe_psql('postgres', "SELECT ml_resume($id{tags})"), 't', '... resumed');
is(ends(%id), $all_completed, '... it completes');
as_copied('a single file resumed', %id);

# --- over a table in between ---

%id = start_dataset('ALTER TABLE links ADD UNIQUE (movieid); ALTER TABLE tags DROP CONSTRAINT tags_movieid_fkey, ADD FOREIGN KEY (movieid) REFERENCES links (movieid);
	CREATE TRIGGER refuse BEFORE INSERT ON movies EXECUTE FUNCTION refuse()');
is(ends(%id), $failed_first, 'tags references links, which references movies, which fail: all of them fail');
is($node->safe_psql('postgres', "SELECT error FROM uploaded_files WHERE id = $id{tags}"), "file \"links.csv\" (import $id{links}), whose table public.links is referenced, ended Failed",
	'... tags names links');
is($node->safe_psql('postgres', "DROP TRIGGER refuse ON movies; SELECT ml_resume($id{links})"), 't', '... resumed');
is(ends(%id), $all_completed, '... all complete');
as_copied('over a table in between', %id);

# --- records that are refused are no failure ---

write_table('movies', map { s/^7,/x,/r } @{ $content{movies} });
%id = start_dataset('');
is(ends(%id), join(' ', ('Completed with errors') x 5, 'Completed'), 'a movie is refused: what references movies is loaded');
is($node->safe_psql('postgres', "SELECT count(*) FROM rejected_rows r JOIN uploaded_files f ON f.id = uploaded_file_id WHERE dataset_id = $id{movies} AND f.id <> $id{movies} AND r.sqlstate <> '23503'"),
	'0', '... but what references this one');
is($node->safe_psql('postgres', 'SELECT (SELECT count(*) FROM links WHERE movieid = 7) + (SELECT count(*) FROM ratings WHERE movieid = 7)'), '0', '... which is not there');
ledger_holds($node, $id{$_}, $_, "... $_: ledger") for @tables;

$node->stop;
done_testing();
