# The owner of a database who is no superuser dumps what it may see of the ledger; restored, roles are names.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_server('main');
my $mine = write_file('mine.csv', numbers(20) . "x,bad\n");
my $theirs = write_file('theirs.csv', numbers(10) . "y,bad\n");

sub sql { my ($sql, $database, @role) = @_; return $node->safe_psql($database, $sql, extra_params => [ map { ('-U', $_) } @role ]) }

sql(q(CREATE ROLE keeper LOGIN; CREATE ROLE other LOGIN; GRANT pg_read_server_files TO keeper, other; CREATE DATABASE shop OWNER keeper), 'postgres');
sql('CREATE SCHEMA ingest; CREATE EXTENSION movielens_ingest SCHEMA ingest; GRANT USAGE ON SCHEMA ingest TO PUBLIC; GRANT ALL ON SCHEMA public TO other;
	ALTER DATABASE shop SET search_path = public, ingest', 'shop');
sql('CREATE TABLE logged (id integer, name text); CREATE UNLOGGED TABLE fleeting (id integer, name text)', 'shop', 'keeper');
sql('CREATE TABLE others (id integer, name text); GRANT SELECT ON others TO keeper', 'shop', 'other');

sub import_as
{
	my ($role, $file, $table) = @_;
	my $id = sql("SET app.secret = 's3cr3t'; SELECT ml_import('$file', '$table')", 'shop', $role);
	is(json_row($node, "SELECT status FROM ml_wait($id)", 'shop')->{status}, 'Completed with errors', "an import of $role into $table");
	return $id;
}

my @ids = map { import_as(@$_) } [ 'keeper', $mine, 'logged' ], [ 'other', $theirs, 'others' ], [ 'keeper', $mine, 'fleeting' ];

my $dump = write_file('dump.sql', '');
my @dump = ('pg_dump', '-U', 'keeper', '-f', $dump, '-d', $node->connstr('shop'));
command_fails_like(\@dump, qr/would be affected by row-level security policy for table "uploaded_files"/, 'without --enable-row-security pg_dump says that it would miss rows');
command_ok([ @dump, '--enable-row-security' ], '... with it, it dumps');
my $text = slurp_file($dump);
like($text, qr/\tmine\.csv\t/, 'what the role sees is there');
unlike($text, qr/theirs\.csv|s3cr3t/, '... and what it does not see is not, nor any setting of a session');

sql('CREATE DATABASE restored; ALTER DATABASE restored SET search_path = public, ingest', 'postgres');
command_ok([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ], 'a superuser restores it');
my $seen = "SELECT string_agg(id || ' ' || target, ', ' ORDER BY id), (SELECT count(*) > 0 FROM process_chunks), (SELECT count(*) FROM rejected_rows) FROM uploaded_files";
is(sql($seen, 'restored'), "$ids[0] public.logged, $ids[2] public.fleeting|t|2", 'its imports are there, with chunks and refused records');
is(sql($seen, 'restored', 'keeper'), sql($seen, 'restored'), '... and it sees them');
is(sql($seen, 'restored', 'other'), '|f|0', '... and others do not');
for my $table ('logged', 'fleeting')
{
	fails_like($node, "SELECT ml_import('$mine', '$table')", '42710', qr/was already imported into public\.$table/, "$table: the file counts as loaded", dbname => 'restored');
}
fails_like($node, "SELECT ml_resume($ids[0])", '55000', qr/was not made in this database.*into a table without its rows/s, 'none of them is resumed', dbname => 'restored');
sql("UPDATE ingest.uploaded_files SET status = 'Processing' WHERE id = $ids[0]", 'restored');
fails_like($node, "SELECT ml_wait($ids[0])", '55000', qr/was interrupted.*not made in this database.*into a table without its rows/s, '... and who waits for one is not sent to ml_resume', dbname => 'restored');
is(sql("SELECT ml_import('$theirs', 'logged') > $ids[2]", 'restored', 'keeper'), 't', 'new imports have new ids');
processes_gone($node);

# Names count there, for the dump may be of a server where the OIDs were other roles'.
sql('ALTER ROLE keeper RENAME TO porter; CREATE ROLE keeper LOGIN; GRANT CONNECT ON DATABASE shop TO keeper', 'postgres');
is(sql("SELECT count(*) FROM uploaded_files WHERE id <= $ids[2]", 'restored', 'porter'), 0, 'restored: a renamed role does not see its imports');
is(sql("SELECT count(*) FROM uploaded_files WHERE id <= $ids[2]", 'restored', 'keeper'), 2, '... the role of the name does');
is(sql('SELECT count(*) FROM uploaded_files', 'restored', 'porter'), 1, '... but what was made here is its own');
is(sql('SELECT count(*) FROM uploaded_files', 'shop', 'porter') . ' ' . sql('SELECT count(*) FROM uploaded_files', 'shop', 'keeper'), '2 0', 'where they were made it is the other way round');

# A physical copy keeps the OIDs, but what was loaded afterwards is not in it.
sql('CREATE DATABASE copied TEMPLATE shop; ALTER DATABASE copied SET search_path = public, ingest', 'postgres');
is(sql('SELECT count(*) FROM uploaded_files', 'copied', 'porter') . ' ' . sql('SELECT count(*) FROM uploaded_files', 'copied', 'keeper'), '2 0', 'in a copy of the database too');
fails_like($node, "SELECT ml_resume($ids[0])", '55000', qr/was not made in this database/, '... where none is resumed', dbname => 'copied');

$node->stop;
done_testing();
