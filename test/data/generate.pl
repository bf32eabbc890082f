#!/usr/bin/env perl
# Writes movies.csv and ratings.csv as GroupLens publishes them: CRLF line ends, quotes only where a title needs
# them, movies by movieId with gaps, ratings by userId and movieId. The same arguments give the same bytes.
#
#   generate.pl DIRECTORY [RATINGS [SEED [MOVIES]]]
use strict;
use warnings;

my ($directory, $ratings, $seed, $movies) = @ARGV;
die "usage: $0 DIRECTORY [RATINGS [SEED [MOVIES]]]\n" unless defined $directory;
$ratings //= 1_000_000;
$movies  //= 27_278;
srand($seed // 1);

my @words  = qw(Night City Story American Last Love Blue House Return River Silent King Summer Ghost Paris Road);
my @genres = qw(Action Adventure Animation Children Comedy Crime Documentary Drama Fantasy Horror Romance Thriller War);
# A rating is as frequent as in the real files: whole stars are more likely than half ones.
my @stars = map { my ($value, $count) = @$_; ($value) x $count } [ '0.5', 1 ], [ '1.0', 3 ], [ '1.5', 1 ],
  [ '2.0', 7 ], [ '2.5', 4 ], [ '3.0', 21 ], [ '3.5', 11 ], [ '4.0', 28 ], [ '4.5', 8 ], [ '5.0', 15 ];

sub one_of { return $_[ rand @_ ] }

sub create
{
    my ($name, $header) = @_;
    open(my $file, '>:raw', "$directory/$name") or die "could not create $directory/$name: $!\n";
    print $file "$header\r\n";
    return $file;
}

sub title
{
    my $title = join(' ', map { one_of(@words) } 0 .. rand 3);
    my $kind  = rand;
    $title = "$title, The" if $kind < 0.2;
    $title = "\"$title\" Revisited" if $kind > 0.99;
    $title .= sprintf(' (%d)', 1915 + int(rand(100)));
    if ($title =~ /[",]/)
    {
        $title =~ s/"/""/g;
        $title = "\"$title\"";
    }
    return $title;
}

my $file = create('movies.csv', 'movieId,title,genres');
my ($id, @ids) = (0);
foreach (1 .. $movies)
{
    # Most of the real ids are dense, the later ones far apart.
    $id += $_ < $movies / 3 ? 1 : 1 + int(rand(11));
    push @ids, $id;
    my %genres = map { one_of(@genres) => 1 } 0 .. rand 3;
    printf $file "%d,%s,%s\r\n", $id, title(), rand() < 0.01 ? '(no genres listed)' : join('|', sort keys %genres);
}
close($file) or die "could not write $directory/movies.csv: $!\n";

# A user rates 20 movies or more, once each and in one go; some movies are rated far more than others.
$file = create('ratings.csv', 'userId,movieId,rating,timestamp');
for (my $user = 1; $ratings > 0; $user++)
{
    my $wanted = 20 + int(-120 * log(1 - rand()));
    $wanted = $ratings if $wanted > $ratings;
    $wanted = $movies  if $wanted > $movies;
    my %rated;
    $rated{ int($movies * rand()**3) } = 1 while keys %rated < $wanted;
    my $time = 789_652_004 + int(rand(638_000_000));
    foreach my $movie (sort { $a <=> $b } keys %rated)
    {
        printf $file "%d,%d,%s,%d\r\n", $user, $ids[$movie], one_of(@stars), $time + int(rand(50_000));
    }
    $ratings -= $wanted;
}
close($file) or die "could not write $directory/ratings.csv: $!\n";
