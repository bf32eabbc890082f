# What is imported in a round of chaos: files that are made once, with the rows that COPY leaves of what an import does not refuse,
# and the table that each goes into, made anew in every round.
package Chaos::Targets;

use strict;
use warnings;

use Exporter qw(import);
use FindBin;

our @EXPORT = qw(target_kinds make_files create_target drop_target);

my $records = 12000;

# Not refused by anything, but slow: so that something can happen meanwhile.
my $slow = 'CHECK (public.dawdle(id))';

# name => { columns: of file and table; table: its SQL without the name; more: statements behind it; record: of a number, as a list, or
# undef where the file has none; refused: whether an import refuses that record; unlogged }
my %kinds = (
	plain => { table => "(id integer, name text, n float8, $slow)", columns => [qw(id name n)], record => sub { [ $_[0], "name $_[0]", $_[0] / 8 ] } },
	keyed => {
		table   => "(id integer PRIMARY KEY, parent integer NOT NULL REFERENCES public.parent, name text CHECK (length(name) < 20), $slow)",
		more    => 'CREATE INDEX ON %s (parent)',
		columns => [qw(id parent name)],
		# A record that cannot be read, an orphan, one that is too long, and one that is there already.
		record => sub {
			my ($n) = @_;
			return [ 'x', 1, 'no number' ] if $n % 397 == 1;
			return [ $n, 0, 'orphan' ] if $n % 501 == 2;
			return [ $n, 1, 'x' x 30 ] if $n % 613 == 3;
			my $id = is_twice($n) ? $n - 1 : $n;
			return [ $id, 1 + $id % 100, "name $id" ];
		},
		refused => sub { return is_broken($_[0]) || is_twice($_[0]) }
	},
	unlogged => { table => "(id integer PRIMARY KEY, name text, $slow)", columns => [qw(id name)], record => sub { [ $_[0], "name $_[0]" ] }, unlogged => 1 },
	indexed => { table => "(id integer, name varchar(40), $slow)", more => 'CREATE INDEX ON %s (id); CREATE INDEX ON %s (name, id); CREATE INDEX ON %s USING hash (id)',
		columns => [qw(id name)], record => sub { [ $_[0] % 5000, "name $_[0]" ] } },
	partitioned => { table => "(id integer PRIMARY KEY, name text, $slow) PARTITION BY RANGE (id)",
		more => 'CREATE TABLE %s_low PARTITION OF %s FOR VALUES FROM (MINVALUE) TO (5000); CREATE TABLE %s_high PARTITION OF %s FOR VALUES FROM (5000) TO (MAXVALUE)',
		columns => [qw(id name)], record => sub { [ $_[0], "name $_[0]" ] } },
	# The trigger leaves every tenth record out, for COPY too.
	triggered => { table => "(id integer, name text, $slow)", more => 'CREATE TRIGGER leave_out BEFORE INSERT ON %s FOR EACH ROW EXECUTE FUNCTION public.leave_out()',
		columns => [qw(id name)], record => sub { [ $_[0], "name $_[0]" ] } });

sub is_broken { my ($n) = @_; return $n % 397 == 1 || $n % 501 == 2 || $n % 613 == 3 }
sub is_twice { my ($n) = @_; return $n % 701 == 4 && !is_broken($n) && !is_broken($n - 1) }

my %data_set = map { ("$_.csv" => $_ =~ tr/-/_/r) } qw(movies links ratings tags);

sub target_kinds { return (sort(keys %kinds), 'data_set') }

# Makes the files in a folder, and in schema "copied" what COPY makes of them.
sub make_files
{
	my ($sql, $folder, $seed) = @_;
	$sql->(q(
		CREATE SCHEMA copied;
		CREATE FUNCTION dawdle(id integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$BEGIN IF id % 100 = 0 THEN PERFORM pg_sleep(0.02); END IF; RETURN true; END$$;
		CREATE FUNCTION leave_out() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF NEW.id % 10 = 0 THEN RETURN NULL; END IF; RETURN NEW; END$$;
		CREATE TABLE parent (id integer PRIMARY KEY); INSERT INTO parent SELECT generate_series(1, 100)));
	for my $name (sort keys %kinds)
	{
		my $kind = $kinds{$name};
		my $head = join(',', @{ $kind->{columns} }) . "\n";
		my @lines = map { join(',', @{ $kind->{record}->($_) }) . "\n" } 1 .. $records;
		my @taken = grep { !$kind->{refused} || !$kind->{refused}->($_) } 1 .. $records;
		$kind->{file} = write_bytes("$folder/$name.csv", join('', $head, @lines));
		$kind->{rejects} = $records - @taken;
		my $clean = write_bytes("$folder/$name-clean.csv", join('', $head, @lines[ map { $_ - 1 } @taken ]));
		my $table = $kind->{table} =~ s/, \Q$slow\E//r;
		$sql->("CREATE TABLE copied.$name $table; " . more_of($kind, "copied.$name") . "; COPY copied.$name FROM '$clean' (FORMAT csv, HEADER)");
	}
	mkdir("$folder/set") or die "could not make $folder/set: $!";
	system($^X, "$FindBin::RealBin/../data/generate.pl", "$folder/set", 20000, $seed, 3000) == 0 or die 'generate.pl failed';
	unlink(map { "$folder/set/$_.csv" } qw(genome-scores genome-tags));
	chmod(0755, "$folder/set");
	$sql->("CREATE SCHEMA model; SELECT ingest.ml_create_tables('model')");
	$sql->("CREATE TABLE copied.$data_set{$_} (LIKE model.$data_set{$_}); COPY copied.$data_set{$_} FROM '$folder/set/$_' (FORMAT csv, HEADER)") for sort keys %data_set;
	return;
}

sub more_of { my ($kind, $table) = @_; return ($kind->{more} // '') =~ s/%s/$table/gr }

sub write_bytes
{
	my ($path, $bytes) = @_;
	open(my $file, '>:raw', $path) or die "could not create $path: $!";
	print $file $bytes;
	close($file) or die "could not write $path: $!";
	return $path;
}

# What makes the target of a kind in a schema of that name, which a role owns; what is imported; and what is to come of it: by file the table,
# COPY's, and how many records are refused. ingest: the schema of the extension.
sub create_target
{
	my ($name, $schema, $owner, $folder, $ingest) = @_;
	if ($name eq 'data_set')
	{
		return {
			name => $name,
			create => "CREATE SCHEMA $schema AUTHORIZATION $owner; SET ROLE $owner; SELECT $ingest.ml_create_tables('$schema'); DROP TABLE $schema.genome_scores, $schema.genome_tags; RESET ROLE",
			path => "$folder/set", data_set => 1, schema => $schema,
			tables => { map { ($_ => { table => "$schema.$data_set{$_}", copied => "copied.$data_set{$_}", rejects => 0 }) } keys %data_set } };
	}
	my $kind = $kinds{$name};
	my $unlogged = $kind->{unlogged} ? 'UNLOGGED' : '';
	return {
		name => $name,
		create => "CREATE SCHEMA $schema AUTHORIZATION $owner; GRANT REFERENCES, SELECT ON parent TO $owner; SET ROLE $owner; CREATE $unlogged TABLE $schema.$name $kind->{table}; " . more_of($kind, "$schema.$name") . '; RESET ROLE',
		path => $kind->{file}, schema => $schema, unlogged => $kind->{unlogged},
		tables => { "$name.csv" => { table => "$schema.$name", copied => "copied.$name", rejects => $kind->{rejects}, columns => join(', ', @{ $kind->{columns} }) } } };
}

sub drop_target { return "DROP SCHEMA IF EXISTS $_[0]{schema} CASCADE" }

1;
