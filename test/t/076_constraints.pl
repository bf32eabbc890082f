# Constraints of every kind that some version has brought since 15: an import keeps to them as COPY does on that version, and
# does not keep to what is not enforced.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use SameRules;
use Test::More;

my $node = start_server('main', 'autovacuum = off', "movielens_ingest.retry_delay = '10ms'");
my $version = $node->safe_psql('postgres', 'SHOW server_version_num');

sub sql { return $node->safe_psql('postgres', $_[0]) }

sql('CREATE EXTENSION btree_gist');
my @validate = (validate => 1);
my @spi = (writers => ['spi']);

# --- on all versions ---

same_rules($node, 'CHECK ... NOT VALID holds for new rows', @validate,
	tables => 'CREATE TABLE t (id integer); INSERT INTO t VALUES (-1); ALTER TABLE t ADD CHECK (id > 0) NOT VALID',
	columns => 'id',
	records => [ '1', '-2', '', '3' ],
	refused => [2]);
same_rules($node, 'so does a foreign key',
	tables => 'CREATE TABLE p (id integer PRIMARY KEY); INSERT INTO p VALUES (1); CREATE TABLE t (id integer); INSERT INTO t VALUES (7); ALTER TABLE t ADD FOREIGN KEY (id) REFERENCES p NOT VALID',
	columns => 'id',
	records => [ '1', '2', '1' ],
	refused => [2]);
same_rules($node, 'a key in which null equals null',
	tables => 'CREATE TABLE t (id integer, name text, UNIQUE NULLS NOT DISTINCT (id, name))',
	columns => 'id,name',
	records => [ '1,', '1,a', '1,', ',', ',b', ',' ],
	refused => [ 3, 6 ]);
same_rules($node, 'inherited constraints, of the table only', @validate,
	tables => 'CREATE TABLE parent (id integer NOT NULL CHECK (id < 100) NO INHERIT, name text CHECK (name <> $$x$$)); CREATE TABLE t (more integer) INHERITS (parent); ALTER TABLE t ALTER more SET NOT NULL; CREATE TABLE child () INHERITS (t)',
	columns => 'id,name,more',
	records => [ '100,a,1', ',a,1', '1,x,1', '1,a,' ],
	refused => [ 2, 3, 4 ]);
same_rules($node, 'an exclusion constraint, and a unique one that is deferred', @spi,
	tables => 'CREATE TABLE t (id integer, during int4range, number integer UNIQUE DEFERRABLE INITIALLY DEFERRED, EXCLUDE USING gist (id WITH =, during WITH &&))',
	columns => 'id,during,number',
	records => [ '1,"[1,3)",1', '1,"[2,4)",2', '2,"[1,3)",1', '3,"[1,2)",3' ],
	refused => [ 2, 3 ]);
same_rules($node, 'stored generated columns', @validate,
	tables => 'CREATE TABLE t (twice integer GENERATED ALWAYS AS (id * 2) STORED NOT NULL CHECK (twice <> 4), id integer)',
	columns => 'id',
	records => [ '1', '2', '', '3', '2000000000' ],
	refused => [ 2, 3, 5 ]);

# Of more keys than a batch of the server's own has (64 from 19 on), and of types that are compared across.
my @many = map { "$_," . ($_ % 333 ? $_ % 50 + 1 : 1000 + $_) } 1 .. 3000;
my @orphans = map { $_ * 333 } 1 .. 9;
for my $case ([ integer => 'PRIMARY KEY' ], [ bigint => 'PRIMARY KEY' ], [ numeric => 'PRIMARY KEY' ], [ integer => 'PRIMARY KEY', ' DEFERRABLE INITIALLY DEFERRED' ])
{
	my ($type, $key, $deferred) = @$case;
	same_rules($node, "a foreign key to $type" . ($deferred // ''), ($type eq 'numeric' ? @spi : ()),
		tables => "CREATE TABLE p (id $type $key); INSERT INTO p SELECT generate_series(1, 50); CREATE TABLE t (id integer, parent integer REFERENCES p" . ($deferred // '') . ')',
		columns => 'id,parent', records => \@many, refused => \@orphans);
	same_rules($node, '... of a partitioned table, whose triggers the server fires', @spi,
		tables => "CREATE TABLE p (id $type $key); INSERT INTO p SELECT generate_series(1, 50); CREATE TABLE t (id integer, parent integer REFERENCES p" . ($deferred // '') . ') PARTITION BY HASH (id);
			CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1)',
		columns => 'id,parent', records => \@many, refused => \@orphans);
}
same_rules($node, 'a foreign key to a partitioned table', @spi,
	tables => 'CREATE TABLE p (id integer PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE p0 PARTITION OF p FOR VALUES FROM (0) TO (25); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (25) TO (100);
		INSERT INTO p SELECT generate_series(1, 50); CREATE TABLE t (id integer, parent integer REFERENCES p)',
	columns => 'id,parent', records => \@many, refused => \@orphans);

# --- what 17 brought ---

SKIP:
{
	skip 'identity columns and exclusion constraints of partitioned tables, and SET EXPRESSION, came with PostgreSQL 17', 5 if $version < 170000;
	my $identity = 'CREATE TABLE parent (id integer, number integer GENERATED ALWAYS AS IDENTITY, name text) PARTITION BY RANGE (id)';
	same_rules($node, 'an identity column of a partitioned table', @spi,
		tables => ($identity =~ s/parent/t/r) . '; CREATE TABLE t0 PARTITION OF t FOR VALUES FROM (0) TO (10); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (10) TO (20)',
		columns => 'id,name', records => [ '1,a', '11,b', '2,c' ], refused => []);
	same_rules($node, '... of a partition', @validate,
		tables => "$identity; CREATE TABLE t PARTITION OF parent FOR VALUES FROM (0) TO (10); CREATE TABLE other PARTITION OF parent DEFAULT; INSERT INTO parent (id) VALUES (50), (51)",
		columns => 'id,name', records => [ '1,a', '2,b', '3,c' ], refused => []);
	same_rules($node, '... which the file gives', options => 'min_chunks => 1, max_workers => 1',
		tables => "$identity; CREATE TABLE t PARTITION OF parent FOR VALUES FROM (0) TO (10)",
		columns => 'id,number,name', records => [ '1,100,a', '2,,b', '11,5,c', '3,7,d' ], refused => [ 2, 3 ]);
	same_rules($node, 'an exclusion constraint of a partitioned table', @spi,
		tables => 'CREATE TABLE t (id integer, during int4range, EXCLUDE USING gist (id WITH =, during WITH &&)) PARTITION BY LIST (id); CREATE TABLE t0 PARTITION OF t FOR VALUES IN (1); CREATE TABLE t1 PARTITION OF t DEFAULT',
		columns => 'id,during', records => [ '1,"[1,3)"', '1,"[2,4)"', '2,"[1,3)"', '1,"[3,5)"', '2,"[2,3)"' ], refused => [ 2, 5 ]);
	same_rules($node, 'another expression of a generated column', @validate,
		tables => 'CREATE TABLE t (id integer, s integer GENERATED ALWAYS AS (id) STORED CHECK (s > 5)); ALTER TABLE t ALTER s SET EXPRESSION AS (id + 4)',
		columns => 'id', records => [ '1', '2', '3' ], refused => [1]);
}

# --- what 18 brought ---

SKIP:
{
	skip 'constraints that are not enforced, and NOT NULL ... NOT VALID, came with PostgreSQL 18', 15 if $version < 180000;
	same_rules($node, 'CHECK ... NOT ENFORCED', @validate,
		tables => 'CREATE TABLE t (id integer CHECK (id > 0) NOT ENFORCED, CHECK (id <> 5))',
		columns => 'id', records => [ '1', '-1', '5' ], refused => [3]);
	same_rules($node, '... is not evaluated, and may be volatile', @validate,
		tables => 'CREATE TABLE t (id integer CHECK (id / 0 > random()) NOT ENFORCED)',
		columns => 'id', records => [ '1', '2' ], refused => []);
	same_rules($node, '... of a table that inherits it, and one that enforces it itself', @validate,
		tables => 'CREATE TABLE parent (id integer, CONSTRAINT a CHECK (id > 0) NOT ENFORCED, CONSTRAINT b CHECK (id < 10) NOT ENFORCED);
			CREATE TABLE t (CONSTRAINT b CHECK (id < 10)) INHERITS (parent)',
		columns => 'id', records => [ '1', '-1', '10' ], refused => [3]);
	same_rules($node, '... of a partitioned table', @spi,
		tables => 'CREATE TABLE t (id integer, CONSTRAINT a CHECK (id <> 1) NOT ENFORCED) PARTITION BY RANGE (id); CREATE TABLE t0 PARTITION OF t FOR VALUES FROM (0) TO (10);
			CREATE TABLE t1 (id integer, CONSTRAINT a CHECK (id <> 1)); ALTER TABLE t ATTACH PARTITION t1 FOR VALUES FROM (10) TO (20)',
		columns => 'id', records => [ '1', '11', '20' ], refused => [3]);
	same_rules($node, 'a foreign key that is not enforced',
		tables => 'CREATE TABLE p (id integer PRIMARY KEY); INSERT INTO p VALUES (1); CREATE TABLE t (id integer REFERENCES p, other integer REFERENCES p NOT ENFORCED)',
		columns => 'id,other', records => [ '1,2', '2,1', '1,1' ], refused => [2]);
	same_rules($node, '... until it is',
		tables => 'CREATE TABLE p (id integer PRIMARY KEY); INSERT INTO p VALUES (1); CREATE TABLE t (id integer, CONSTRAINT f FOREIGN KEY (id) REFERENCES p NOT ENFORCED); ALTER TABLE t ALTER CONSTRAINT f ENFORCED',
		columns => 'id', records => [ '1', '2' ], refused => [2]);
	same_rules($node, '... of a partitioned table', @spi,
		tables => 'CREATE TABLE p (id integer PRIMARY KEY); INSERT INTO p VALUES (1); CREATE TABLE t (id integer REFERENCES p, other integer REFERENCES p NOT ENFORCED) PARTITION BY LIST (id); CREATE TABLE t0 PARTITION OF t DEFAULT',
		columns => 'id,other', records => [ '1,2', '2,1', '1,1' ], refused => [2]);
	same_rules($node, '... of the table to itself: by any writer',
		tables => 'CREATE TABLE t (id integer PRIMARY KEY, parent integer REFERENCES t NOT ENFORCED)',
		columns => 'id,parent', records => [ '1,2', '2,99', '1,1' ], refused => [3]);
	same_rules($node, '... which holds no record back that another one of its keys lets in', @spi, options => 'chunk_size => 2, min_chunks => 1',
		tables => 'CREATE TABLE t (id integer PRIMARY KEY, parent integer REFERENCES t, other integer, number integer, UNIQUE (id, number), FOREIGN KEY (parent, other) REFERENCES t (id, number) MATCH FULL NOT ENFORCED)',
		columns => 'id,parent,other,number', records => [ '1,2,7,1', '2,3,,2', '3,1,9,3', '4,5,1,4', '5,99,1,5' ], refused => [ 4, 5 ]);
	same_rules($node, 'NOT NULL ... NOT VALID holds for new rows', @validate,
		tables => 'CREATE TABLE t (id integer, name text); INSERT INTO t VALUES (NULL, NULL), (1, NULL); ALTER TABLE t ADD CONSTRAINT n NOT NULL id NOT VALID; ALTER TABLE t ADD NOT NULL name NOT VALID',
		columns => 'id,name', records => [ '1,a', ',a', '2,', '3,b' ], refused => [ 2, 3 ]);
	same_rules($node, '... of plain columns that the file lacks', @validate,
		tables => 'CREATE TABLE t (id integer, name text); INSERT INTO t VALUES (NULL, NULL); ALTER TABLE t ADD NOT NULL name NOT VALID',
		columns => 'id', records => [ '1', '2' ], refused => [ 1, 2 ]);
	same_rules($node, '... of a partition, and of the table that it is a partition of', @spi,
		tables => 'CREATE TABLE t (id integer, name text, more text) PARTITION BY LIST (id); CREATE TABLE t0 PARTITION OF t DEFAULT; CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1); INSERT INTO t VALUES (1), (2);
			ALTER TABLE t ADD NOT NULL name NOT VALID; ALTER TABLE t1 ADD NOT NULL more NOT VALID',
		columns => 'id,name,more', records => [ '1,a,b', '1,,b', '1,a,', '2,a,', '2,,b' ], refused => [ 2, 3, 5 ]);
	same_rules($node, '... of a table that inherits it, or does not', @validate,
		tables => 'CREATE TABLE parent (id integer, name text, more text); CREATE TABLE t () INHERITS (parent); INSERT INTO t VALUES (1); ALTER TABLE parent ADD NOT NULL name NOT VALID; ALTER TABLE ONLY parent ADD NOT NULL more NO INHERIT NOT VALID',
		columns => 'id,name,more', records => [ '1,a,b', '1,,b', '1,a,' ], refused => [2]);
	same_rules($node, 'a foreign key of a partitioned table that is not valid', @spi,
		tables => 'CREATE TABLE p (id integer PRIMARY KEY); INSERT INTO p VALUES (1); CREATE TABLE t (id integer) PARTITION BY LIST (id); CREATE TABLE t0 PARTITION OF t DEFAULT; INSERT INTO t VALUES (9); ALTER TABLE t ADD FOREIGN KEY (id) REFERENCES p NOT VALID',
		columns => 'id', records => [ '1', '2' ], refused => [2]);

	# A key that is not enforced gives a data set no order: else, in this circle, links would come before their movies.
	sql('CREATE SCHEMA circle; SELECT count(*) FROM ml_create_tables($$circle$$); ALTER TABLE circle.links ADD PRIMARY KEY (movieid); ALTER TABLE circle.movies ADD FOREIGN KEY (movieid) REFERENCES circle.links NOT ENFORCED');
	my ($where) = write_file('movies.csv', "movieId,title,genres\n" . join('', map { "$_,A title that makes this the larger file $_,Drama\n" } 1 .. 500)) =~ m{(.*)/};
	write_file('links.csv', "movieId,imdbId,tmdbId\n" . join('', map { "$_,$_,$_\n" } 1 .. 500));
	mkdir "$where/circle";
	rename "$where/$_.csv", "$where/circle/$_.csv" for qw(movies links);
	is(sql("SET client_min_messages = warning; SET search_path = circle, public; SELECT count(*) FROM ml_import_dataset('$where/circle') \\gset
		SELECT max(dataset_id) AS id FROM uploaded_files \\gset
		SELECT string_agg(concat_ws(' ', f.file_name, f.status, f.success_count, f.error_count), ', ' ORDER BY f.file_name) FROM uploaded_files u, ml_wait(u.id) f WHERE u.dataset_id = :id"),
		'links.csv Completed 500 0, movies.csv Completed 500 0', 'a data set is not loaded in the order of a key that is not enforced');
}

# --- what 19 brought ---

SKIP:
{
	skip 'a CHECK that is not enforced any more came with PostgreSQL 19', 2 if $version < 190000;
	same_rules($node, 'CHECK that is not enforced any more', @validate,
		tables => 'CREATE TABLE t (id integer, CONSTRAINT c CHECK (id > 0)); ALTER TABLE t ALTER CONSTRAINT c NOT ENFORCED',
		columns => 'id', records => [ '1', '-1' ], refused => []);
	same_rules($node, '... and one that is again', @validate,
		tables => 'CREATE TABLE t (id integer, CONSTRAINT c CHECK (id > 0) NOT ENFORCED); ALTER TABLE t ALTER CONSTRAINT c ENFORCED',
		columns => 'id', records => [ '1', '-1' ], refused => [2]);
}

$node->stop;
done_testing();
