# What `make bench` measures: the ways that files are loaded, in groups.
package Ways;
use strict;
use warnings;

# Of a way:
#   name       GROUP/WAY
#   title      for people, below the title of the group
#   tables     what it fills: table => the file whose rows it must hold in the end
#   prepare    statements that make the tables
#   sessions   lists of statements, each list for a session of its own, run at the same time; each of them is timed
#              until its commits are durable. What they print must be "Completed"
#   number     its place among all
#   repeat     how often in a round, with `reset` before each time (once unless given)
our %group_titles = (
	heap => 'a bare table',
	ratings => 'ratings with foreign key and index',
	dataset => 'the whole data set',
	growth => 'ratings with foreign key and index, fewer rows',
	small => 'small files',);

sub copy
{
	my ($table, $file) = @_;
	return "COPY $table FROM '$file' (FORMAT csv, HEADER)";
}

sub ml_import
{
	my ($table, $file, $more) = @_;
	return ("SELECT ml_import('$file', '$table', force => true" . ($more // '') . ') AS id \gset',
		'SELECT status FROM ml_wait(:id)');
}

# What ml_create_tables makes of ratings after its columns.
my @by_hand = (
	'CREATE INDEX ON ratings (movieid)',
	'ALTER TABLE ratings ADD FOREIGN KEY (movieid) REFERENCES movies ON DELETE CASCADE',
	'ANALYZE ratings',);

# An order that the foreign keys allow.
our @data_set = qw(movies links ratings tags genome-tags genome-scores);

# table_of FILE: as ml_create_tables names it
sub table_of { return $_[0] =~ tr/-/_/r }

# Every way, loading from the folder that run.sh has made.
sub all
{
	my ($data) = @_;
	my $set = "$data/set";
	my $ratings = "$set/ratings.csv";
	my ($half_1, $half_2) = map { "$data/parts/half-$_.csv" } 1, 2;
	my $shipped = "SELECT FROM ml_create_tables('bench')";
	my $bare = 'CREATE TABLE ratings (userid integer, movieid integer NOT NULL, rating double precision, "timestamp" varchar(100))';
	my @movies = (copy('movies', "$set/movies.csv"), 'VACUUM ANALYZE movies');

	my $into_heap = sub {
		my ($name, $title, @sessions) = @_;
		return { name => "heap/$name", title => $title, prepare => [$bare], sessions => \@sessions,
			tables => { ratings => $ratings } };
	};
	my $into_ratings = sub {
		my ($name, $title, $file, @session) = @_;
		return { name => $name, title => $title, prepare => [ $shipped, @movies ], sessions => [ \@session ],
			tables => { ratings => $file } };
	};
	my $small = sub {
		my ($name, $title, $table, $file, @session) = @_;
		return { name => "small/$name", title => $title, prepare => [ $shipped, $table eq 'movies' ? () : @movies ],
			repeat => 7, reset => "TRUNCATE $table CASCADE", sessions => [ \@session ], tables => { $table => $file } };
	};

	my @ways = (
		$into_heap->('copy', 'COPY', [ copy('ratings', $ratings) ]),
		$into_heap->('copy-2', 'two COPYs of half the file', [ copy('ratings', $half_1) ], [ copy('ratings', $half_2) ]),
		map { $into_heap->("import-$_", "import, max_workers => $_", [ ml_import('ratings', $ratings, ", max_workers => $_") ]) }
		  1, 2, 4);
	push @ways,
	  $into_ratings->('ratings/copy', 'COPY', $ratings, copy('ratings', $ratings)),
	  { name => 'ratings/by-hand', title => 'COPY, then index and key', prepare => [ $shipped, @movies, 'DROP TABLE ratings', $bare ],
		sessions => [ [ copy('ratings', $ratings), @by_hand ] ], tables => { ratings => $ratings } },
	  $into_ratings->('ratings/import', 'import', $ratings, ml_import('ratings', $ratings));

	my %tables = map { (table_of($_) => "$set/$_.csv") } @data_set;
	push @ways,
	  { name => 'dataset/copy', title => 'COPY file by file', prepare => [$shipped], tables => \%tables,
		sessions => [ [ map { copy(table_of($_), "$set/$_.csv") } @data_set ] ] },
	  { name => 'dataset/import', title => 'ml_import_dataset', prepare => [$shipped], tables => \%tables,
		sessions => [ [ "SELECT array_agg(id) AS ids FROM ml_import_dataset('$set', strict => true, force => true) \\gset",
				"SELECT f.status FROM unnest(:'ids'::bigint[]) id, ml_wait(id) f" ] ] };

	foreach ([ twentieth => 'import, 1/20 of the rows' ], [ quarter => 'import, 1/4 of the rows' ])
	{
		my ($part, $title) = @$_;
		push @ways, $into_ratings->("growth/$part", $title, "$data/parts/$part.csv", ml_import('ratings', "$data/parts/$part.csv"));
	}

	foreach ([ 'one-row', 'one rating', 'ratings', "$data/parts/one-row.csv" ],
		[ 'thousand-rows', '1000 ratings', 'ratings', "$data/parts/thousand-rows.csv" ],
		[ 'movies', 'movies.csv', 'movies', "$set/movies.csv" ])
	{
		my ($name, $title, $table, $file) = @$_;
		push @ways, $small->("$name-copy", "$title, COPY", $table, $file, copy($table, $file)),
		  $small->("$name-import", "$title, import", $table, $file, ml_import($table, $file));
	}
	$ways[$_]{number} = $_ foreach 0 .. $#ways;
	$_->{repeat} //= 1 foreach @ways;
	return @ways;
}

# selected CONFIGURATION, NAMES, WAY...: those that NAMES, a list of groups and ways, asks for; if it is empty all, or on a
# server as initdb leaves it those of one big table.
sub selected
{
	my ($configuration, $names, @ways) = @_;
	my %wanted = map { ($_ => 1) } split(' ', $names || ($configuration eq 'initdb' ? 'heap ratings' : ''));
	my @selected = grep { !%wanted || $wanted{ group_of($_) } || $wanted{ $_->{name} } } @ways;
	die "no such way: $names\n" unless @selected;
	return @selected;
}

sub group_of { return $_[0]{name} =~ s|/.*||r }

1;
