# Keys WITHOUT OVERLAPS and foreign keys with PERIOD, which PostgreSQL 18 brought: an import keeps to them as COPY does,
# whatever its writer, and records that reference each other's periods go in together.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use SameRules;
use Test::More;

my $node = start_server('main', 'autovacuum = off', "movielens_ingest.retry_delay = '10ms'");
my $version = $node->safe_psql('postgres', 'SHOW server_version_num');
plan skip_all => 'keys WITHOUT OVERLAPS and foreign keys with PERIOD came with PostgreSQL 18' if $version < 180000;
my @available = split(/\n/, $node->safe_psql('postgres', q(SELECT name FROM pg_available_extensions WHERE name = 'btree_gist')));
plan skip_all => 'keys WITHOUT OVERLAPS of scalars need btree_gist' if !@available;
$node->safe_psql('postgres', 'CREATE EXTENSION btree_gist');

my @spi = (writers => ['spi']);

# --- the key itself ---

for my $key ('PRIMARY KEY (id, during WITHOUT OVERLAPS)', 'UNIQUE (id, during WITHOUT OVERLAPS)', 'PRIMARY KEY (id, during WITHOUT OVERLAPS) DEFERRABLE INITIALLY DEFERRED')
{
	same_rules($node, "key: $key", @spi,
		tables => "CREATE TABLE t (id integer, during int4range, $key)",
		columns => 'id,during',
		records => [ '1,"[1,5)"', '1,"[5,9)"', '2,"[1,5)"', '1,"[4,6)"', '2,"[0,2)"', '2,"[5,7)"' ],
		refused => [ 4, 5 ]);
}
same_rules($node, 'a period must not be empty', @spi,
	tables => 'CREATE TABLE t (id integer, during int4range, PRIMARY KEY (id, during WITHOUT OVERLAPS))',
	columns => 'id,during',
	records => [ '1,"[1,5)"', '1,empty', '2,"[1,1)"', '1,"[5,)"' ],
	refused => [ 2, 3 ]);
same_rules($node, 'periods of several ranges', @spi,
	tables => 'CREATE TABLE t (id integer, during datemultirange, PRIMARY KEY (id, during WITHOUT OVERLAPS))',
	columns => 'id,during',
	records => [ '1,"{[2020-01-01,2020-02-01),[2021-01-01,2021-02-01)}"', '1,"{[2020-06-01,2020-07-01)}"', '1,"{[2019-01-01,2020-01-02)}"' ],
	refused => [3]);
same_rules($node, 'a partitioned table', @spi,
	tables => 'CREATE TABLE t (id integer, during int4range, PRIMARY KEY (id, during WITHOUT OVERLAPS)) PARTITION BY HASH (id);
		CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1)',
	columns => 'id,during',
	records => [ (map { "$_,\"[1,5)\"" } 1 .. 8), '3,"[4,9)"', '3,"[5,9)"' ],
	refused => [9]);

# --- foreign keys to another table ---

my $parents = 'CREATE TABLE p (id integer, during int4range, PRIMARY KEY (id, during WITHOUT OVERLAPS));
	INSERT INTO p VALUES (1, $$[1,5)$$), (1, $$[5,9)$$), (1, $$[20,30)$$), (2, $$[1,100)$$)';
my @children = ('1,1,"[1,5)"', '2,1,"[2,8)"', '3,1,"[8,21)"', '4,1,"[1,9)"', '5,3,"[1,5)"', '6,2,"[50,101)"', '7,,"[1,2)"', '8,2,', '9,2,"[1,100)"', '10,1,empty');
same_rules($node, 'a period is covered by rows together, or the record is refused', @spi,
	tables => "$parents; CREATE TABLE t (id integer PRIMARY KEY, parent integer, during int4range, FOREIGN KEY (parent, PERIOD during) REFERENCES p (id, PERIOD during))",
	columns => 'id,parent,during',
	records => \@children,
	refused => [ 3, 5, 6, 10 ]);
same_rules($node, '... also one of a deferred key, in several chunks', @spi,
	tables => "$parents; CREATE TABLE t (id integer PRIMARY KEY, parent integer, during int4range, FOREIGN KEY (parent, PERIOD during) REFERENCES p (id, PERIOD during) DEFERRABLE INITIALLY DEFERRED)",
	columns => 'id,parent,during',
	records => \@children,
	refused => [ 3, 5, 6, 10 ],
	options => 'chunk_size => 2, min_chunks => 1');
same_rules($node, '... of a partitioned table', @spi,
	tables => "$parents; CREATE TABLE t (id integer, parent integer, during int4range, FOREIGN KEY (parent, PERIOD during) REFERENCES p (id, PERIOD during)) PARTITION BY LIST (id);
		CREATE TABLE t0 PARTITION OF t DEFAULT",
	columns => 'id,parent,during',
	records => [ map { s/^/1/r } @children[ 0, 1, 3, 8 ] ],
	refused => []);
same_rules($node, '... beside a plain foreign key', @spi,
	tables => "$parents; CREATE TABLE q (id integer PRIMARY KEY); INSERT INTO q VALUES (1), (2);
		CREATE TABLE t (id integer REFERENCES q, parent integer, during int4range, FOREIGN KEY (parent, PERIOD during) REFERENCES p (id, PERIOD during))",
	columns => 'id,parent,during',
	records => [ '1,1,"[1,5)"', '3,1,"[1,5)"', '2,1,"[1,6)"', '2,1,"[1,10)"', '3,,"[1,10)"' ],
	refused => [ 2, 4, 5 ]);
same_rules($node, 'a period of several ranges, of several columns', @spi,
	tables => 'CREATE TABLE p (a integer, b text, during int4multirange, PRIMARY KEY (a, b, during WITHOUT OVERLAPS)); INSERT INTO p VALUES (1, $$x$$, $${[1,5)}$$), (1, $$x$$, $${[5,9),[20,30)}$$);
		CREATE TABLE t (a integer, b text, during int4multirange, FOREIGN KEY (a, b, PERIOD during) REFERENCES p (a, b, PERIOD during))',
	columns => 'a,b,during',
	records => [ '1,x,"{[1,9),[25,26)}"', '1,y,"{[1,5)}"', '1,x,"{[1,9),[10,11)}"' ],
	refused => [ 2, 3 ]);

# --- a table that references itself ---

my $itself = 'CREATE TABLE t (id integer, during int4range, parent integer, PRIMARY KEY (id, during WITHOUT OVERLAPS),
	FOREIGN KEY (parent, PERIOD during) REFERENCES t (id, PERIOD during))';
for my $chunks ('chunk_size => 100', 'chunk_size => 1, min_chunks => 1')
{
	same_rules($node, "children first, whose period two parents cover; $chunks", @spi, options => $chunks,
		tables => $itself,
		columns => 'id,during,parent',
		records => [ '1,"[2,8)",2', '2,"[1,5)",3', '2,"[5,9)",3', '3,"[1,9)",', '4,"[2,9)",2', '5,"[2,10)",2', '6,"[1,2)",5' ],
		refused => [ 6, 7 ]);
	same_rules($node, "circles beside records that nothing covers; $chunks", @spi, options => $chunks,
		tables => $itself,
		columns => 'id,during,parent',
		records => [ '1,"[1,9)",2', '2,"[1,5)",1', '2,"[5,9)",1', '3,"[0,3)",1', '4,"[1,9)",5', '5,"[2,9)",4', '6,"[3,4)",5', '7,"[3,4)",7', '8,"[1,3)",6' ],
		refused => [ 4, 5, 6, 7, 9 ]);
	same_rules($node, "circles that rows which are there cover in part; $chunks", @spi, options => $chunks,
		tables => "$itself; INSERT INTO t VALUES (1, '[1,5)', NULL), (9, '[1,100)', NULL)",
		columns => 'id,during,parent',
		records => [ '1,"[5,9)",2', '2,"[1,9)",1', '3,"[1,10)",1', '4,"[1,2)",3' ],
		refused => [ 3, 4 ]);
}
same_rules($node, 'two keys to the table itself, one of them temporal', @spi,
	tables => 'CREATE TABLE t (id integer, during int4range, parent integer, number integer UNIQUE, previous integer REFERENCES t (number), PRIMARY KEY (id, during WITHOUT OVERLAPS),
		FOREIGN KEY (parent, PERIOD during) REFERENCES t (id, PERIOD during)); INSERT INTO t VALUES (9, $$[1,100)$$, NULL, 9, NULL)',
	columns => 'id,during,parent,number,previous',
	records => [ '1,"[1,9)",2,1,2', '2,"[1,9)",1,2,1', '3,"[1,9)",9,3,4', '4,"[1,9)",9,4,3', '5,"[1,9)",6,5,6', '6,"[1,8)",5,6,5', '7,"[1,9)",9,7,5' ],
	refused => [ 5, 6, 7 ]);

$node->stop;
done_testing();
