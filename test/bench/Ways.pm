# What `make bench` measures: the ways to load files, in groups.
package Ways;
use strict;
use warnings;

# Of a way:
#   name       GROUP/WAY
#   number     its place among all
#   title      for people, below the title of the group
#   tables     what it fills: table => the file whose rows it must hold in the end
#   prepare    statements that make the tables
#   sessions   lists of statements, each list for a session of its own, run at the same time; the time is from the first
#              start to the last end. What they print must be "Completed"
#   repeat     how often in a round, with the statement `reset` before each time
our %group_titles = (
	heap => 'bare table',
	ratings => 'ratings as shipped',
	dataset => 'data set',
	growth => 'ratings as shipped, in part',
	small => 'small files',);

my $shipped_tables = "SELECT FROM ml_create_tables('bench')";
my $bare_ratings =
  'CREATE TABLE ratings (userid integer, movieid integer NOT NULL, rating double precision, "timestamp" varchar(100))';
# An order that the foreign keys allow; tables are named as the files, but for the hyphen.
my @data_set = qw(movies links ratings tags genome-tags genome-scores);

# copy TABLE, FILE
sub copy { return "COPY $_[0] FROM '$_[1]' (FORMAT csv, HEADER)" }

# ml_import TABLE, FILE [, OPTION...]
sub ml_import
{
	my ($table, $file, @options) = @_;
	my $arguments = join(', ', "'$file'", "'$table'", 'force => true', @options);
	return ("SELECT ml_import($arguments) AS id \\gset", 'SELECT status FROM ml_wait(:id)');
}

# movies DATA: statements that load what ratings reference
sub movies { return (copy('movies', "$_[0]/set/movies.csv"), 'VACUUM ANALYZE movies') }

sub into_bare_table
{
	my ($data) = @_;
	my $ratings = "$data/set/ratings.csv";
	my $way = sub {
		my ($name, $title, @sessions) = @_;
		return { name => "heap/$name", title => $title, prepare => [$bare_ratings], sessions => \@sessions,
			tables => { ratings => $ratings } };
	};
	return (
		$way->('copy', 'COPY', [ copy('ratings', $ratings) ]),
		$way->('copy-2', 'two COPYs at once', map { [ copy('ratings', "$data/parts/half-$_.csv") ] } 1, 2),
		$way->('import-1', 'import by one process', [ ml_import('ratings', $ratings, 'max_workers => 1') ]),
		$way->('import-2', 'import by 2 processes', [ ml_import('ratings', $ratings, 'max_workers => 2') ]),
		$way->('import-4', 'import by 4 processes', [ ml_import('ratings', $ratings, 'max_workers => 4') ]));
}

# By hand: what ml_create_tables makes of ratings is made after the rows are in, and the table analyzed, as imports do.
sub into_ratings
{
	my ($data) = @_;
	my $ratings = "$data/set/ratings.csv";
	my @way = (prepare => [ $shipped_tables, movies($data) ], tables => { ratings => $ratings });
	return (
		{ @way, name => 'ratings/copy', title => 'COPY', sessions => [ [ copy('ratings', $ratings) ] ] },
		{
			@way,
			name => 'ratings/by-hand',
			title => 'COPY, then index and key',
			prepare => [ $shipped_tables, movies($data), 'DROP TABLE ratings', $bare_ratings ],
			sessions => [ [
				copy('ratings', $ratings),
				'CREATE INDEX ON ratings (movieid)',
				'ALTER TABLE ratings ADD FOREIGN KEY (movieid) REFERENCES movies ON DELETE CASCADE',
				'ANALYZE ratings',
			] ],
		},
		{ @way, name => 'ratings/import', title => 'import', sessions => [ [ ml_import('ratings', $ratings) ] ] });
}

sub of_data_set
{
	my ($data) = @_;
	my %file_of = map { (tr/-/_/r => "$data/set/$_.csv") } @data_set;
	my @way = (prepare => [$shipped_tables], tables => \%file_of);
	my @copies = map { copy($_, $file_of{$_}) } map { tr/-/_/r } @data_set;
	my @import = (
		"SELECT array_agg(id) AS ids FROM ml_import_dataset('$data/set', strict => true, force => true) \\gset",
		"SELECT w.status FROM unnest(:'ids'::bigint[]) AS id, ml_wait(id) AS w");
	return (
		{ @way, name => 'dataset/copy', title => 'COPY file by file', sessions => [ \@copies ] },
		{ @way, name => 'dataset/import', title => 'import', sessions => [ \@import ] });
}

# Of 20 million ratings, the first million and the first five.
sub in_part
{
	my ($data) = @_;
	my $way = sub {
		my ($name, $title) = @_;
		my $file = "$data/parts/$name.csv";
		return { name => "growth/$name", title => $title, prepare => [ $shipped_tables, movies($data) ],
			sessions => [ [ ml_import('ratings', $file) ] ], tables => { ratings => $file } };
	};
	return ($way->('twentieth', 'import, 1/20 of the rows'), $way->('quarter', 'import, 1/4 of the rows'));
}

sub of_small_files
{
	my ($data) = @_;
	my $ways = sub {
		my ($name, $title, $table, $file) = @_;
		my @way = (prepare => [ $shipped_tables, $table eq 'movies' ? () : movies($data) ], tables => { $table => $file },
			repeat => 7, reset => "TRUNCATE $table CASCADE");
		return (
			{ @way, name => "small/$name-copy", title => "$title, COPY", sessions => [ [ copy($table, $file) ] ] },
			{ @way, name => "small/$name-import", title => "$title, import", sessions => [ [ ml_import($table, $file) ] ] });
	};
	return (
		$ways->('one-row', 'one rating', 'ratings', "$data/parts/one-row.csv"),
		$ways->('thousand-rows', '1000 ratings', 'ratings', "$data/parts/thousand-rows.csv"),
		$ways->('movies', 'movies.csv', 'movies', "$data/set/movies.csv"));
}

# all DATA: every way, loading from the folder that run.sh has made
sub all
{
	my @ways = map { $_->(@_) } \&into_bare_table, \&into_ratings, \&of_data_set, \&in_part, \&of_small_files;
	foreach (0 .. $#ways)
	{
		$ways[$_]{number} = $_;
		$ways[$_]{repeat} //= 1;
	}
	return @ways;
}

# What is done by default on servers that are not the first one.
my %default_names = (initdb => 'heap ratings', full => 'heap');

# selected CONFIGURATION, NAMES, WAY...: those that NAMES, groups and ways, asks for; if it is empty all, or the default
# ones of the configuration
sub selected
{
	my ($configuration, $names, @ways) = @_;
	my @names = split(' ', $names || $default_names{$configuration} || join(' ', keys %group_titles));
	my %selected;
	foreach my $name (@names)
	{
		my @found = grep { $name eq group_of($_) || $name eq $_->{name} } @ways or die "no such way: $name\n";
		$selected{ $_->{number} } = $_ foreach @found;
	}
	return map { $selected{$_} } sort { $a <=> $b } keys %selected;
}

sub group_of { return $_[0]{name} =~ s|/.*||r }

1;
