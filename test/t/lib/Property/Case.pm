# A case: a random table, a file for it, and ways to load it, all from one number. And what is left of a case that fails when
# everything is taken away that it fails without.
package Property::Case;

use strict;
use warnings;

use Exporter qw(import);
use ImportTest qw(@writers);
use Property::File;
use Property::Law;
use Property::Random;
use Property::Table;

our @EXPORT = qw(random_case minimised script_of);

sub random_case
{
	my ($seed) = @_;
	srand($seed);
	my $table = random_table();
	my $dialect = random_dialect($table);
	my %case = (seed => $seed, table => $table, dialect => $dialect, head => random_head($table, $dialect), records => random_records($table, $dialect));
	# A simple one, and another for each writer. A key of the table to itself is not met by rows of a chunk that comes later.
	my @sizes = $table->{self} ? (30000) : (1, between(2, 10), between(2, 40), 30000);
	$case{variants} = [ [ 30000, 1, 1, 'auto' ], map { [ one_of(@sizes), $table->{self} ? 1 : one_of(1, 12), between(1, 4), $_ ] } @writers ];
	return \%case;
}

# Tries, for so many seconds, to leave out statements behind the table's, records, and then bytes of records.
sub minimised
{
	my ($session, $case, $seconds) = @_;
	my $until = time + $seconds;
	my $fails = sub { my ($changed) = @_; return time < $until && eval { broken_laws($session, $changed) > 0 } };
	my %least = %$case;
	for my $variant (@{ $case->{variants} })
	{
		my %changed = (%least, variants => [$variant]);
		if ($fails->(\%changed)) { %least = %changed; last }
	}
	my $reduce_records = sub { $least{records} = reduced($least{records}, sub { $fails->({ %least, records => $_[0] }) }) };
	$reduce_records->();
	my $more = reduced($least{table}{more}, sub { $fails->({ %least, table => { %{ $least{table} }, more => $_[0] } }) });
	$least{table} = { %{ $least{table} }, more => $more };
	$reduce_records->();
	for my $i (0 .. $#{ $least{records} })
	{
		my $changed = sub { my @records = @{ $least{records} }; $records[$i] = join('', @{ $_[0] }); return { %least, records => \@records } };
		my $bytes = reduced([ split(//, $least{records}[$i]) ], sub { $fails->($changed->($_[0])) });
		$least{records} = $changed->($bytes)->{records};
	}
	return \%least;
}

# Delta debugging: leaves out parts of a list, half of it, a quarter, ... as long as what is left still fails.
sub reduced
{
	my ($list, $fails) = @_;
	my @list = @$list;
	for (my $part = int((@list + 1) / 2); $part > 0; $part = $part == 1 ? 0 : int(($part + 1) / 2))
	{
		for (my $at = 0; $at < @list;)
		{
			my @rest = @list;
			splice(@rest, $at, $part);
			if ($fails->(\@rest)) { @list = @rest }
			else { $at += $part }
		}
	}
	return \@list;
}

# A shell script that runs the case, in a new database of the server that the environment names.
sub script_of
{
	my ($case, @wrong) = @_;
	my $bytes = join('', $case->{head}, @{ $case->{records} }) =~ s/([^ -~]|[\\%'])/sprintf('\\%03o', ord $1)/ger;
	my ($chunk_size, $min_chunks, $workers, $writer) = @{ $case->{variants}[0] };
	my $sql = join(";\n", 'CREATE EXTENSION movielens_ingest', shared_objects() =~ s/\s*\z//r, table_sql($case, 'cop'), table_sql($case, 'imp'),
		"SET movielens_ingest.writer = $writer",
		"SELECT ml_import(:'file', 'imp.t', " . import_options($case->{dialect}) . ", chunk_size => $chunk_size, min_chunks => $min_chunks, max_workers => $workers) AS id \\gset\n"
		. 'SELECT status, row_count, success_count, error_count, skipped_count FROM ml_wait(:id)',
		'SELECT row_number, line_number, column_name, sqlstate, message, raw_line, raw_bytes FROM rejected_rows WHERE uploaded_file_id = :id ORDER BY 1',
		'TABLE imp.t', copy_command($case, ':file') =~ s/':file'/:'file'/r, 'TABLE cop.t', '');
	my $said = join('', map { s/^/# /gmr . "\n" } "seed $case->{seed}", map { s/[^\n -~]/?/gr } @wrong);
	return "#!/bin/sh\n${said}file=\$(mktemp)\nchmod a+r \"\$file\"\nprintf '$bytes' >\"\$file\"\nif createdb property\nthen psql -X -d property -v file=\"\$file\" <<'SQL'\n${sql}SQL\nfi\n";
}

1;
