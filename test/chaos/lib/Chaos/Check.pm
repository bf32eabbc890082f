# What has to be so after a round of chaos, when every import has been gone on with until it was complete.
package Chaos::Check;

use strict;
use warnings;

use Exporter qw(import);
use Chaos::Acts;
use PostgreSQL::Test::Utils ();
use Time::HiRes qw(sleep time);

our @EXPORT = qw(finish_imports broken_promises);

my $deadline = 90;

# Until each import is complete; what is wrong, or nothing. Waits for what runs, and goes on with what does not.
sub finish_imports
{
	my ($chaos) = @_;
	my $until = time + $deadline;
	my $ids = join(', ', @{ $chaos->{imports} });
	my $open = '';
	while (time < $until)
	{
		if (run_sql($chaos, "SELECT count(*) FROM $chaos->{ingest}.ml_progress WHERE phase <> 'interrupted'"))
		{
			sleep(0.05);
			next;
		}
		next if run_sql($chaos, "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest leader' OR backend_type LIKE 'movielens_ingest worker'") && sleep(0.05);
		# A complete import into an unlogged table that a crash has emptied is one to go on with.
		my @resumed = grep { (try_sql($chaos, "SELECT $chaos->{ingest}.ml_resume($_)") // '') eq 't' } split(/\n/, run_sql($chaos,
			"SELECT id FROM $chaos->{ingest}.uploaded_files WHERE id IN ($ids) AND (status NOT LIKE 'Completed%' OR target LIKE '%.unlogged') ORDER BY id"));
		next if @resumed;
		$open = run_sql($chaos, "SELECT string_agg(format('import %s of %s: %s %s', id, file_name, status, error), '; ') FROM $chaos->{ingest}.uploaded_files WHERE id IN ($ids) AND status NOT LIKE 'Completed%'");
		return if $open eq '';
		sleep(0.2);
	}
	return "not complete after $deadline seconds: $open";
}

sub table_promises
{
	my ($chaos, $file, $target) = @_;
	my ($table, $copied, $columns) = @$target{qw(table copied columns)};
	$columns //= run_sql($chaos, "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = '$copied'::regclass AND attnum > 0");
	my @wrong;
	my $rows = "SELECT $columns FROM $table";
	my $copies = "SELECT $columns FROM $copied";
	my $different = run_sql($chaos, "SELECT count(*) FROM (($rows EXCEPT ALL $copies) UNION ALL ($copies EXCEPT ALL $rows)) d");
	push @wrong, "$table: $different rows differ from COPY's" if $different;
	my $law = run_sql($chaos, qq(
		SELECT concat_ws(', ',
		         CASE WHEN f.success_count + f.error_count + f.skipped_count + f.unprocessed_count <> f.row_count OR f.unprocessed_count <> 0 THEN 'counts do not add up' END,
		         CASE WHEN f.success_count <> (SELECT count(*) FROM $table) THEN 'success_count is ' || f.success_count END,
		         CASE WHEN f.error_count <> $target->{rejects} THEN 'error_count is ' || f.error_count || ', not $target->{rejects}' END,
		         CASE WHEN f.error_count <> (SELECT count(*) FROM $chaos->{ingest}.rejected_rows WHERE uploaded_file_id = f.id) THEN 'other rejected rows than error_count' END,
		         CASE WHEN (SELECT bool_or(status <> 'Completed' OR crashes > $chaos->{crashes}) FROM $chaos->{ingest}.process_chunks WHERE uploaded_file_id = f.id) THEN 'a chunk is not Completed, or was in more crashes than there were' END,
		         CASE WHEN (SELECT (sum(success_count), sum(error_count), sum(skipped_count), sum(end_row - start_row + 1)) IS DISTINCT FROM (f.success_count::numeric, f.error_count::numeric, f.skipped_count::numeric, f.row_count::numeric)
		                      FROM $chaos->{ingest}.process_chunks WHERE uploaded_file_id = f.id) THEN 'the chunks add up to something else' END)
		  FROM $chaos->{ingest}.uploaded_files f WHERE id = $target->{import}));
	push @wrong, "$table, import $target->{import}: $law" if $law ne '';
	my $invalid = run_sql($chaos, "SELECT string_agg(indexrelid::regclass::text, ', ') FROM pg_index WHERE indrelid = '$table'::regclass AND NOT (indisvalid AND indisready) AND indexrelid::regclass::text NOT LIKE '%ccnew%' AND indexrelid::regclass::text NOT LIKE '%expr_idx%'");
	push @wrong, "$table: invalid indexes $invalid" if $invalid ne '';
	return @wrong;
}

sub broken_promises
{
	my ($chaos) = @_;
	my @wrong = map { my $target = $_; map { table_promises($chaos, $_, $target->{tables}{$_}) } sort keys %{ $target->{tables} } } @{ $chaos->{targets} };
	my $damage = run_sql($chaos, q(
		SELECT string_agg(c.oid::regclass || ' ' || v.blkno || ' ' || v.msg, '; ') FROM pg_class c CROSS JOIN LATERAL verify_heapam(c.oid) v WHERE c.relkind = 'r' AND c.relnamespace::regnamespace::text LIKE 'target\_%'));
	push @wrong, "damage: $damage" if $damage ne '';
	defined try_sql($chaos, q(
		SELECT bt_index_parent_check(indexrelid, true, true) FROM pg_index JOIN pg_class c ON c.oid = indexrelid
		 WHERE indisvalid AND relam = (SELECT oid FROM pg_am WHERE amname = 'btree') AND relkind = 'i' AND relnamespace::regnamespace::text LIKE 'target\_%'))
	  or push @wrong, 'an index is damaged: ' . join('; ', grep { /index|heap/ } keys %{ $chaos->{failed} });
	my $ids = join(', ', @{ $chaos->{imports} });
	my $kept = run_sql($chaos, "SELECT count(*) FROM $chaos->{ingest}._deferred_indexes");
	push @wrong, "$kept indexes are noted as put off" if $kept;
	push @wrong, map { "left: $_" } left_behind($chaos);
	return @wrong;
}

# Locks, processes, shared memory and temporary files, some of which go a moment later.
sub left_behind
{
	my ($chaos) = @_;
	my $until = time + 60;
	my @left;
	do
	{
		sleep(0.05) if @left;
		@left = grep { $_ ne '' } split(/\n/, run_sql($chaos, q(
			SELECT 'lock ' || locktype || ' ' || mode || ' of ' || coalesce(pid::text, 'nobody') FROM pg_locks WHERE locktype IN ('object', 'advisory', 'userlock')
			UNION ALL SELECT 'process ' || backend_type FROM pg_stat_activity WHERE backend_type IN ('movielens_ingest leader', 'movielens_ingest worker', 'movielens_ingest scout')
			UNION ALL SELECT 'temporary file ' || t FROM pg_ls_dir('base/pgsql_tmp', true, false) t)));
		push @left, map { "segment $_" } grep { PostgreSQL::Test::Utils::slurp_file($_) =~ /^\d[bs]lm/ } glob($chaos->{node}->data_dir . '/pg_dynshmem/mmap.*');
	} while (@left && time < $until);
	return @left;
}

1;
