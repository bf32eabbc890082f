# What the tests of imports share: a server with the extension, files to import, a gate that holds imports up, and
# checks of the ledger. Whatever is waited for is polled; after 60 seconds a test gives up.
package ImportTest;

use strict;
use warnings;

BEGIN { $ENV{PG_TEST_TIMEOUT_DEFAULT} //= 60 }

use Exporter qw(import);
use JSON::PP qw(decode_json);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(@writers start_server write_file numbers records json_row start_import wait_import imported chunk_list
  close_gate open_gate add_gate add_ledger_gate wait_at_gate poll fails_like ledger_holds processes_gone in_session);

# The values of movielens_ingest.writer that force one.
our @writers = ('pages', 'multi_insert', 'spi');

my $folder; # made when the first file is written

# A server that runs, with the extension in schema public of database postgres.
sub start_server
{
	my ($name, @settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init;
	$node->append_conf('postgresql.conf', join("\n", 'max_worker_processes = 16', 'movielens_ingest.max_processes = 64', @settings));
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION movielens_ingest');
	return $node;
}

# Writes a file that the server can read, and returns its path.
sub write_file
{
	my ($name, $bytes) = @_;
	$folder //= PostgreSQL::Test::Utils::tempdir('import');
	my $path = "$folder/$name";
	open(my $file, '>:raw', $path) or die "could not create $path: $!";
	print $file $bytes;
	close($file) or die "could not write $path: $!";
	return $path;
}

# The bytes of a file for a table (id integer, name text).
sub records { return join('', map { "$_,name $_\n" } $_[0] .. $_[1]) }
sub numbers { return "id,name\n" . records(1, $_[0]) }

# The one row that a query returns, as a hash.
sub json_row
{
	my ($node, $query, $database) = @_;
	my $json = $node->safe_psql($database // 'postgres', "SELECT row_to_json(r) FROM ($query) r");
	die "no row: $query" if $json eq '';
	return decode_json($json);
}

# Calls ml_import, and returns the id. $options: further arguments, as SQL.
sub start_import
{
	my ($node, $path, $target, $options) = @_;
	$options = defined $options ? ", $options" : '';
	my $id = $node->safe_psql('postgres', "SELECT ml_import('$path', '$target'$options)");
	note "import $id of $path into $target$options";
	return $id;
}

# Waits for the end of an import, and returns its row of uploaded_files.
sub wait_import
{
	my ($node, $id) = @_;
	return json_row($node, "SELECT * FROM ml_wait($id)");
}

sub imported { return wait_import($_[0], start_import(@_)) }

# The chunks of an import, one hash each, by number.
sub chunk_list
{
	my ($node, $id) = @_;
	return @{ decode_json($node->safe_psql('postgres',
		"SELECT coalesce(json_agg(c ORDER BY chunk_number), '[]') FROM process_chunks c WHERE uploaded_file_id = $id")) };
}

# The gate: a trigger on the target waits for an advisory lock while a session of the test holds it. Rows for which
# the condition holds wait in a row trigger; without a condition each statement of a chunk does, before its first row.
sub add_gate
{
	my ($node, $table, $condition) = @_;
	my $event = defined $condition ? "ROW WHEN ($condition)" : 'STATEMENT';
	$node->safe_psql('postgres', qq(
		CREATE OR REPLACE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql
		AS \$\$BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END\$\$;
		CREATE TRIGGER gate BEFORE INSERT ON $table FOR EACH $event EXECUTE FUNCTION gate()));
	return;
}

# The same for rows of the ledger that are inserted or updated, on whose tables no trigger of others may be; but for those
# for which a condition holds.
sub add_ledger_gate
{
	my ($node, $table, $but) = @_;
	$node->safe_psql('postgres', sprintf('ALTER TABLE %s ADD CONSTRAINT gate CHECK (%s OR pg_advisory_xact_lock_shared(1) IS NOT NULL) NOT VALID', $table, $but // 'false'));
	return;
}

sub close_gate
{
	my ($node) = @_;
	my $session = $node->background_psql('postgres');
	$session->query_safe('SELECT pg_advisory_lock(1)');
	return $session;
}

sub open_gate
{
	my ($session) = @_;
	$session->query_safe('SELECT pg_advisory_unlock(1)');
	$session->quit;
	return;
}

# Until so many processes wait at the gate.
sub wait_at_gate
{
	my ($node, $count) = @_;
	poll($node, "SELECT count(*) = $count FROM pg_locks WHERE locktype = 'advisory' AND NOT granted",
		"$count processes wait at the gate");
	return;
}

sub poll
{
	my ($node, $query, $what, $database) = @_;
	$node->poll_query_until($database // 'postgres', $query) or die "timed out: $what";
	return;
}

# A command is refused with this SQLSTATE, and its message, detail and hint match.
sub fails_like
{
	my ($node, $sql, $sqlstate, $regex, $name, %options) = @_;
	my ($rc, $stdout, $stderr) = $node->psql($options{dbname} // 'postgres', $sql,
		on_error_stop => 1, extra_params => [ '-v', 'VERBOSITY=verbose' ], %options{qw(connstr)});
	ok($rc != 0 && $stderr =~ /ERROR:  $sqlstate: / && $stderr =~ $regex, $name)
	  or diag("exit code $rc: $stderr");
	return;
}

# A session that runs a query in the background, for what has to happen meanwhile: finish() returns what it said.
sub in_session
{
	my ($node, $sql, $database) = @_;
	my %session = (stdout => '', stderr => '');
	$session{handle} = IPC::Run::start(
		[ $node->installed_command('psql'), '-XAtq', '-v', 'ON_ERROR_STOP=1', '-v', 'VERBOSITY=verbose',
			'-d', $node->connstr($database // 'postgres'), '-c', $sql ],
		'<', '/dev/null', '>', \$session{stdout}, '2>', \$session{stderr}, IPC::Run::timeout(60));
	return bless \%session, 'ImportTest::Session';
}

sub ImportTest::Session::finish
{
	my ($self) = @_;
	$self->{handle}->finish;
	chomp(@$self{qw(stdout stderr)});
	return ($self->{stdout}, $self->{stderr});
}

# What the ledger says of an import agrees with itself and with the table, which holds this import only.
sub ledger_holds
{
	my ($node, $id, $table, $name) = @_;
	my $law = json_row($node, qq(
		SELECT f.success_count + f.error_count + f.skipped_count + f.unprocessed_count = f.row_count AS adds_up,
		       f.success_count = c.success AND f.error_count = c.error AND f.skipped_count = c.skipped AS as_chunks,
		       f.success_count = t.rows AS as_table,
		       f.error_count = r.rows AS as_rejects,
		       c.tiles, c.records = f.row_count AS whole_file
		  FROM uploaded_files f,
		       (SELECT coalesce(sum(success_count), 0) AS success, coalesce(sum(error_count), 0) AS error,
		               coalesce(sum(skipped_count), 0) AS skipped, coalesce(sum(end_row - start_row + 1), 0) AS records,
		               bool_and(tile) AS tiles
		          FROM (SELECT *, start_row = coalesce(lag(end_row) OVER o + 1, 1)
		                          AND start_byte = coalesce(lag(end_byte) OVER o, start_byte) AS tile
		                  FROM process_chunks WHERE uploaded_file_id = $id WINDOW o AS (ORDER BY chunk_number)) c) c,
		       (SELECT count(*) AS rows FROM $table) t,
		       (SELECT count(*) AS rows FROM rejected_rows WHERE uploaded_file_id = $id) r
		 WHERE f.id = $id));
	my @broken = grep { !$law->{$_} } sort keys %$law;
	ok(!@broken, $name) or diag("not so: @broken");
	return;
}

# Until no leader or worker of any import is left.
sub processes_gone
{
	my ($node) = @_;
	poll($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%'",
		'processes of imports end');
	return;
}

1;
