# The launcher goes on with what this very server has begun, and with nothing else: in a copy of the server, on the same host
# and with the file there, in a standby that was promoted, and when a file is missing or another one, imports stay
# interrupted, queued ones too, and ml_progress says why, until ml_resume. With autoresume off they wait for it to be on.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $main = PostgreSQL::Test::Cluster->new('main');
$main->init(allows_streaming => 1);
# Slots for launcher, leader and worker, and one of the server's own.
$main->append_conf('postgresql.conf', "shared_preload_libraries = 'movielens_ingest'\nmax_worker_processes = 4\nshared_buffers = 16MB");
$main->start;
$main->safe_psql('postgres', 'CREATE EXTENSION movielens_ingest; CREATE TABLE t (id integer, name text); CREATE TABLE u (LIKE t); CREATE TABLE v (LIKE t)');
add_gate($main, 't', 'NEW.id IN (45, 55)');
my %path = map { $_ => write_file("$_.csv", numbers(100)) } 't', 'u', 'v';
my $options = 'chunk_size => 10, min_chunks => 1, max_workers => 2, force => true';

# One import that is in the middle of chunks 5 and 6, and a queued one.
sub begin_two
{
	$main->safe_psql('postgres', 'TRUNCATE t, u');
	my $gate = close_gate($main);
	my $running = start_import($main, $path{t}, 't', $options);
	wait_at_gate($main, 2);
	my $queued = start_import($main, $path{u}, 'u', $options);
	is($main->safe_psql('postgres', "SELECT status FROM uploaded_files WHERE id = $queued"), 'Queued', 'one import runs, and one is queued');
	return ($gate, $running, $queued);
}

# Until the launcher's scouts have looked into the databases.
sub launched
{
	my ($node, $log, @ids) = @_;
	$node->wait_for_log(qr/import $_ was interrupted and (does not go on by itself|goes on)/, $log) for @ids;
	poll($node, "SELECT string_agg(backend_type, ',') = 'movielens_ingest launcher' FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%'",
		'nothing but the launcher runs');
	return;
}

sub held
{
	my ($node, $reason, $name, @ids) = @_;
	for my $id (@ids)
	{
		my $row = json_row($node, "SELECT * FROM ml_progress WHERE id = $id");
		is("$row->{phase} $row->{resume}", "interrupted SELECT public.ml_resume($id)", "$name: import $id is interrupted");
		like($row->{reason}, $reason, '... and says why');
	}
	is($node->safe_psql('postgres', 'SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM u)'), '40|0', '... nothing was loaded');
	return;
}

sub resumed
{
	my ($node, $name, @ids) = @_;
	for my $id (@ids)
	{
		is($node->safe_psql('postgres', "SELECT ml_resume($id)"), 't', "$name: import $id is resumed");
		my $row = wait_import($node, $id);
		is("$row->{status} $row->{success_count}", 'Completed 100', '... and completes');
	}
	is($node->safe_psql('postgres', "SELECT count(*), count(DISTINCT id), (SELECT count(*) FROM u), (SELECT count(*) FROM ml_progress) FROM t"), '100|100|100|0', '... each row is there once');
	return;
}

# --- a copy, and a standby ---

my ($gate, @ids) = begin_two();
$main->backup('base');
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($main, 'base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($main, 'base', has_streaming => 1);
$_->append_conf('postgresql.conf', 'max_worker_processes = 8') for $copy, $standby;
$copy->start;
$standby->start;
$main->wait_for_catchup($standby);
is($standby->safe_psql('postgres', 'SELECT count(*) FROM ml_progress WHERE reason IS NULL AND resume IS NULL'), 2, 'a standby calls none of them interrupted');

launched($copy, 0, @ids);
held($copy, qr/^it was begun in another data directory/, 'a copy', @ids);
# A leader that ends there takes nothing from the queue that is not its own.
is(imported($copy, $path{v}, 'v', $options)->{status}, 'Completed', 'an import of the copy\'s own completes');
launched($copy, 0);
held($copy, qr/^it was begun in another data directory/, '... after it', @ids);
# Of imports that wait for a slot this is none.
my $holder = close_gate($copy);
my $own = start_import($copy, $path{t}, 't', $options);
wait_at_gate($copy, 2);
fails_like($copy, "SELECT ml_wait($ids[1])", '55000', qr/import $ids[1] was interrupted/, '... ml_wait does not wait for the queued one, though a leader is there');
$copy->safe_psql('postgres', "SELECT ml_cancel($own)");
is(wait_import($copy, $own)->{status}, 'Cancelled', '... the leader ends');
open_gate($holder);
launched($copy, 0);
$copy->safe_psql('postgres', "DELETE FROM t WHERE ctid IN (SELECT ctid FROM (SELECT ctid, row_number() OVER (PARTITION BY id ORDER BY ctid) AS n FROM t) d WHERE n > 1)");
resumed($copy, 'the copy', @ids);

my $log = -s $standby->logfile;
$standby->promote;
launched($standby, $log, @ids);
held($standby, qr/^it was begun on timeline 1 and the server is on timeline 2 now/, 'a promoted standby', @ids);
resumed($standby, 'the promoted standby', @ids);

# What the copy has resumed is its own.
$copy->safe_psql('postgres', 'TRUNCATE t, u, v');
my $again = close_gate($copy);
my $mine = start_import($copy, $path{t}, 't', $options);
wait_at_gate($copy, 2);
$log = -s $copy->logfile;
$copy->stop('immediate');
$again->quit;
$copy->start;
launched($copy, $log, $mine);
is(wait_import($copy, $mine)->{status}, 'Completed', 'what the copy has begun itself goes on by itself');
$copy->stop;
$standby->stop;

open_gate($gate);
is(wait_import($main, $_)->{status}, 'Completed', "import $_ goes on where it was begun") for @ids;

# --- files that are missing, or others ---

($gate, @ids) = begin_two();
$log = -s $main->logfile;
$main->stop('immediate');
$gate->quit;
rename($path{$_}, "$path{$_}.away") or die for 't', 'u';
$main->start;
launched($main, $log, @ids);
held($main, qr/^could not stat file "[^"]*\/[tu]\.csv": No such file or directory$/, 'a missing file', @ids);
fails_like($main, "SELECT ml_resume($_)", '58P01', qr/could not stat file "[^"]*\/[tu]\.csv"/, '... ml_resume says so too') for @ids;
held($main, qr/^could not stat file/, '... which changes nothing', @ids);
rename("$path{$_}.away", $path{$_}) or die for 't', 'u';
resumed($main, 'with the files in their place', @ids);

($gate, @ids) = begin_two();
$log = -s $main->logfile;
$main->stop('immediate');
$gate->quit;
utime(1, 1, $path{t}) or die;
$main->start;
launched($main, $log, @ids);
is($main->safe_psql('postgres', "SELECT phase, reason LIKE 'file % has changed since, or is a copy' FROM ml_progress WHERE id = $ids[0]"), 'interrupted|t', 'a file with another time');
is(wait_import($main, $ids[1])->{status}, 'Completed', '... the other import goes on, out of the queue');
resumed($main, '... ml_resume finds that the bytes are the same', $ids[0]);

# --- autoresume ---

($gate, @ids) = begin_two();
$main->append_conf('postgresql.conf', 'movielens_ingest.autoresume = off');
$log = -s $main->logfile;
$main->stop('immediate');
$gate->quit;
$main->start;
launched($main, $log);
is($main->safe_psql('postgres', "SELECT count(*) FROM ml_progress WHERE phase = 'interrupted' AND reason = 'movielens_ingest.autoresume is off'"), 2, 'with autoresume off nothing goes on, and ml_progress says why');
fails_like($main, 'SET movielens_ingest.autoresume = on', '55P02', qr/cannot be changed now/, '... and only the server\'s configuration changes that');
$main->append_conf('postgresql.conf', 'movielens_ingest.autoresume = on');
$main->reload;
poll($main, 'SELECT count(*) = 0 FROM ml_progress', 'the imports end');
is(wait_import($main, $_)->{status}, 'Completed', "... once it is on, import $_ goes on") for @ids;
is($main->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id), (SELECT count(*) FROM u) FROM t'), '100|100|100', '... each row is there once');

$main->stop;
done_testing();
