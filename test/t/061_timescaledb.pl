# Hypertables of TimescaleDB, where its library is installed, which are heaps in the catalog and keep their rows in chunks of
# their own, and a table that references one. COPY, which TimescaleDB takes over, is the oracle.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use Test::More;

chomp(my $libraries = `pg_config --pkglibdir`);
plan skip_all => 'TimescaleDB is not installed' if !-e "$libraries/timescaledb.so";

my $node = start_server('main', "shared_preload_libraries = 'timescaledb'", 'timescaledb.telemetry_level = off', 'max_worker_processes = 24');
$node->safe_psql('postgres', q(
	SET client_min_messages = warning; CREATE EXTENSION timescaledb;
	CREATE TABLE measured (at timestamptz NOT NULL, id integer, name text CHECK (name <> 'bad'));
	SELECT create_hypertable('measured', 'at'); CREATE INDEX ON measured (id);
	CREATE TABLE days (at timestamptz PRIMARY KEY);
	SELECT create_hypertable('days', 'at'); INSERT INTO days SELECT generate_series('2026-01-01 00:00+00'::timestamptz, '2026-01-28 00:00+00', '1 day');
	CREATE TABLE of_days (at timestamptz REFERENCES days, id integer, name text)));

my @good = map { sprintf('2026-01-%02d 00:00+00,%d,name %d', 1 + $_ % 28, $_, $_) } 1 .. 3000;
my $file = sub { my ($name, @records) = @_; return write_file($name, join("\n", 'at,id,name', @records, '')) };
my $clean = $file->('clean.csv', @good);
my %refused = (
	measured => [ '2026-01-01 00:00+00,7,bad', '23514' ],
	of_days => [ '2026-01-01 00:01+00,7,x', '23503' ]);
my %why = (measured => 'its INSERT is planned as custom scan "', of_days => 'a foreign key references a table whose rows are kept elsewhere');
for my $table (sort keys %refused)
{
	my ($record, $sqlstate) = @{ $refused{$table} };
	my $broken = $file->('broken.csv', @good[ 0 .. 1499 ], $record, @good[ 1500 .. 2999 ]);
	my (undef, undef, $messages) = $node->psql('postgres', "BEGIN; SET LOCAL client_min_messages = debug1; SELECT FROM ml_import('$broken', '$table'); ROLLBACK");
	like($messages, qr/table "$table" is written by spi: \Q$why{$table}\E/, "$table: not by a fast writer");
	my $id = $node->safe_psql('postgres', "SET movielens_ingest.defer_indexes = on; SELECT ml_import('$broken', '$table', chunk_size => 400)");
	my $import = wait_import($node, $id);
	is("$import->{status} $import->{success_count} $import->{error_count}", 'Completed with errors 3000 1', '... it is loaded') or diag($import->{error});
	is($node->safe_psql('postgres', "SELECT row_number, sqlstate FROM rejected_rows WHERE uploaded_file_id = $id"), "1501|$sqlstate", '... and the record at fault is refused');
	ledger_holds($node, $id, $table, '... as the ledger says');
	is($node->safe_psql('postgres', "CREATE TABLE copied AS TABLE $table WITH NO DATA; COPY copied FROM '$clean' (FORMAT csv, HEADER);
		SELECT count(*) FROM ((TABLE $table EXCEPT ALL TABLE copied) UNION ALL (TABLE copied EXCEPT ALL TABLE $table)) d; DROP TABLE copied"), 0, '... with the rows that COPY has');
}
is($node->safe_psql('postgres', "SELECT pg_relation_size('measured')"), 0, 'nothing is in the heap of the hypertable itself');

$node->stop;
done_testing();
