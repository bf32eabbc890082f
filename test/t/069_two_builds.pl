# The library is replaced while the server runs: a session, or a leader, goes on with the old one, and processes that it starts
# have the new one. Those end, and say why, before they read what another build wrote; no row is lost, and none comes twice.
#
# dynamic_library_path stands for the replacement: the private PostgreSQL is that of other tests too. From PostgreSQL 18 on it
# holds for functions too, and a session that is to have the old library sets it back for itself. The other build is this one
# with another checksum of its sources.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use File::Basename qw(dirname);
use ImportTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_server('main', "movielens_ingest.retry_delay = '10ms'", 'movielens_ingest.chunk_size = 10', 'movielens_ingest.min_chunks = 1');
my $path = write_file('numbers.csv', numbers(100));
my $old = "SET dynamic_library_path = '\$libdir'";
my $refused = qr/ends: it was started by another build of library "movielens_ingest"/;

chomp(my $folder = $node->safe_psql('postgres', "SELECT setting FROM pg_config() WHERE name = 'PKGLIBDIR'"));
my $library = slurp_file("$folder/movielens_ingest.so");
# More than once with debugging symbols.
ok($library =~ s/(movielens_ingest build \d*)(\d)\0/$1 . ($2 + 1) % 10 . "\0"/eg, 'the library says which build it is');
my $other = dirname(write_file('movielens_ingest.so', $library));
chmod 0755, $other, "$other/movielens_ingest.so";

# New processes have the path once a new session has it.
sub use_library
{
	my ($value) = @_;
	$node->append_conf('postgresql.conf', "dynamic_library_path = '$value'");
	$node->reload;
	poll($node, "SELECT current_setting('dynamic_library_path') = '$value'", "the library path is $value");
	return;
}

sub log_size { return -s $node->logfile }

sub same_as_copy
{
	my ($name) = @_;
	is($node->safe_psql('postgres', '(TABLE t EXCEPT ALL TABLE copied) UNION ALL (TABLE copied EXCEPT ALL TABLE t)'), '', $name);
	return;
}

$node->safe_psql('postgres', "CREATE TABLE t (id integer, name text); CREATE TABLE copied (LIKE t); COPY copied FROM '$path' (FORMAT csv, HEADER)");
add_gate($node, 't', 'NEW.id IN (45, 55)');

# A leader that has begun: a worker is lost, and the one that takes its place, when the leader comes from the gate, is of the
# other build.
my $gate = close_gate($node);
my $id = start_import($node, $path, 't', 'max_workers => 2');
wait_at_gate($node, 2);
use_library("$other:\$libdir");
my $before = log_size();
is($node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'movielens_ingest worker'"), 't', 'a worker is terminated');
# The leader must see it gone while chunks are left.
$node->wait_for_log(qr/background worker "movielens_ingest worker" \(PID \d+\) exited/, $before);
open_gate($gate);
$node->wait_for_log(qr/"movielens_ingest worker.*" $refused/, $before);
pass('the worker of another build ends');
my $import = wait_import($node, $id);
is("$import->{status} $import->{success_count} $import->{error_count}", 'Completed 100 0', 'the leader loads what it left');
same_as_copy('... and each row is there once');
ledger_holds($node, $id, 't', '... as the ledger says');

# A session that has the old library: the new leader does not begin, so that the call is an error, and leaves nothing.
$before = log_size();
fails_like($node, "$old; SELECT ml_import('$path', 't', force => true)", '53000', qr/the leader of import \d+ could not be started/, 'a leader of another build does not begin');
$node->wait_for_log(qr/"movielens_ingest leader.*" $refused/, $before);
is($node->safe_psql('postgres', 'SELECT count(*) FROM uploaded_files'), 1, '... and nothing is noted of the import');
same_as_copy('... nor loaded');
processes_gone($node);

# What ml_validate() has its workers for, its session does too.
my $long = write_file('long.csv', numbers(2000) . "wrong,name\n");
$before = log_size();
is($node->safe_psql('postgres', "$old; SELECT line_number FROM ml_validate('$long', 't', max_workers => 3)"), 2002, 'a validation is the same without workers');
$node->wait_for_log($refused, $before);
pass('... which were of another build');

# Back again.
use_library('$libdir');
$import = imported($node, $path, 't', 'force => true');
is("$import->{status} $import->{success_count}", 'Completed 100', 'processes of one build load a file');
$node->stop;
done_testing();
