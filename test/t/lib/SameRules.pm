# The rules of a table held against COPY: an import refuses the records that COPY refuses, in the server's words.
package SameRules;

use strict;
use warnings;

use Exporter qw(import);
use ImportTest;
use JSON::PP qw(decode_json);
use Test::More;

our @EXPORT = qw(same_rules);

my $number = 0;

# The tables, new, in schema s.
sub tables_of { return "SET client_min_messages = error; DROP SCHEMA IF EXISTS s CASCADE; CREATE SCHEMA s; SET search_path = s, public; $_[0]" }

# What COPY of these records leaves of t, or the SQLSTATE, message and detail of its error.
sub copied
{
	my ($node, $tables, $columns, @records) = @_;
	my $path = write_file('copy.csv', join("\n", $columns, @records, ''));
	my ($rc, $out, $err) = $node->psql('postgres', 'BEGIN; ' . tables_of($tables) . ";
		COPY t ($columns) FROM '$path' (FORMAT csv, HEADER); SET CONSTRAINTS ALL IMMEDIATE; SELECT t::text FROM t ORDER BY 1; ROLLBACK",
		on_error_stop => 1, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return $out if $rc == 0;
	my ($said) = $err =~ /ERROR:  (\S+: .*)/;
	my ($detail) = $err =~ /^DETAIL:  (.*)/m;
	return 'ERROR ' . join(' ', $said, $detail // ());
}

# Imports the records into table t by each writer: they are in but for those that have to be refused; COPY leaves the same
# rows of the others, and refuses each of these for the same reason.
#
# tables:   makes the table t and others
# columns:  of the file
# refused:  the numbers of the records, from 1
# writers:  that can do it; all others must refuse the table
# validate: ml_validate() refuses the same records
# options:  of the imports; else there is one chunk, so that of equal keys the first one wins
sub same_rules
{
	my ($node, $name, %case) = @_;
	my @records = @{ $case{records} };
	my %bad = map { $_ => 1 } @{ $case{refused} };
	my %can = map { $_ => 1 } @{ $case{writers} // \@writers };
	my @good = grep { !$bad{ $_ + 1 } } 0 .. $#records;
	my $path = write_file('rules' . $number++ . '.csv', join("\n", $case{columns}, @records, ''));
	my @wrong;

	my $copy = copied($node, $case{tables}, $case{columns}, @records[@good]);
	push @wrong, "COPY refuses what should be in: $copy" if $copy =~ /^ERROR/;
	my %reasons = map {
		my $put_back = $_;
		$put_back => copied($node, $case{tables}, $case{columns}, @records[ sort { $a <=> $b } @good, $put_back - 1 ])
	} keys %bad;
	my $reason = q(SELECT coalesce(json_agg(json_build_array(row_number, concat_ws(' ', 'ERROR', sqlstate || ': ' || message, detail)) ORDER BY row_number), '[]') FROM );
	for my $writer (@writers)
	{
		$node->safe_psql('postgres', tables_of($case{tables}));
		my $import = join(', ', "ml_import('$path', 's.t'", 'force => true', $case{options} // 'min_chunks => 1') . ')';
		if (!$can{$writer})
		{
			my (undef, undef, $err) = $node->psql('postgres', "SET movielens_ingest.writer = $writer; SELECT ml_wait($import)");
			my $how = $err || $node->safe_psql('postgres', 'SELECT error FROM uploaded_files ORDER BY id DESC LIMIT 1');
			push @wrong, "writer $writer takes the table" if $how !~ /cannot import into table "t" by writer "$writer"/;
			next;
		}
		my $row = wait_import($node, $node->safe_psql('postgres', "SET movielens_ingest.writer = $writer; SELECT $import"));
		my %refused = map { @$_ } @{ decode_json($node->safe_psql('postgres', "$reason rejected_rows WHERE uploaded_file_id = $row->{id}")) };
		my $rows = $node->safe_psql('postgres', 'SET search_path = s; SELECT t::text FROM t ORDER BY 1');
		push @wrong, "$writer: $row->{status} " . ($row->{error} // '') if $row->{status} ne (%bad ? 'Completed with errors' : 'Completed');
		push @wrong, "$writer: COPY leaves\n$copy\nand the import\n$rows" if $rows ne $copy;
		for my $record (sort { $a <=> $b } keys %{ { %refused, %reasons } })
		{
			my ($ours, $theirs) = map { $_->{$record} // 'takes it' } \%refused, \%reasons;
			push @wrong, "$writer: record $record: $ours\nCOPY: $theirs" if $ours ne $theirs;
		}
	}
	if ($case{validate})
	{
		$node->safe_psql('postgres', tables_of($case{tables}));
		my %refused = map { @$_ } @{ decode_json($node->safe_psql('postgres', "$reason ml_validate('$path', 's.t')")) };
		for my $record (sort { $a <=> $b } keys %{ { %refused, %reasons } })
		{
			my ($ours, $theirs) = map { $_->{$record} // 'takes it' } \%refused, \%reasons;
			push @wrong, "ml_validate: record $record: $ours\nCOPY: $theirs" if $ours ne $theirs;
		}
	}
	ok(!@wrong, $name) or diag(join("\n", @wrong));
	return;
}

1;
