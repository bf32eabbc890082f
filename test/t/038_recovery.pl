# Point-in-time recovery into the middle of an import, by transaction, place in WAL and time: whole chunks are there, as many rows as the
# ledger says, and a resume brings the rest, once.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init(has_archiving => 1, allows_streaming => 1, extra => ['--data-checksums']);
$node->append_conf('postgresql.conf', "autovacuum = off\nmax_worker_processes = 16");
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]) }

sql('CREATE EXTENSION movielens_ingest; CREATE EXTENSION amcheck');
my $count = 20000;
my @files = map { my $bad = $_; write_file("rows$_.csv", "id,name\n" . join('', map { sprintf("%s%d,name %d\n", $_ % 1999 == $bad ? 'x' : '', $_, $_) } 1 .. $count)) } 0 .. $#writers;
sql("CREATE TABLE $_ (id integer UNIQUE, name text); CREATE INDEX ON $_ (name)") for map { "by_$_" } @writers;
$node->backup('base');

# The imports run side by side, and commit their chunks one after the other.
my $from = sql('SELECT pg_current_wal_insert_lsn()');
my @ids = map { sql("SET movielens_ingest.writer = $writers[$_]; SELECT ml_import('$files[$_]', 'by_$writers[$_]', chunk_size => 4000, min_chunks => 1, max_workers => 2)") } 0 .. $#writers;
my @good = map { wait_import($node, $_)->{success_count} } @ids;
# Behind the commit of the first chunk of an import, before that of the last one of another, and anywhere.
my %targets = (
	map({ ("xid $_" => sql("SELECT xmin FROM process_chunks WHERE uploaded_file_id = $ids[$_] ORDER BY ended LIMIT 1")) } 0, 1),
	time => sql("SELECT max(ended) FROM process_chunks WHERE uploaded_file_id = $ids[2]"),
	lsn  => sql("SELECT '$from'::pg_lsn + trunc((pg_current_wal_flush_lsn() - '$from') * 0.4)"));
my $last = sql('SELECT pg_walfile_name(pg_switch_wal())');
poll($node, "SELECT last_archived_wal >= '$last' FROM pg_stat_archiver", 'the WAL is archived');
$node->stop;

my %in_part; # writers of which some chunks were there, and some were not
for my $target (sort keys %targets)
{
	my $name = "recovered to $target";
	my $copy = PostgreSQL::Test::Cluster->new($target =~ s/ /_/r);
	$copy->init_from_backup($node, 'base', has_restoring => 1, standby => 0);
	$copy->append_conf('postgresql.conf', 'recovery_target_' . ($target =~ /(\w+)/)[0] . " = '$targets{$target}'\nrecovery_target_action = promote\narchive_mode = off");
	$copy->start;
	poll($copy, 'SELECT NOT pg_is_in_recovery()', 'recovery ends');
	for my $i (0 .. $#writers)
	{
		my $id = $ids[$i];
		my $chunks = json_row($copy, "SELECT count(*) FILTER (WHERE status = 'Completed') AS done, count(*) AS chunks, coalesce(sum(success_count) FILTER (WHERE status = 'Completed'), 0) AS rows FROM process_chunks WHERE uploaded_file_id = $id");
		$in_part{ $writers[$i] } = 1 if $chunks->{done} && $chunks->{done} < 5;
		note "$writers[$i]: $chunks->{done} of $chunks->{chunks} chunks";
		is($copy->safe_psql('postgres', "SELECT count(*), count(DISTINCT id) FROM by_$writers[$i]"), "$chunks->{rows}|$chunks->{rows}", "$name, $writers[$i]: the rows of the chunks that the ledger says are in");
		is($copy->safe_psql('postgres', "SELECT count(*) FROM rejected_rows r JOIN process_chunks c ON c.id = process_chunk_id WHERE c.uploaded_file_id = $id AND status <> 'Completed'"), 0, '... and rejects of no other');
		next if !$chunks->{chunks};
		$copy->safe_psql('postgres', "SELECT ml_resume($id) FROM uploaded_files WHERE id = $id AND status NOT LIKE 'Completed%'");
		my $row = wait_import($copy, $id);
		is("$row->{status} " . ($row->{error} // ''), 'Completed with errors ', '... and the rest is loaded');
		is($copy->safe_psql('postgres', "SELECT count(*), count(DISTINCT id) FROM by_$writers[$i]"), "$good[$i]|$good[$i]", '... once');
		is($copy->safe_psql('postgres', "SELECT count(bt_index_check(indexrelid, true)) FROM pg_index WHERE indrelid = 'by_$writers[$i]'::regclass AND indisvalid"), 2, '... indexes are valid and right');
	}
	is($copy->safe_psql('postgres', join(' UNION ALL ', map { "SELECT msg FROM verify_heapam('by_$_')" } @writers)), '', "$name: verify_heapam finds nothing");
	$copy->stop;
	command_ok([ 'pg_checksums', '--check', '-D', $copy->data_dir ], '... and checksums are right');
}
is(join(' ', sort keys %in_part), join(' ', sort @writers), 'each writer was met in the middle of a file');

done_testing();
