# What is not a regular file that the server can read is refused at the call, with SQLSTATE, name and hint, and no
# row is left in the ledger; a file that goes away between the call and the commit fails its import.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use POSIX qw(mkfifo);
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'root can read every file' if $> == 0;

my $node = start_server('main');
my $path = write_file('numbers.csv', numbers(10));
my ($folder) = $path =~ m{^(.*)/};
my $hint = qr/HINT:  The file is read by the PostgreSQL server, not by the client/;
$node->safe_psql('postgres', 'CREATE TABLE t (id integer, name text)');

sub refused
{
	my ($name, $file, $sqlstate, $message, $more) = @_;
	$message =~ s/%/$file/;
	fails_like($node, "SET statement_timeout = '60s'; SELECT ml_import('$file', 't')", $sqlstate,
		qr/ERROR:  $sqlstate: \Q$message\E\n.*$more/s, "$name: $message");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM uploaded_files'), '0', '... and no row is left');
	return;
}

refused('missing file', "$folder/missing.csv", '58P01', 'could not stat file "%": No such file or directory', $hint);
refused('a part of the path is a file', "$path/more.csv", '42809', 'could not stat file "%": Not a directory', $hint);
refused('relative path', 'numbers.csv', '42602', 'relative path not allowed for import: "%"', $hint);
refused('relative path with dots', '../numbers.csv', '42602', 'relative path not allowed for import: "%"', $hint);
refused('empty path', '', '42602', 'relative path not allowed for import: "%"', $hint);
refused('name that is too long', "$folder/" . ('x' x 300) . '.csv', '\w{5}', 'could not stat file "%": File name too long', $hint);
refused('folder', $folder, '42809', '"%" is a directory', qr/HINT:  Name a CSV file in it/);
refused('root', '/', '42809', '"%" is a directory', qr/HINT:/);

my $kinds = qr/DETAIL:  .*a FIFO, a socket or a device cannot be imported/;
refused('device', '/dev/null', '42809', '"%" is not a regular file', $kinds);
mkfifo("$folder/fifo.csv", 0600) or die;
refused('FIFO', "$folder/fifo.csv", '42809', '"%" is not a regular file', $kinds);
symlink("$folder/fifo.csv", "$folder/link.csv") or die;
refused('symbolic link to a FIFO', "$folder/link.csv", '42809', '"%" is not a regular file', $kinds);
refused('socket', $node->host . '/.s.PGSQL.' . $node->port, '42809', '"%" is not a regular file', $kinds);
symlink("$folder/loop.csv", "$folder/loop.csv") or die;
refused('symbolic link to itself', "$folder/loop.csv", '\w{5}', 'could not stat file "%": Too many levels of symbolic links', $hint);

my $unreadable = write_file('unreadable.csv', numbers(10));
chmod(0, $unreadable) or die;
refused('mode 000', $unreadable, '42501', 'could not open file "%" for reading: Permission denied', $hint);
mkdir("$folder/closed") or die;
write_file('closed/numbers.csv', numbers(10));
chmod(0, "$folder/closed") or die;
refused('folder that the server cannot enter', "$folder/closed/numbers.csv", '42501', 'could not stat file "%": Permission denied', $hint);
chmod(0700, "$folder/closed") or die;
refused('empty file', write_file('empty.csv', ''), '22P04', 'file "%" is empty', qr/HINT:  The first line of a file names its columns/);

# A role that may not read files of the server learns nothing about them.
$node->safe_psql('postgres', 'CREATE ROLE nosy; GRANT INSERT ON t TO nosy;
	GRANT EXECUTE ON FUNCTION ml_import TO nosy');
for my $file ($path, "$folder/missing.csv", $unreadable, $folder)
{
	fails_like($node, "SET ROLE nosy; SELECT ml_import('$file', 't')", '42501', qr/permission denied to read file "\Q$file\E"/,
		'without pg_read_server_files: the same error, whatever is there');
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM uploaded_files'), '0', '... and no row is left');

# Names that are unusual, but files.
for my $name ("it''s \"quoted\".csv", 'space and \backslash.csv', "na\303\257ve.csv", ('x' x 251) . '.csv')
{
	(my $plain = $name) =~ s/''/'/g;
	write_file($plain, numbers(3));
	my $row = imported($node, "$folder/$name", 't', 'force => true');
	is("$row->{status} $row->{file_path}", 'Completed ' . do { my $p = "$folder/$plain"; utf8::decode($p); $p }, "a file by the name of $plain");
}
symlink($path, "$folder/good.csv") or die;
is(imported($node, "$folder/good.csv", 't')->{status}, 'Completed', 'a symbolic link to a file');
fails_like($node, "SELECT ml_import('$path', 't')", '42710', qr/was already imported/, 'the same file by another name');
is(imported($node, "$folder/.///numbers.csv", 't', 'force => true')->{file_path}, $path, 'superfluous parts of a path are taken out');
# Taking out ".." would lead elsewhere.
mkdir("$folder/x") or die;
mkdir("$folder/x/y") or die;
write_file('x/up.csv', numbers(7));
symlink("$folder/x/y", "$folder/away") or die;
is(imported($node, "$folder/away/../up.csv", 't')->{success_count}, 7, 'a path that leads through a symbolic link and up again');

# Gone, or something else, by the time that the call commits.
for my $case ([ 'removed', sub { }, '58P01', qr/could not open file .*: No such file/ ],
	[ 'replaced by a FIFO', sub { mkfifo($_[0], 0600) or die }, '42809', qr/is not a regular file/ ],
	[ 'replaced by a folder', sub { mkdir($_[0]) or die }, '42809', qr/is a directory/ ])
{
	my ($name, $replace, $sqlstate, $error) = @$case;
	my $file = write_file('fleeting.csv', numbers(10));
	my $session = $node->background_psql('postgres');
	my $id = $session->query_safe("BEGIN; SELECT ml_import('$file', 't', force => true)");
	unlink $file or die;
	$replace->($file);
	$session->query_safe('COMMIT');
	$session->quit;
	my $row = wait_import($node, $id);
	is("$row->{status} $row->{sqlstate}", "Failed $sqlstate", "file $name before COMMIT: the import fails");
	like($row->{error}, $error, '... and says why');
	unlink $file;
	rmdir $file;
}

$node->stop;
done_testing();
