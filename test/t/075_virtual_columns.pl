# Virtual generated columns, which PostgreSQL 18 brought: every writer stores rows as COPY does and keeps to the rules for
# them, ml_validate() too; and what the server refuses to build on them, which the writers therefore need not know.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use SameRules;
use Test::More;

my $node = start_server('main', 'autovacuum = off');
my $version = $node->safe_psql('postgres', 'SHOW server_version_num');
plan skip_all => 'virtual generated columns came with PostgreSQL 18' if $version < 180000;
$node->safe_psql('postgres', 'CREATE EXTENSION pageinspect; CREATE EXTENSION btree_gist');

sub sql { return $node->safe_psql('postgres', $_[0]) }

my @validate = (validate => 1);

# --- their rules ---

same_rules($node, 'NOT NULL', @validate,
	tables => 'CREATE TABLE t (id integer, half integer GENERATED ALWAYS AS (id / 2) VIRTUAL NOT NULL, name text NOT NULL)',
	columns => 'id,name',
	records => [ '1,a', ',b', '3,', ',', '"5","c"' ],
	refused => [ 2, 3, 4 ]);
same_rules($node, 'CHECK', @validate,
	tables => 'CREATE TABLE t (id integer, twice integer GENERATED ALWAYS AS (id * 2) VIRTUAL CHECK (twice < 10), name text, CHECK (length(name) < twice))',
	columns => 'id,name',
	records => [ '1,a', '5,a', '2,abcd', '-1,', ',abc', '4,abcdefg' ],
	refused => [ 2, 3 ]);
same_rules($node, 'NOT NULL before CHECK, of columns that are stored first', @validate,
	tables => 'CREATE TABLE t (v integer GENERATED ALWAYS AS (id + 1) VIRTUAL NOT NULL, id integer, s integer GENERATED ALWAYS AS (id + 2) STORED NOT NULL, name text NOT NULL, CHECK (false OR v <> 8), CHECK (s <> 8))',
	columns => 'id,name',
	records => [ ',a', '7,a', '6,a', '7,', '1,a' ],
	refused => [ 1, 2, 3, 4 ]);
same_rules($node, 'of the row as a whole', @validate,
	tables => 'CREATE TABLE t (id integer, next integer GENERATED ALWAYS AS (id + 1) VIRTUAL, name text, CHECK (t::text <> $$(1,2,a)$$))',
	columns => 'id,name',
	records => [ '1,a', '1,b', '2,a' ],
	refused => [1]);
same_rules($node, 'an expression that raises an error does so where a rule asks for it', @validate,
	tables => 'CREATE TABLE t (id integer, inverse integer GENERATED ALWAYS AS (10 / id) VIRTUAL CHECK (inverse IS NULL OR inverse < 10))',
	columns => 'id',
	records => [ '2', '0', '1', '3' ],
	refused => [ 2, 3 ]);
same_rules($node, '... and NOT NULL', @validate,
	tables => 'CREATE TABLE t (id integer, inverse integer GENERATED ALWAYS AS (10 / id) VIRTUAL NOT NULL)',
	columns => 'id',
	records => [ '2', '0', '1' ],
	refused => [2]);
same_rules($node, '... and nowhere else', @validate,
	tables => 'CREATE TABLE t (id integer, inverse integer GENERATED ALWAYS AS (10 / nullif(id, 0)) VIRTUAL)',
	columns => 'id',
	records => [ '2', '0', '"1"' ],
	refused => []);
same_rules($node, 'from a default', @validate,
	tables => q(CREATE TABLE t (id integer, name text DEFAULT 'x', joined text GENERATED ALWAYS AS (name || id) VIRTUAL NOT NULL CHECK (joined <> 'x3'))),
	columns => 'id',
	records => [ '1', '3', '', '4' ],
	refused => [ 2, 3 ]);
sql('CREATE DOMAIN small AS integer CHECK (VALUE < 100)');
same_rules($node, 'collations, domains below, dropped columns', @validate,
	tables => 'CREATE TABLE t (gone integer, id small, upper text COLLATE "C" GENERATED ALWAYS AS (upper(name)) VIRTUAL CHECK (upper < $$b$$), name text, missing integer); ALTER TABLE t DROP gone',
	columns => 'id,name',
	records => [ '1,a', '2,b', '100,c', '3,~' ],
	refused => [ 3, 4 ]);
same_rules($node, 'a rule that is not enforced', @validate,
	tables => 'CREATE TABLE t (id integer, twice integer GENERATED ALWAYS AS (id * 2) VIRTUAL CHECK (twice < 10) NOT ENFORCED)',
	columns => 'id',
	records => [ '1', '100' ],
	refused => []);
same_rules($node, 'beside keys that the writers look after', @validate,
	tables => 'CREATE TABLE p (id integer PRIMARY KEY); INSERT INTO p VALUES (1), (2);
		CREATE TABLE t (twice integer GENERATED ALWAYS AS (id * 2) VIRTUAL NOT NULL, id integer REFERENCES p, name text UNIQUE); CREATE INDEX ON t (id, name) WHERE id > 1',
	columns => 'id,name',
	records => [ '1,a', '2,b' ],
	refused => []);
same_rules($node, '... which refuse records',
	tables => 'CREATE TABLE p (id integer PRIMARY KEY); INSERT INTO p VALUES (1), (2);
		CREATE TABLE t (twice integer GENERATED ALWAYS AS (id * 2) VIRTUAL NOT NULL, id integer REFERENCES p, name text UNIQUE)',
	columns => 'id,name',
	records => [ '1,a', '3,c', '2,a', '2,b', ',d' ],
	refused => [ 2, 3, 5 ]);
same_rules($node, 'a trigger', writers => ['spi'],
	tables => 'CREATE TABLE t (id integer, twice integer GENERATED ALWAYS AS (id * 2) VIRTUAL NOT NULL CHECK (twice < 10));
		CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.id := NEW.id + 1; RETURN NEW; END$$;
		CREATE TRIGGER change BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION change()',
	columns => 'id',
	records => [ '1', '4', '' ],
	refused => [ 2, 3 ]);
same_rules($node, 'a partition', @validate,
	tables => 'CREATE TABLE parent (id integer, name text, twice integer GENERATED ALWAYS AS (id * 2) VIRTUAL NOT NULL CHECK (twice <> 4)) PARTITION BY RANGE (id);
		CREATE TABLE t PARTITION OF parent FOR VALUES FROM (0) TO (10)',
	columns => 'id,name',
	records => [ '1,a', '2,b', '10,c', '9,d' ],
	refused => [ 2, 3 ]);
same_rules($node, 'a partitioned table, with another expression in a partition', writers => ['spi'],
	tables => 'CREATE TABLE t (id integer, name text, more integer GENERATED ALWAYS AS (id * 2) VIRTUAL NOT NULL CONSTRAINT c CHECK (more <> 4)) PARTITION BY RANGE (id);
		CREATE TABLE t0 PARTITION OF t FOR VALUES FROM (0) TO (10);
		CREATE TABLE t1 (name text, id integer NOT NULL, more integer GENERATED ALWAYS AS (id - 11) VIRTUAL NOT NULL CONSTRAINT c CHECK (more <> 4));
		ALTER TABLE t ATTACH PARTITION t1 FOR VALUES FROM (10) TO (20)',
	columns => 'id,name',
	records => [ '1,a', '2,b', '15,d', '12,e' ],
	refused => [ 2, 3 ]);

# What a volatile default would give is not known to ml_validate(), nor what is computed from it.
sql('CREATE SEQUENCE numbers; CREATE TABLE later (id integer, number integer DEFAULT nextval($$numbers$$), sum integer GENERATED ALWAYS AS (id + number) VIRTUAL NOT NULL CHECK (sum > 5), twice integer GENERATED ALWAYS AS (id * 2) VIRTUAL NOT NULL)');
my $later = write_file('later.csv', "id\n1\n\n10\n");
is(sql("SELECT row_number, message FROM ml_validate('$later', 'later')"), '2|null value in column "twice" of relation "later" violates not-null constraint',
	'ml_validate() leaves out what is computed from a volatile default');

# Who may not read the whole table sees what COPY shows: the columns of the file.
sql(q(CREATE ROLE importer LOGIN; GRANT pg_read_server_files TO importer; GRANT USAGE ON SCHEMA public TO importer;
	CREATE TABLE shown (id integer, secret text, twice integer GENERATED ALWAYS AS (id * 2) VIRTUAL NOT NULL CHECK (twice < 10)); GRANT INSERT ON shown TO importer; GRANT SELECT (twice) ON shown TO importer));
my $shown = write_file('shown.csv', "id\n7\n");
chmod 0644, $shown;
my (undef, undef, $error) = $node->psql('postgres', "SET ROLE importer; COPY shown (id) FROM '$shown' (FORMAT csv, HEADER)");
my ($detail) = $error =~ /^DETAIL:  (.*)/m;
like($detail, qr/virtual/, 'COPY shows that a column is virtual to who may read it');
is(sql("SET ROLE importer; SELECT detail FROM ml_validate('$shown', 'shown')"), $detail, '... and so does ml_validate()');

# --- the bytes ---

my $rows = write_file('rows.csv', "id,name\n" . join('', map { $_ % 7 ? "$_,name $_\n" : $_ % 14 ? "$_,\n" : "\"$_\",\"\"\n" } 1 .. 30000));
my $items = q(SELECT md5(string_agg(concat_ws(' ', lp, t_infomask & ~x'0f00'::integer, t_infomask2, t_hoff, t_bits, t_data), ',' ORDER BY block, lp)), count(*)
	FROM generate_series(0, pg_relation_size('t') / 8192 - 1) block, heap_page_items(get_raw_page('t', block::integer)));
for my $columns ('twice integer GENERATED ALWAYS AS (id * 2) VIRTUAL, id integer, name text',
	'id integer, name text, twice integer GENERATED ALWAYS AS (id * 2) VIRTUAL NOT NULL')
{
	my %seen;
	for my $writer ('COPY', @writers)
	{
		sql("DROP TABLE IF EXISTS t; CREATE TABLE t ($columns)");
		if ($writer eq 'COPY') { sql("COPY t (id, name) FROM '$rows' (FORMAT csv, HEADER)") }
		else { is(wait_import($node, sql("SET movielens_ingest.writer = $writer; SELECT ml_import('$rows', 't', max_workers => 1, chunk_size => 100000, force => true)"))->{status}, 'Completed', "$columns: $writer") }
		$seen{$writer} = sql($items);
	}
	is($seen{$_}, $seen{COPY}, '... the same bytes as by COPY') for @writers;
}

# --- the file ---

sql('DROP TABLE t; CREATE TABLE t (id integer, twice integer GENERATED ALWAYS AS (id * 2) VIRTUAL)');
my $both = write_file('both.csv', "id,twice\n1,2\n");
my ($rc, $out, $refused) = $node->psql('postgres', "COPY t (id, twice) FROM '$both' (FORMAT csv, HEADER)");
my ($said) = $refused =~ /ERROR:  (.*)/;
fails_like($node, "SELECT ml_import('$both', 't', columns => ARRAY['id', 'twice'])", '42P10', qr/ERROR:  42P10: \Q$said\E/, 'no column of the file goes into one: in the words of COPY');
fails_like($node, "SELECT ml_import('$both', 't')", '42P10', qr/generated column/, '... also when the header names it');

# --- what the server refuses; should it no longer do so, the writers have to be looked at ---

for my $made ('CREATE INDEX ON t (twice)', 'CREATE INDEX ON t ((twice + 1))', 'CREATE INDEX ON t (id) WHERE twice > 1', 'CREATE INDEX ON t (id) INCLUDE (twice)', 'ALTER TABLE t ADD UNIQUE (twice)', 'ALTER TABLE t ADD PRIMARY KEY (twice)',
	'ALTER TABLE t ADD EXCLUDE USING gist (twice WITH =)', 'CREATE TABLE q (id integer PRIMARY KEY); ALTER TABLE t ADD FOREIGN KEY (twice) REFERENCES q',
	'CREATE TABLE q (id integer, twice integer GENERATED ALWAYS AS (id * 2) VIRTUAL) PARTITION BY LIST (twice)', 'CREATE TABLE q (id integer, twice integer GENERATED ALWAYS AS (id * 2) VIRTUAL) PARTITION BY LIST ((twice + 1))',
	'ALTER TABLE t ADD more integer GENERATED ALWAYS AS (twice + 1) VIRTUAL', 'ALTER TABLE t ADD more integer GENERATED ALWAYS AS (twice + 1) STORED',
	'CREATE FUNCTION f(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS $$SELECT 1$$; ALTER TABLE t ADD more integer GENERATED ALWAYS AS (f(id)) VIRTUAL')
{
	my ($status, undef, $why) = $node->psql('postgres', "BEGIN; $made; ROLLBACK", on_error_stop => 1, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	like($status . $why, qr/ERROR:  (?:0A000|42P17|42P10|42601): /, "the server refuses $made");
}

$node->stop;
done_testing();
