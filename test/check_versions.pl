#!/usr/bin/env perl
# Every place that names a version names the same: the extension's is that of the control file, and PostgreSQL's are those that
# compat.hpp compiles on.
use strict;
use warnings;

use Cwd qw(realpath);
use File::Basename qw(dirname);
use JSON::PP qw(decode_json);

chdir dirname(realpath(__FILE__)) . '/..' or die "could not enter the clone: $!";

my $failed = 0;

sub contents
{
	my ($path) = @_;
	open(my $file, '<', $path) or die "could not read $path: $!\n";
	local $/ = undef;
	return scalar <$file>;
}

# What a pattern's group matches in a file.
sub found
{
	my ($path, $pattern) = @_;
	return contents($path) =~ $pattern ? $1 : 'nothing';
}

sub same
{
	my ($place, $value, $expected) = @_;
	return if $value eq $expected;
	print "$place has $value, and should have $expected\n";
	$failed = 1;
	return;
}

# --- of the extension ---

my $version = found('movielens_ingest.control', qr/^default_version = '([^']*)'/m);
# PGXN wants three numbers.
my $semantic = $version =~ /^\d+\.\d+$/ ? "$version.0" : $version;
my $script = "sql/movielens_ingest--$version.sql";
my $meta = decode_json(contents('META.json'));
my $provided = $meta->{provides}{movielens_ingest};

same('META.json, version', $meta->{version}, $semantic);
same('META.json, version of what it provides', $provided->{version}, $semantic);
same('META.json, file', $provided->{file}, $script);
same("the script $script", -e $script ? 'a file' : 'none', 'a file');
same('Makefile, the script that a library knows', found('Makefile', qr/^install_script := .*?(\d[\d.]*)\.sql$/m), $version);
same('debian/changelog', found('debian/changelog', qr/^movielens-ingest \((.*)-[^-]+\)/), $version);
same('packaging/movielens_ingest.spec', found('packaging/movielens_ingest.spec', qr/^Version:\s+(\S+)$/m), $version);
same('packaging/movielens_ingest.spec, archive', found('packaging/movielens_ingest.spec', qr/^%global archive_version (\S+)$/m), $semantic);
same('CHANGELOG.md', found('CHANGELOG.md', qr/^## (\S+)/m), $version);
same('META.json, license', $meta->{license}, 'postgresql');

# --- of PostgreSQL ---

my $bounds = contents('src/pg/compat.hpp');
my ($first, $end) = $bounds =~ /^#if PG_VERSION_NUM < (\d+)0000 \|\| PG_VERSION_NUM >= (\d+)0000$/m
  or die "src/pg/compat.hpp does not say which versions it compiles on\n";
my $last = $end - 1;
my $each = join(' ', $first .. $last);

same('src/pg/compat.hpp, the message', found('src/pg/compat.hpp', qr/supports PostgreSQL (\d+ to \d+);/), "$first to $last");
same('debian/pgversions', join(' ', split(' ', contents('debian/pgversions'))), $each);
same('test/versions/releases', join(' ', contents('test/versions/releases') =~ /^(\d+) /mg), $each);
same('META.json, PostgreSQL', $meta->{prereqs}{runtime}{requires}{PostgreSQL}, ">= $first.0.0, < $end.0.0");
same('packaging/movielens_ingest.spec, PostgreSQL', found('packaging/movielens_ingest.spec', qr/^# PostgreSQL (\d+ to \d+)/m), "$first to $last");
same('README.md, the first line', found('README.md', qr/^A PostgreSQL extension \((\d+ to \d+)\)/m), "$first to $last");
same('README.md, limits', found('README.md', qr/^- PostgreSQL (\d+ to \d+) only/m), "$first to $last");

# The generated control file of Debian is for the version of the release that is worked on.
my $release = found('test/versions/releases', qr/^(\d+) host$/m);
same('debian/control', contents('debian/control'), contents('debian/control.in') =~ s/PGVERSION/$release/gr);

exit $failed;
