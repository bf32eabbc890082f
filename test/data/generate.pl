#!/usr/bin/env perl
# Writes the six files of a MovieLens release as GroupLens publishes them: CRLF line ends, quotes only where a field
# needs them, movies by movieId with gaps, ratings and tags by userId and movieId. The proportions are those of MovieLens
# 20M, which has 20000263 ratings and 27278 movies. The same arguments give the same bytes.
#
#   generate.pl DIRECTORY [RATINGS [SEED [MOVIES]]]
use strict;
use warnings;

my ($directory, $ratings, $seed, $movies) = @ARGV;
die "usage: $0 DIRECTORY [RATINGS [SEED [MOVIES]]]\n" unless defined $directory;
$ratings //= 1_000_000;
$seed    //= 1;
$movies  //= 27_278;
srand($seed);

my @words  = qw(Night City Story American Last Love Blue House Return River Silent King Summer Ghost Paris Road);
my @genres = qw(Action Adventure Animation Children Comedy Crime Documentary Drama Fantasy Horror Romance Thriller War);
# A rating is as frequent as in the real files, in thousandths of the whole stars and of the half ones.
my @whole_stars = map { my ($value, $count) = @$_; ($value) x $count }
  [ '1.0', 46 ], [ '2.0', 96 ], [ '3.0', 289 ], [ '4.0', 374 ], [ '5.0', 195 ];
my @half_stars = map { my ($value, $count) = @$_; ($value) x $count }
  [ '0.5', 47 ], [ '1.5', 54 ], [ '2.5', 172 ], [ '3.5', 428 ], [ '4.5', 299 ];
# Half stars came on 18 February 2003; since then this part of the ratings has them.
my ($half_stars_from, $half_star_share) = (1_045_526_400, 0.42);
# The quartiles of the ratings' time.
my @times = (789_652_004, 966_797_700, 1_103_556_000, 1_225_642_000, 1_427_784_002);
# How many ratings movies have: of the most popular one, and of those at these parts of all, by popularity.
my @popularity = (
    [ 0, 67_310 ], [ 0.01, 14_396 ], [ 0.05, 3_614 ], [ 0.1, 1_306 ], [ 0.25, 205 ], [ 0.5, 18 ], [ 0.75, 3 ], [ 1, 1 ]);

# A tag of the genome is one of each, which makes more than the 1,128 of the real file.
my @moods = qw(bleak classic dark dreamlike dumb epic feel-good forgotten funny gritty gory harsh light long lyrical
  modern moody noir quirky quiet sad scary sexy silly slow stylish tense twisted violent weird wistful witty);
my @topics = qw(1930s 1980s aliens betrayal boxing business cars chase childhood comedy cyberpunk death dogs dystopia
  ending family ghosts heist history island jazz journalism love magic money music nature police politics prison
  remake robots romance sci-fi school space surfing);
# What people type has quotes, commas and letters beyond ASCII as well (these are bytes, of UTF-8).
my @odd_tags = ('"artsy"', 'so-called "comedy"', 'boring, too long', 'café, "Zürich"', 'Amélie',
  'Krzysztof Kieślowski', 'Тарковский', '黒澤明', "'til death", 'a \ b', '100%', 'NA');

sub one_of { return $_[ rand @_ ] }

sub quoted
{
    my ($field) = @_;
    return $field unless $field =~ /[",]/;
    $field =~ s/"/""/g;
    return "\"$field\"";
}

my ($file, $path);

sub create
{
    my ($name, $header) = @_;
    $path = "$directory/$name";
    open($file, '>:raw', $path) or die "could not create $path: $!\n";
    print $file "$header\r\n";
}

sub finish
{
    close($file) or die "could not write $path: $!\n";
}

sub title
{
    my $title = join(' ', map { one_of(@words) } 0 .. rand 3);
    my $kind  = rand;
    $title = "$title, The" if $kind < 0.2;
    $title = "\"$title\" Revisited" if $kind > 0.99;
    $title = "$title (Fin août, début septembre)" if $kind > 0.2 && $kind < 0.25;
    return quoted($title . sprintf(' (%d)', 1915 + int(rand(100))));
}

create('movies.csv', 'movieId,title,genres');
my ($id, @ids) = (0);
foreach (1 .. $movies)
{
    # Most of the real ids are dense, the later ones far apart.
    $id += $_ < $movies / 3 ? 1 : 1 + int(rand(12.4));
    push @ids, $id;
    my %genres = map { one_of(@genres) => 1 } 0 .. rand 3;
    printf $file "%d,%s,%s\r\n", $id, title(), rand() < 0.01 ? '(no genres listed)' : join('|', sort keys %genres);
}
finish();

# Of a standard normal distribution.
sub normal { return sqrt(-2 * log(1 - rand())) * cos(6.283185307 * rand()) }

# A number between two neighbours of a list, each two as likely as the others.
sub between
{
    my ($bounds) = @_;
    my $at = rand($#$bounds);
    return $bounds->[$at] + ($at - int($at)) * ($bounds->[ $at + 1 ] - $bounds->[$at]);
}

# The most popular movies are among the first third, but not its first: each is drawn by its weight.
my %draw = map { $_ => -log(1 - rand()) * $_ * exp(log($_ * 12.6 / $movies)**2 / 3) } 1 .. $movies;
my @by_popularity = map { $_ - 1 } sort { $draw{$a} <=> $draw{$b} } 1 .. $movies;

# Of a movie rated at random, the rank: the ranks that cut the ratings into parts of the same size.
my (@ratings_to, @ranks);
{
    my ($sum, $i) = (0, 0);
    foreach my $rank (0 .. $movies - 1)
    {
        my $part = $rank / $movies;
        $i++ while $part > $popularity[ $i + 1 ][0];
        my ($from, $to) = @popularity[ $i, $i + 1 ];
        $sum += $from->[1] * ($to->[1] / $from->[1])**(($part - $from->[0]) / ($to->[0] - $from->[0]));
        push @ratings_to, $sum;
    }
    my $rank = 0;
    foreach my $part (0 .. 4095)
    {
        $rank++ while $ratings_to[$rank] < $sum * $part / 4096;
        push @ranks, $rank;
    }
    push @ranks, $movies;
}

# A user rates 20 movies or more, once each and in one go.
create('ratings.csv', 'userId,movieId,rating,timestamp');
my $users = 0;
for (my $left = $ratings; $left > 0;)
{
    $users++;
    my $wanted = 19 + int(49 * exp(1.37 * normal()));
    $wanted = 20 if $wanted < 20;
    $wanted = 1 + int($movies / 3) if $wanted > $movies / 3;
    $wanted = $left if $wanted > $left;
    my %rated;
    $rated{ $by_popularity[ between(\@ranks) ] } = 1 while keys %rated < $wanted;
    my $time = int(between(\@times));
    my $share = $time < $half_stars_from ? 0 : $half_star_share;
    print $file map
    {
        my $stars = rand() < $share ? \@half_stars : \@whole_stars;
        "$users,$ids[$_],$stars->[rand @$stars]," . ($time + int(rand(50_000))) . "\r\n"
    } sort { $a <=> $b } keys %rated;
    $left -= $wanted;
}
finish();

# The files from here on leave the two above as they are.
srand($seed + 1);

# No two movies share an imdbId (the factor and the prime see to that); a tmdbId may repeat, and some are unknown.
create('links.csv', 'movieId,imdbId,tmdbId');
foreach (@ids)
{
    printf $file "%d,%07d,%s\r\n", $_, $_ * 7_919 % 1_299_709, rand() < 0.01 ? '' : 1 + int(rand(500_000));
}
finish();

# Every movie of the genome has a relevance for every one of its tags.
my $tags = int($ratings / 200) || 1;
$tags = 1_128 if $tags > 1_128;
my @genome = sort((map { my $mood = $_; map { "$mood $_" } @topics } @moods)[ 0 .. $tags - 1 ]);
create('genome-tags.csv', 'tagId,tag');
print $file map { "$_,$genome[$_ - 1]\r\n" } 1 .. $tags;
finish();

# A relevance is a multiple of 0.00025, of which most are small; the subtractions make the digits of the real file.
my @relevances = map
{
    my $step  = 1 + int(-450 * log(1 - rand()));
    my $value = 1 - (1 - ($step < 4_000 ? $step : 3_999) / 4_000);
    my ($shortest) = grep { $_ == $value } map { sprintf("%.${_}g", $value) } 15 .. 17;
    $shortest;
} 1 .. 50_000;
my $covered = int($ratings * 10_381 / 20_000_263 * 1_128 / $tags) || 1;
$covered = $movies if $covered > $movies;
create('genome-scores.csv', 'movieId,tagId,relevance');
foreach my $movie (map { $ids[ $_ * $movies / $covered ] } 0 .. $covered - 1)
{
    print $file map { "$movie,$_,$relevances[rand @relevances]\r\n" } 1 .. $tags;
}
finish();

# Few users put tags on movies, but these put many.
create('tags.csv', 'userId,movieId,tag,timestamp');
foreach my $user (1 .. $users)
{
    next unless $user == $users || rand() < 0.06;
    my $time = 1_135_429_210 + int(rand(292_000_000));
    foreach my $movie (sort { $a <=> $b } map { int($movies * rand()**3) } 0 .. -59 * log(1 - rand()))
    {
        my $kind = rand;
        my $tag  = $kind < 0.01 ? one_of(@odd_tags) : $kind < 0.3 ? join(' ', map { one_of(@words) } 1 .. 1 + rand 3)
          : $genome[ $tags * rand()**3 ];
        $time += 1 + int(rand(60));
        print $file "$user,$ids[$movie],", quoted($tag), ",$time\r\n";
    }
}
finish();
