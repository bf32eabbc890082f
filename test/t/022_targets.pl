# COPY is the oracle for tables of every kind: column types, defaults, constraints, keys, triggers, partitions, views. A file
# of good and bad records is loaded by each writer that can, in chunks of several sizes and by several processes; then COPY of
# what was not refused leaves the same rows in a twin of the table, and refuses every other record, for the same reason.
#
# KINDS=regex selects. What an import does otherwise than COPY stands with its kind, and at the end.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use JSON::PP qw(decode_json);
use List::Util qw(shuffle);
use Test::More;

my $node = start_server('main');

# Loads a file with one record; the SQLSTATE, message and detail that COPY meets.
$node->safe_psql('postgres', q(
	CREATE EXTENSION citext;
	CREATE EXTENSION btree_gist;
	CREATE FUNCTION try_copy(target text, file text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE detail text;
	BEGIN
		EXECUTE format('COPY %s FROM %L (FORMAT csv, HEADER)', target, file);
		SET CONSTRAINTS ALL IMMEDIATE;
		RAISE EXCEPTION 'accepted' USING ERRCODE = 'ZZZZZ';
	EXCEPTION WHEN others THEN
		GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
		RETURN SQLSTATE || ' ' || SQLERRM || ' ' || detail;
	END$$;
	-- Why writer = 'multi_insert' does not take the table.
	CREATE FUNCTION try_fast(file text, target regclass) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE detail text;
	BEGIN
		PERFORM set_config('movielens_ingest.writer', 'multi_insert', true);
		PERFORM ml_import(file, target, force => true);
		RAISE EXCEPTION 'it does' USING ERRCODE = 'ZZZZZ';
	EXCEPTION
		WHEN feature_not_supported THEN
			GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
			RETURN detail;
		WHEN SQLSTATE 'ZZZZZ' THEN RETURN '';
	END$$));

# --- the kinds of tables ---
#
# make:     SQL that makes the table t (or target), in a schema that is the first of search_path
# columns:  the header of the file
# good:     its n-th good record, n = 1 ... 40
# bad:      records that are refused, each once
# spi:      why writer = 'multi_insert' cannot write it; without: it can
# settings: of the session
# rows:     a query of the rows to compare; the whole rows of t if there is none
# also:     another query, true after an import
# skipped:  how many of the good ones a trigger drops
# whole:    the file is one chunk: what a record needs stands in the same chunk, not in any other one
# no_detail: the detail of an error depends on which of two records is in, or is long
# clash:    records collide on several keys: how many are refused depends on their order, and so does which key is named

my @kinds;
sub kind { my ($name, %kind) = @_; push @kinds, { name => $name, rows => 'SELECT tableoid::regclass, t::text FROM t', %kind }; return }

sub rotated { my ($n, @list) = @_; return $list[ $n % @list ] }

# Column types.

kind('plain', make => 'CREATE TABLE t (id integer, name text, ratio double precision, flag boolean)',
	columns => 'ID,name,ratio,flag', good => sub { qq($_[0],"name, $_[0]",$_[0].25,) . rotated($_[0], 't', 'NO', '') },
	bad => [ 'x,a,1,t', '99999999999,a,1,t', '5,a,1e999,t', '5,a,1,perhaps', '5,a,"",t', '', 'a"b,a,1,t', "5,a\0b,1,t", "5,\377,1,t" ]);
kind('numbers', make => 'CREATE TABLE t (a smallint, b bigint, c numeric, d numeric(6, 2), e real, f money, g oid, h "char")',
	columns => 'a,b,c,d,e,f,g,h',
	good => sub { "$_[0]," . rotated($_[0], '9223372036854775807', '-5', '') . ",1e$_[0]," . rotated($_[0], '9999.994', 'NaN', '-0.005', '1e3')
		  . ',' . rotated($_[0], '1e-40', 'infinity', '0.1') . ",\$$_[0].50,$_[0],x" },
	bad => [ '32768,1,1,1,1,1,1,x', '1,9223372036854775808,1,1,1,1,1,x', '1,1,1..2,1,1,1,1,x', '1,1,1,10000,1,1,1,x', '1,1,1,1,1e39,1,1,x',
		'1,1,1,1,1,one,1,x', '1,1,1,1,1,1,4294967296,x', '1,1,1e1000000,1,1,1,1,x' ]);

my @times = (
	columns => 'a,b,c,d,e,f',
	make => 'CREATE TABLE t (a date, b time, c timetz, d timestamp(3), e timestamptz, f interval)',
	bad => [ '2020-02-30,1:00,1:00+1,now,now,1s', 'today,25:00,1:00+1,now,now,1s', 'today,1:00,1:00 Nowhere,today,today,1s', 'today,1:00,1:00+1,14.13.2020,today,1s',
		'today,1:00,1:00+1,today,2020-01-01 00:00 Mars/Base,1s', 'today,1:00,1:00+1,today,today,1 eon', 'today,1:00,1:00+1,today,300000-01-01,1s' ]);
my $time = sub { my ($n, $date) = @_; return "$date,$n:05,03:04:05.$n-07,$date 12:13:14.0005,$date 01:02:03," . rotated($n, '1-2', 'P1Y2M3DT4H', '-1 day 02:03', '5') };
kind('times, ISO', @times, good => sub { $time->($_[0] % 24, sprintf('2020-%02d-%02d', 1 + $_[0] % 12, 1 + $_[0] % 28)) });
kind('times, SQL and DMY', @times, settings => q(SET DateStyle = 'SQL, DMY'; SET TimeZone = 'Asia/Kolkata'; SET IntervalStyle = 'sql_standard'),
	good => sub { $time->($_[0] % 24, sprintf('%02d/%02d/2020', 1 + $_[0] % 12, 1 + $_[0] % 12)) });
kind('times, German', @times, settings => q(SET DateStyle = 'German'; SET TimeZone = 'America/New_York'; SET IntervalStyle = 'iso_8601'),
	good => sub { $time->($_[0] % 24, sprintf('%02d.%02d.%02d', 1 + $_[0] % 28, 1 + $_[0] % 12, $_[0])) });
kind('times, MDY', @times, settings => q(SET DateStyle = 'Postgres, MDY'; SET TimeZone = '<+03>-03:30'; SET IntervalStyle = 'postgres_verbose'),
	good => sub { $time->($_[0] % 24, sprintf('%02d-%02d-2020', 1 + $_[0] % 12, 1 + $_[0] % 12)) });

kind('text and bits', make => 'CREATE TABLE t (a char(5), b varchar(4), c name, d bit(3), e varbit(4), f bytea, g uuid)', columns => 'a,b,c,d,e,f,g',
	settings => "SET bytea_output = 'escape'",
	good => sub { rotated($_[0], 'ab', '"x    "', "\303\251\303\251\303\251\303\251\303\251") . ',' . rotated($_[0], 'abcd', '"a      "', '') . ',n' . 'o' x $_[0]
		  . ',101,10,' . rotated($_[0], '\\x00ff', 'a\\\\b\\001', '""') . sprintf(',A0EEBC99-9c0b4ef8bb6d6bb9bd3800%02d', $_[0]) },
	bad => [ 'abcdef,x,x,101,1,x,', 'x,abcde,x,101,1,x,', 'x,x,x,10,1,x,', 'x,x,x,101,10101,x,', 'x,x,x,102,1,x,', 'x,x,x,101,1,\\x0,', 'x,x,x,101,1,x,a0' ]);
kind('documents', make => 'CREATE TABLE t (a json, b jsonb, c xml, d tsvector, e tsquery, f jsonpath, g inet, h cidr, i macaddr)', columns => 'a,b,c,d,e,f,g,h,i',
	settings => 'SET xmloption = document',
	rows => 'SELECT a::text, b, c::text, d, e, f::text, g, h, i FROM t',
	good => sub { qq("{""n"" : $_[0]}","{""b"":1,""b"":$_[0]}",<a n='$_[0]'/>,"fat:1A cat",fat & cat:B,\$.a[*],10.1.2.$_[0]/24,10.1.2.0/24,08:00:2b:01:02:03) },
	bad => [ '{,{},,,,,,,', '{},"{""a"":1e}",,,,,,,', '{},{},<a>,,,,,,', '{},{},text,,,,,,', q({},{},,',,,,,), '{},{},,,a &,,,,', '{},{},,,,$.,,,', '{},{},,,,,1.2.3,,', '{},{},,,,,,10.1.2.3/24,', '{},{},,,,,,,08:00', '"{""a"": ""\\ud800""}","{""a"": ""\\u0000""}",,,,,,,' ]);
kind('arrays and enums', make => q(CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE t (a integer[], b text[], c mood, d mood[], e numeric(4, 1)[])), columns => 'a,b,c,d,e',
	settings => 'SET array_nulls = off',
	good => sub { rotated($_[0], '"{1,2}"', '"{{1},{2}}"', '{}', '[0:0]={7}') . ',"{null,""x,y"",' . $_[0] . '}",' . rotated($_[0], 'sad', 'ok', '') . ',"{sad,ok}",{1.25}' },
	bad => [ '1,{},ok,{},{}', '"{1,x}",{},ok,{},{}', '"{{1},{2,3}}",{},ok,{},{}', '{},{,ok,{},{}', '{},{},happy,{},{}', '{},{},ok,{meh},{}', '{},{},ok,{},{1000}', '{99999999999},{},ok,{},{}' ]);
kind('ranges', make => 'CREATE TYPE floats AS RANGE (subtype = float8); CREATE TABLE t (a int4range, b tstzrange, c int4multirange, d floats)', columns => 'a,b,c,d',
	settings => "SET TimeZone = 'Asia/Tokyo'",
	good => sub { qq{"[$_[0],5$_[0])","[2020-01-01,)","{[1,3),[2,$_[0]5)}",} . rotated($_[0], 'empty', '"(,1.5]"', '"[1,1]"') },
	bad => [ '"[2,1]",,,', '"[1,2",,,', 'x,,,', ',"[today,monday?)",,', ',,"{[1,2)",', ',,,"[a,b]"', '"[1,2147483647]",,,' ]);
kind('composites', make => 'CREATE TYPE pair AS (n integer, s varchar(3)); CREATE TABLE t (a pair, b pair[])', columns => 'a,b',
	good => sub { qq("($_[0],ab)","{""($_[0],x)"",""(,)""}") },
	bad => [ '(1,', '"(1,2,3)",{}', '"(x,a)",{}', '"(1,abcd)",{}', '(1),{}', '"(1,a)","{""(y,a)""}"' ]);
kind('domains', make => q(CREATE DOMAIN few AS integer CHECK (VALUE < 100) DEFAULT 7; CREATE DOMAIN fewer AS few NOT NULL CONSTRAINT odd CHECK (VALUE % 2 = 1);
		CREATE DOMAIN list AS integer[] CHECK (cardinality(VALUE) < 3); CREATE TYPE pair AS (n integer, f few); CREATE DOMAIN dpair AS pair CHECK ((VALUE).n > 0);
		CREATE DOMAIN code AS varchar(3) COLLATE "C" CHECK (length(VALUE) > 1);
		CREATE TABLE t (a few, b fewer, c list, d dpair, e code UNIQUE, g few)), columns => 'a,b,c,d,e',
	good => sub { qq($_[0],) . (2 * $_[0] % 50 + 1) . qq(,"{1,$_[0]}","($_[0],3)",e$_[0]) },
	bad => [ '100,1,,,xx', '1,2,,,xx', '1,,,,xx', '1,101,,,xx', '1,1,"{1,2,3}",,xx', '1,1,,"(0,1)",xx', '1,1,,"(1,100)",xx', '1,1,,,x', '1,1,,,long', '1,1,,,e5' ], no_detail => 1);
kind('a type of its own', make => q(CREATE TYPE ticket;
		CREATE FUNCTION ticket_in(cstring) RETURNS ticket IMMUTABLE STRICT LANGUAGE internal AS 'int4in';
		CREATE FUNCTION ticket_out(ticket) RETURNS cstring IMMUTABLE STRICT LANGUAGE internal AS 'int4out';
		CREATE TYPE ticket (INPUT = ticket_in, OUTPUT = ticket_out, LIKE = integer);
		CREATE TABLE t (a ticket, b citext UNIQUE)), columns => 'a,b',
	good => sub { "$_[0],Word$_[0]" }, bad => [ 'x,other', '1.5,another', '7,wORD7', '9,WORD9' ], no_detail => 1);
kind('names that search_path resolves', make => 'CREATE TABLE here (); CREATE TABLE t (a regclass, b regtype, c regproc)', columns => 'a,b,c',
	settings => 'SET search_path = :schema, pg_catalog, public', rows => 'SELECT a::text, b, c FROM t',
	good => sub { rotated($_[0], 'here,t,now', 'pg_class,"""char""",', ',integer[],textin') },
	bad => [ 'elsewhere,,', 'cop.nothing,,', ',nothing,', ',,nothing', ',,lower', 'a b,,' ]);

# Columns that the file lacks, or the table has no more.

kind('defaults', make => q(CREATE SEQUENCE s; CREATE DOMAIN more AS integer DEFAULT 5 CHECK (VALUE > 1);
		CREATE TABLE t (made text DEFAULT 'made', id integer, n bigint DEFAULT nextval('s'), at timestamptz DEFAULT now(), who name DEFAULT current_user, name text, more more, nothing text)),
	columns => 'name,id', good => sub { "name $_[0],$_[0]" }, bad => [ 'a,x', 'b,99999999999' ],
	rows => 'SELECT id, name, made, who, more, nothing FROM t', also => 'SELECT count(DISTINCT n) = count(*) AND min(at) > now() - interval $$1 h$$ FROM t');
kind('volatile default', make => 'CREATE TABLE t (id integer, zero integer DEFAULT floor(random()), at timestamptz DEFAULT clock_timestamp())', spi => 'a volatile default',
	columns => 'id', good => sub { $_[0] }, bad => [ 'x', '1e5' ], rows => 'SELECT id, zero FROM t', also => 'SELECT min(at) > now() - interval $$1 h$$ FROM t');
kind('default that violates', make => "CREATE TABLE t (id integer, n integer NOT NULL, low integer DEFAULT 1, CHECK (low < id))",
	columns => 'id,n', good => sub { $_[0] + 1 . ',0' }, bad => [ '1,1', '0,1', '5,' ]);
kind('identity, always', make => 'CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a integer)', columns => 'a', good => sub { $_[0] }, bad => [ 'x' ],
	rows => 'SELECT a FROM t', also => 'SELECT min(id) > 0 FROM t');
kind('identity, always, in the file', make => 'CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a integer)', columns => 'id,a', good => sub { "$_[0]00,1" },
	bad => [ 'x,1', '300,2', ',1' ]);
kind('identity, by default', make => 'CREATE TABLE t (id integer GENERATED BY DEFAULT AS IDENTITY, a integer)', columns => 'a', good => sub { $_[0] }, bad => [ 'x' ], rows => 'SELECT a FROM t');
kind('identity, by default, in the file', make => 'CREATE TABLE t (id integer GENERATED BY DEFAULT AS IDENTITY, a integer)', columns => 'a,id', good => sub { "1,$_[0]" }, bad => [ '1,', '1,x' ]);
kind('generated columns', make => q(CREATE TABLE t (id integer, twice integer GENERATED ALWAYS AS (id * 2) STORED, tag text, label text GENERATED ALWAYS AS (upper(tag)) STORED NOT NULL UNIQUE,
		part integer GENERATED ALWAYS AS (100 / (id - 50)) STORED CHECK (part < 0))),
	columns => 'tag,id', good => sub { "tag$_[0],$_[0]" }, bad => [ 'x,50', 'x,2147483647', ',1', 'TAG7,1', 'x,51', 'x,x' ], no_detail => 1);
kind('dropped columns', make => 'CREATE TABLE t (gone integer NOT NULL, a integer, lost text DEFAULT random(), b varchar(3), CHECK (gone > 0)); ALTER TABLE t DROP gone, DROP lost; ALTER TABLE t ADD c integer DEFAULT 9 NOT NULL',
	columns => 'b,a', good => sub { "b$_[0],$_[0]" }, bad => [ 'long,1', 'b,x' ]);
kind('two hundred columns', make => 'CREATE TABLE t (' . join(', ', map { "c$_ " . rotated($_, 'integer', 'text', 'numeric', 'date') } 1 .. 200) . ', CHECK (c198 <> -1))',
	columns => join(',', map { "c$_" } reverse 1 .. 200), good => sub { my $n = $_[0]; join(',', map { rotated($_, $n, "t$n", "$n.5", '2020-01-01') } reverse 1 .. 200) },
	bad => [ ',' x 200, ',' x 198, 'x' . ',' x 199, ',,-1' . ',' x 197 ]);
kind('names to be quoted', target => '"T ""x"', make => 'CREATE TABLE "T ""x" ("select" integer, "A b" text, "q""" integer CHECK ("q""" > 0), "Größe" integer)', columns => 'select,A b,"q""",Größe',
	rows => 'SELECT r::text FROM "T ""x" r', good => sub { "$_[0],x,1,2" }, bad => [ 'x,x,1,2', '1,x,0,2', '1,x,y,2', '1,x,1,y' ]);
kind('typed table', make => 'CREATE TYPE row_type AS (a integer, b text); CREATE TABLE t OF row_type (PRIMARY KEY (a))', columns => 'a,b', good => sub { "$_[0],x" }, bad => [ '3,again', ',null', 'x,x' ]);
kind('wide rows', make => 'CREATE TABLE t (id integer, a text, b text); ALTER TABLE t ALTER b SET STORAGE EXTERNAL; CREATE INDEX ON t (a)',
	columns => 'id,a,b', good => sub { "$_[0],," . join('', map { chr(97 + ($_ * $_[0] * 7919) % 26) } 1 .. 30) x 300 },
	bad => [ 'x,,' . 'b' x 20000, '"' . "1\n" x 5 . '",a,b', '1,' . join('', map { sprintf('%08x', rand(2**32)) } 1 .. 2000) . ',b' ], no_detail => 1);

# Constraints and unique keys.

kind('checks', make => 'CREATE FUNCTION positive(integer) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$BEGIN IF $1 = 13 THEN RAISE EXCEPTION $x$thirteen$x$ USING ERRCODE = $x$ML013$x$; END IF; RETURN $1 > 0; END$$;
		CREATE TABLE t (a integer NOT NULL CHECK (positive(a)), b integer, CONSTRAINT sum CHECK (a + b < 1000), c integer CHECK (c > 0) NO INHERIT, d integer);
		ALTER TABLE t ADD CONSTRAINT late CHECK (d > 0) NOT VALID',
	columns => 'a,b,c,d', good => sub { ($_[0] == 13 ? 1 : $_[0]) . ",$_[0]," . rotated($_[0], '1', '') . ',1' }, bad => [ '0,1,1,1', '13,1,1,1', '1,999,1,1', ',1,1,1', '1,2147483647,1,1', '1,1,0,1', '1,1,1,0' ]);
kind('a volatile check', make => 'CREATE FUNCTION now_positive(integer) RETURNS boolean VOLATILE LANGUAGE sql AS $$SELECT $1 > 0$$; CREATE TABLE t (a integer CHECK (now_positive(a)))', spi => 'a volatile check constraint',
	columns => 'a', good => sub { $_[0] }, bad => [ '0', 'x' ]);
kind('checks of whole rows', make => 'CREATE TABLE t (gone text, a integer, b text, c oid GENERATED ALWAYS AS (tableoid) STORED CHECK (c > 0), CHECK (tableoid <> 0)); ALTER TABLE t DROP gone;
		CREATE FUNCTION fine(t) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$BEGIN RETURN $1.a > 0 AND $1 IS NOT NULL; END$$; ALTER TABLE t ADD CHECK (fine(t))',
	columns => 'a,b', rows => 'SELECT a, b, c = tableoid FROM t', good => sub { "$_[0],x" }, bad => [ '0,x', '1,', ',x' ], no_detail => 1);
kind('a domain that looks elsewhere', make => 'CREATE SEQUENCE s START 100; CREATE DOMAIN d AS integer DEFAULT nextval($$s$$) CHECK (VALUE <> 5 OR nextval($$s$$) < 0); CREATE TABLE t (id integer, d d, e d)',
	columns => 'id,d', rows => 'SELECT id, d FROM t', good => sub { "$_[0],1" }, bad => [ '1,5', '1,x' ]);
kind('unique keys', make => 'CREATE TABLE t (a integer PRIMARY KEY, b text, c integer, UNIQUE (b, c)); CREATE UNIQUE INDEX lower ON t (lower(b)); CREATE UNIQUE INDEX part ON t (c) WHERE c > 90; CREATE INDEX ON t ((100 / (a - 77)))',
	columns => 'a,b,c', good => sub { "$_[0],b$_[0]," . rotated($_[0], 1, '') . ($_[0] == 40 ? 9 : '') },
	bad => [ '3,x,1', '103,b3,1', '104,B4,5', '77,z,1', ',a,1', '4,b4,' ], clash => 1);
kind('many unique keys met', make => 'CREATE TABLE t (a integer UNIQUE, b text COLLATE "C" UNIQUE)', columns => 'a,b', good => sub { "$_[0],b$_[0]" },
	bad => [ map { ("$_,c$_", "10$_,b$_") } 1 .. 30 ], clash => 1);
kind('nulls not distinct', make => 'CREATE TABLE t (a integer, b integer, UNIQUE NULLS NOT DISTINCT (a, b))', columns => 'a,b', good => sub { $_[0] == 1 ? ',' : "$_[0]," },
	bad => [ ',', '5,', '6,' ], no_detail => 1);
kind('exclusion', make => 'CREATE TABLE t (room integer, at int4range, EXCLUDE USING gist (room WITH =, at WITH &&))', spi => 'an exclusion constraint', columns => 'room,at',
	good => sub { qq{$_[0],"[1,5)"} }, bad => [ '3,"[4,6)"', '4,"[0,2)"', '5,"[5"' ], no_detail => 1);
kind('deferrable unique key', make => 'CREATE TABLE t (a integer UNIQUE DEFERRABLE INITIALLY DEFERRED)', spi => 'a deferrable key', columns => 'a', good => sub { $_[0] }, bad => [ '3', '4', 'x' ], no_detail => 1);

# Foreign keys.

my $parent = 'CREATE TABLE parent (id integer PRIMARY KEY, code varchar(5) UNIQUE, UNIQUE (id, code)); INSERT INTO parent SELECT n, $$c$$ || n FROM generate_series(1, 40) n;';
kind('foreign keys', make => "$parent CREATE TABLE t (a integer REFERENCES parent ON DELETE CASCADE ON UPDATE SET NULL, b text REFERENCES parent (code), c bigint)",
	columns => 'c,b,a', good => sub { "5,c$_[0]," . rotated($_[0], $_[0], '') }, bad => [ '5,c1,41', '5,c41,1', '5,c-1,-1', '5,c1,x' ]);
kind('foreign key, several columns', make => "$parent CREATE TABLE t (a integer, b varchar(5), c integer, d text, FOREIGN KEY (a, b) REFERENCES parent (id, code), FOREIGN KEY (c, d) REFERENCES parent (id, code) MATCH FULL)",
	columns => 'a,b,c,d', good => sub { rotated($_[0], "$_[0],c$_[0],,", ",c99,$_[0],c$_[0]", "99,,$_[0],c$_[0]") }, bad => [ '1,c2,,', ',,1,c2', ',,1,', ',,,c1', '50,c50,50,c50' ]);
kind('foreign key, deferred', make => "$parent CREATE TABLE t (a integer REFERENCES parent DEFERRABLE INITIALLY DEFERRED)", columns => 'a', good => sub { $_[0] }, bad => [ '41', '42', 'x' ]);
kind('foreign keys of other types', make => "$parent CREATE DOMAIN key AS integer; CREATE TABLE wide (id bigint PRIMARY KEY); INSERT INTO wide SELECT id FROM parent;
		CREATE TABLE t (a smallint REFERENCES wide, b key REFERENCES parent, c bigint REFERENCES parent)", columns => 'a,b,c',
	good => sub { "$_[0],$_[0],$_[0]" }, bad => [ '41,1,1', '1,41,1', '1,1,41', '1,1,5000000000' ]);
kind('foreign key, compared by a cast', make => 'CREATE TABLE parent (id numeric PRIMARY KEY); INSERT INTO parent SELECT generate_series(1, 40); CREATE TABLE t (a integer REFERENCES parent)',
	spi => 'plain equality', columns => 'a', good => sub { $_[0] }, bad => [ '41', '0' ]);
kind('foreign key, without regard to case', make => q(CREATE COLLATION ci (PROVIDER = icu, LOCALE = 'und-u-ks-level2', DETERMINISTIC = false); CREATE TABLE parent (code text COLLATE ci PRIMARY KEY); INSERT INTO parent SELECT 'c' || generate_series(1, 40);
		CREATE TABLE t (a text COLLATE ci REFERENCES parent, b text COLLATE ci UNIQUE)), columns => 'a,b', good => sub { rotated($_[0], 'c', 'C') . "$_[0],b$_[0]" }, bad => [ 'd1,x', 'c41,y', 'c1,B7' ], no_detail => 1);
kind('foreign key to a partitioned table', make => 'CREATE TABLE parent (id integer PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE low PARTITION OF parent FOR VALUES FROM (0) TO (20); CREATE TABLE high PARTITION OF parent DEFAULT;
		INSERT INTO parent SELECT generate_series(1, 40); CREATE TABLE t (a integer REFERENCES parent)', spi => 'references a partitioned table', columns => 'a', good => sub { $_[0] }, bad => [ '41', '0' ]);
kind('foreign key to an inherited table', make => "$parent CREATE TABLE child () INHERITS (parent); INSERT INTO child VALUES (50, 'c50'); CREATE TABLE t (a integer REFERENCES parent)", columns => 'a', good => sub { $_[0] }, bad => [ '50', '41' ]);
kind('foreign keys of odd types', make => q(CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE moods (m mood PRIMARY KEY); INSERT INTO moods VALUES ('sad');
		CREATE TABLE words (w citext PRIMARY KEY, c char(4) UNIQUE, n numeric UNIQUE, r int4range UNIQUE); INSERT INTO words VALUES ('Word', 'ab', 1.50, '[1,2]');
		CREATE TABLE t (gone integer, m mood REFERENCES moods, w citext REFERENCES words, c char(4) REFERENCES words (c), n numeric REFERENCES words (n), r int4range REFERENCES words (r)); ALTER TABLE t DROP gone),
	columns => 'm,w,c,n,r', good => sub { 'sad,wORD,"ab  ",1.5,"[1,2]"' }, bad => [ 'ok,word,ab,1.5,', 'sad,words,ab,1.5,', 'sad,word,a b,1.5,', 'sad,word,ab,1.51,', 'sad,word,ab,1.5,"[1,2)"' ]);
kind('foreign key of arrays', make => "CREATE TABLE parent (id integer[] PRIMARY KEY); INSERT INTO parent VALUES ('{1,2}'); CREATE TABLE t (a integer[] REFERENCES parent)", spi => 'plain equality',
	columns => 'a', good => sub { '"{1,2}"' }, bad => [ '"{2,1}"', '{1}' ]);
kind('foreign key of a composite type', make => 'CREATE TYPE pair AS (x integer, y integer); CREATE TABLE parent (k pair PRIMARY KEY); INSERT INTO parent VALUES (ROW(1, 2)); CREATE TABLE t (a pair REFERENCES parent)', spi => 'plain equality',
	columns => 'a', good => sub { '"(1,2)"' }, bad => [ '"(1,3)"', 'x' ]);
kind('foreign key, not validated', make => "$parent CREATE TABLE t (a integer); ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES parent NOT VALID", columns => 'a', good => sub { $_[0] }, bad => [ '41', '0' ]);
kind('foreign key to itself', make => 'CREATE TABLE t (id integer PRIMARY KEY, boss integer REFERENCES t)', spi => 'it references itself', whole => 1, columns => 'id,boss',
	good => sub { "$_[0]," . ($_[0] < 40 ? $_[0] + 1 : 40) }, bad => [ '50,60', '51,50', '60,61', '3,3', '52,x' ], no_detail => 1);
kind('foreign key with its triggers disabled', make => "$parent CREATE TABLE t (a integer REFERENCES parent, b integer CHECK (b > 0)); ALTER TABLE t DISABLE TRIGGER ALL", columns => 'a,b', good => sub { 100 * $_[0] . ',1' }, bad => [ '1,0' ]);
kind('replica', make => "$parent CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS \$\$BEGIN RAISE EXCEPTION 'no'; END\$\$; CREATE TABLE t (a integer REFERENCES parent, b integer UNIQUE);
		CREATE TRIGGER no BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION no()", settings => 'SET session_replication_role = replica', columns => 'a,b', good => sub { "100,$_[0]" }, bad => [ '1,3', 'x,50' ], no_detail => 1);
kind('replica, with a trigger that fires', make => 'CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF NEW.a = 0 THEN RAISE EXCEPTION $x$zero$x$; END IF; NEW.a := -NEW.a; RETURN NEW; END$$; CREATE TABLE t (a integer);
		CREATE TRIGGER odd BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION odd(); ALTER TABLE t ENABLE REPLICA TRIGGER odd', settings => 'SET session_replication_role = replica', spi => 'it has triggers', columns => 'a', good => sub { $_[0] }, bad => [ '0' ]);

# Triggers.

my $functions = q(
	CREATE TABLE seen (what text, id integer);
	CREATE FUNCTION judge() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF NEW.name = 'raise ' || TG_WHEN THEN RAISE EXCEPTION 'not %', NEW.id USING DETAIL = 'says ' || TG_NAME, ERRCODE = 'ML001'; END IF;
		IF NEW.name = 'divide' THEN NEW.id := 1 / 0; END IF;
		IF NEW.name = 'skip' THEN RETURN NULL; END IF;
		IF TG_WHEN = 'BEFORE' THEN NEW.name := NEW.name || ' changed by ' || current_setting('my.name', true); ELSE INSERT INTO seen VALUES (NEW.name, NEW.id); END IF;
		RETURN NEW;
	END$$;);
my $seen = 'UNION ALL SELECT 0::regclass, s::text FROM seen s';
my @triggered = (columns => 'id,name', good => sub { "$_[0]," . ($_[0] % 10 == 0 ? 'skip' : "n$_[0]") }, skipped => 4);
kind('row trigger before', @triggered, make => "$functions CREATE TABLE t (id integer PRIMARY KEY, name text); CREATE TRIGGER before BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION judge()", spi => 'it has triggers',
	settings => "SET my.name = 'me'", bad => [ '50,raise BEFORE', '51,divide', 'x,skip', '7,twice' ], no_detail => 1);
kind('row trigger after', @triggered, make => "$functions CREATE TABLE t (id integer CHECK (id < 60), name text); CREATE TRIGGER after AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION judge()", spi => 'it has triggers',
	skipped => 0, rows => "SELECT 0::regclass, t::text FROM t $seen", bad => [ '50,raise AFTER', '51,divide', '60,check' ]);
kind('constraint trigger, deferred', @triggered, make => "$functions CREATE TABLE t (id integer, name text); CREATE CONSTRAINT TRIGGER after AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION judge()",
	spi => 'it has triggers', skipped => 0, rows => "SELECT 0::regclass, t::text FROM t $seen", bad => [ '50,raise AFTER', '51,divide', 'x,a' ]);
kind('trigger with a condition', @triggered, make => "$functions CREATE TABLE t (id integer, name text); CREATE TRIGGER before BEFORE INSERT ON t FOR EACH ROW WHEN (NEW.id > 45) EXECUTE FUNCTION judge()", spi => 'it has triggers',
	skipped => 0, bad => [ '50,raise BEFORE', '51,divide' ]);
# Statement triggers fire once for each try of a part of a chunk that stays, so what is compared is the rows that they saw.
kind('statement triggers', make => q(CREATE TABLE seen (id integer); CREATE TABLE t (id integer, name text);
		CREATE FUNCTION every() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;
		CREATE FUNCTION rows_seen() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
			IF EXISTS (SELECT FROM added WHERE name = 'raise') THEN RAISE EXCEPTION 'not all of these'; END IF; INSERT INTO seen SELECT id FROM added; RETURN NULL; END$$;
		CREATE TRIGGER before BEFORE INSERT ON t EXECUTE FUNCTION every(); CREATE TRIGGER after AFTER INSERT ON t REFERENCING NEW TABLE AS added EXECUTE FUNCTION rows_seen()),
	spi => 'it has triggers', columns => 'id,name', good => sub { "$_[0],n" }, rows => 'SELECT t::text FROM t UNION ALL SELECT s::text FROM seen s', bad => [ '50,raise', '51,raise', '52,raise', 'x,y' ]);
kind('triggers that an INSERT does not fire', make => "$functions CREATE TABLE t (id integer, name text); CREATE TRIGGER u BEFORE UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION judge(); CREATE TRIGGER off BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION judge(); ALTER TABLE t DISABLE TRIGGER off",
	columns => 'id,name', good => sub { "$_[0],raise BEFORE" }, bad => [ 'x,y' ]);
kind('view', target => 'v', make => q(CREATE TABLE t (a integer CHECK (a < 60), b text); CREATE VIEW v (id, name, other) AS SELECT a, b, 1 FROM t; ALTER VIEW v ALTER other SET DEFAULT 5;
		CREATE FUNCTION instead() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF NEW.name = 'skip' THEN RETURN NULL; END IF; INSERT INTO t VALUES (NEW.id, NEW.name || NEW.other); RETURN NEW; END$$;
		CREATE TRIGGER instead INSTEAD OF INSERT ON v FOR EACH ROW EXECUTE FUNCTION instead()),
	spi => 'it is a view', columns => 'id,name', good => sub { "$_[0]," . ($_[0] % 10 ? 'n' : 'skip') }, skipped => 4, bad => [ 'x,a', '60,a' ]);

# Partitions, inheritance, storage.

kind('partitioned by list', make => q(CREATE TABLE t (k text, id integer) PARTITION BY LIST (k); CREATE TABLE a PARTITION OF t FOR VALUES IN ('a', NULL); CREATE TABLE b PARTITION OF t (CHECK (id < 60)) FOR VALUES IN ('b')),
	spi => 'it is partitioned', columns => 'id,k', good => sub { "$_[0]," . rotated($_[0], 'a', 'b', '') }, bad => [ '1,c', '60,b', 'x,a' ]);
kind('partitioned by range', make => q(CREATE TABLE t (id integer, at date, name text, twice integer GENERATED ALWAYS AS (id * 2) STORED, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
		CREATE TABLE old PARTITION OF t FOR VALUES FROM (MINVALUE) TO ('2020-01-01') PARTITION BY HASH (id); CREATE TABLE old0 PARTITION OF old FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE old1 PARTITION OF old FOR VALUES WITH (MODULUS 2, REMAINDER 1);
		CREATE TABLE young (gone text, name text, at date NOT NULL, twice integer GENERATED ALWAYS AS (id * 2) STORED, id integer NOT NULL); ALTER TABLE young DROP gone; ALTER TABLE t ATTACH PARTITION young FOR VALUES FROM ('2020-01-01') TO ('2030-01-01')),
	spi => 'it is partitioned', columns => 'name,id,at', good => sub { "n,$_[0]," . rotated($_[0], '1999-01-01', '2020-01-01', '2029-12-31') }, bad => [ 'n,1,2030-01-01', 'n,,2000-01-01', 'n,3,1999-01-01', 'n,4,2020-01-01', 'n,5,' ], no_detail => 1);
kind('partitioned, with a default partition', make => "$functions $parent CREATE TABLE t (id integer REFERENCES parent, name text) PARTITION BY HASH (id); CREATE TABLE p0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE p1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1) PARTITION BY LIST (name);
		CREATE TABLE p1a PARTITION OF p1 FOR VALUES IN ('n1', 'n3'); CREATE TABLE p1d PARTITION OF p1 DEFAULT; CREATE TRIGGER after AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION judge(); CREATE TRIGGER before BEFORE INSERT ON p0 FOR EACH ROW EXECUTE FUNCTION judge()",
	spi => 'it is partitioned', columns => 'id,name', good => sub { "$_[0],n$_[0]" }, bad => [ '1,divide', '2,divide', '3,divide', '41,n', 'x,n' ], rows => "SELECT tableoid::regclass, t::text FROM t $seen", no_detail => 1);
kind('a partition', target => 'low', make => 'CREATE TABLE t (id integer, k integer) PARTITION BY RANGE (k); CREATE TABLE low (k integer, gone integer, id integer UNIQUE); ALTER TABLE low DROP gone; ALTER TABLE t ATTACH PARTITION low FOR VALUES FROM (0) TO (100)',
	columns => 'id,k', good => sub { "$_[0],$_[0]" }, bad => [ '1,100', '2,-1', '50,', '3,3' ], no_detail => 1);
kind('inherited', make => 'CREATE TABLE t (id integer CHECK (id > 0), name text); CREATE TABLE child (more integer) INHERITS (t)', columns => 'id,name', good => sub { "$_[0],x" }, bad => [ '0,x' ]);
kind('inheriting', target => 'child', make => 'CREATE TABLE t (id integer CHECK (id > 0), name text NOT NULL); CREATE TABLE child (more integer DEFAULT 4) INHERITS (t)', columns => 'id,name', good => sub { "$_[0],x" }, bad => [ '0,x', '1,' ]);
kind('unlogged', make => 'CREATE UNLOGGED TABLE t (id integer PRIMARY KEY, name text)', columns => 'id,name', good => sub { "$_[0],x" }, bad => [ '3,x', 'y,x' ]);
kind('unlogged and partitioned', make => 'CREATE TABLE t (id integer) PARTITION BY RANGE (id); CREATE UNLOGGED TABLE a PARTITION OF t FOR VALUES FROM (0) TO (20); CREATE UNLOGGED TABLE b PARTITION OF t FOR VALUES FROM (20) TO (50)',
	spi => 'it is partitioned', columns => 'id', good => sub { $_[0] }, bad => [ '50', 'x' ]);

# --- one kind ---

my $pattern = $ENV{KINDS} // '.';
my $count = 40;

# The lines of a file, the header first.
sub lines
{
	my ($kind) = @_;
	my $fields = split(/,/, $kind->{columns}, -1);
	my @good = map { $kind->{good}->($_) } 1 .. $count;
	my @bad = (@{ $kind->{bad} }, $good[4] . ',', $fields > 1 ? $good[5] =~ s/,[^,]*\z//r : ());
	return ($kind->{columns}, shuffle(@good, @bad));
}

# SQL for a session that works in a schema with the tables of a kind.
sub session
{
	my ($kind, $schema) = @_;
	my $settings = join(';', "SET search_path = $schema, public", $kind->{settings} // ());
	return $settings =~ s/:schema/$schema/gr . ";\n";
}

sub fresh { my ($kind, $schema) = @_; return "SET client_min_messages = warning; DROP SCHEMA IF EXISTS $schema CASCADE; CREATE SCHEMA $schema; SET search_path = $schema, public; $kind->{make};\n" }

sub run_kind
{
	my ($kind, $number) = @_;
	srand(1);
	my ($header, @records) = lines($kind);
	my $file = write_file('kind.csv', join('', map { "$_\n" } $header, @records));
	my $target = $kind->{target} // 't';
	my $columns = $header =~ s/ID/id/r;
	$columns = '"select", "A b", "q""", "Größe"' if $kind->{target} && $target =~ /"/;
	my $bad = @records - $count;

	my ($rc, $why, $messages) = $node->psql('postgres', fresh($kind, 'imp') . session($kind, 'imp') . qq(
		SELECT try_fast('$file', '$target');
		BEGIN; SET LOCAL client_min_messages = debug1; SELECT FROM ml_import('$file', '$target', force => true); ROLLBACK;), on_error_stop => 1);
	my ($choice) = $messages =~ /DEBUG:  (table ".*" is written by .*)/ or die "$kind->{name}: $messages";
	if (defined $kind->{spi})
	{
		like($why, qr/^The table cannot be written that way: .*\Q$kind->{spi}\E/, "$kind->{name}: not for the fast writers");
		like($choice, qr/ is written by spi: .*\Q$kind->{spi}\E/, '... and DEBUG1 says why');
	}
	else
	{
		is($why, '', "$kind->{name}: for the fast writers");
		like($choice, qr/ is written by pages$/, '... and DEBUG1 says so');
	}

	# Both writers where both can; chunk sizes and processes take turns.
	my @sizes = ([ 30000, 1 ], [ 7, 3 ], [ 1, 2 ]);
	my @variants = defined $kind->{spi} ? ([ 'auto', 30000, 1 ], [ 'spi', $number % 2 ? 7 : 1, 3 ])
	  : ([ ("auto", "pages", "multi_insert")[ $number % 3 ], @{ $sizes[ $number % 3 ] } ], [ 'spi', @{ $sizes[ ($number + 1) % 3 ] } ]);
	my $copied = '';
	for my $variant (@variants)
	{
		my ($writer, $chunk_size, $workers) = @$variant;
		next if $kind->{whole} && $chunk_size < $count;
		my $name = "$kind->{name}: writer $writer, chunk_size $chunk_size, $workers processes";
		my @wrong;
		my ($result, $rejects) = map { decode_json($_) } split(/\n/, $node->safe_psql('postgres', fresh($kind, 'imp') . session($kind, 'imp') . qq(
			SET movielens_ingest.writer = $writer;
			SELECT ml_import('$file', '$target', chunk_size => $chunk_size, min_chunks => 1, max_workers => $workers, force => true) AS id \\gset
			SELECT row_to_json(w) FROM ml_wait(:id) w;
			SELECT coalesce(json_agg(json_build_array(row_number, sqlstate, message, detail) ORDER BY row_number), '[]') FROM rejected_rows WHERE uploaded_file_id = :id;)));
		my %refused = map { $_->[0] => 1 } @$rejects;
		push @wrong, "status $result->{status}: " . ($result->{error} // '') if $result->{status} ne 'Completed with errors';
		my $counts = join(' ', map { $result->{$_} // '' } 'row_count', 'success_count', 'error_count', 'skipped_count', 'unprocessed_count');
		my $skipped = $kind->{skipped} // 0;
		my $refused = $kind->{clash} ? @$rejects : $bad;
		my $right = join(' ', scalar @records, @records - $refused - $skipped, $refused, $skipped, 0);
		push @wrong, "counts: $counts, not $right" if $counts ne $right || @$rejects != $refused;

		# COPY once for each set of refused records.
		my $set = join(' ', sort keys %refused);
		if ($copied ne $set)
		{
			$copied = $set;
			my $clean = write_file('clean.csv', join('', map { "$_\n" } $header, map { $refused{ $_ + 1 } ? () : $records[$_] } 0 .. $#records));
			my ($rc, undef, $stderr) = $node->psql('postgres', fresh($kind, 'cop') . session($kind, 'cop') . "COPY $target ($columns) FROM '$clean' (FORMAT csv, HEADER)", on_error_stop => 1);
			push @wrong, "COPY refuses what was loaded: $stderr" if $rc != 0;
		}
		my @files = map { write_file("record$_->[0].csv", "$header\n$records[$_->[0] - 1]\n") } @$rejects;
		my @said = @files ? @{ decode_json($node->safe_psql('postgres', session($kind, 'cop') . 'SELECT json_build_array(' . join(', ', map { "try_copy(\$\$$target ($columns)\$\$, '$_')" } @files) . ')')) } : ();
		for my $i (0 .. $#said)
		{
			my ($row, $sqlstate, $message, $detail) = @{ $rejects->[$i] };
			my $reason = $kind->{clash} && $sqlstate eq '23505' ? '23505 duplicate key value violates unique constraint' : "$sqlstate $message";
			push @wrong, "record $row, $records[$row - 1]: $reason " . ($detail // '') . "; COPY: $said[$i]"
			  if $kind->{no_detail} || $kind->{clash} ? index($said[$i], $reason) != 0 : $said[$i] ne "$reason " . ($detail // '');
		}
		my $rows = join(' UNION ALL ', map { my ($one, $other) = @$_; "SELECT $one, q::text FROM (SELECT * FROM ${one}_rows EXCEPT ALL SELECT * FROM ${other}_rows) q" } [ 'imp', 'cop' ], [ 'cop', 'imp' ]);
		$rows =~ s/SELECT (imp|cop), /SELECT '$1', /g;
		my $difference = $node->safe_psql('postgres', join('', map { session($kind, $_) . "CREATE TEMP TABLE ${_}_rows AS SELECT q::text FROM ($kind->{rows}) q;" } 'imp', 'cop') . "$rows LIMIT 4");
		push @wrong, "rows differ: $difference" if $difference ne '';
		push @wrong, "not so: $kind->{also}" if $kind->{also} && $node->safe_psql('postgres', session($kind, 'imp') . $kind->{also}) ne 't';
		ok(!@wrong, $name) or diag(join("\n", @wrong));
	}
	return;
}

$kinds[$_]{name} =~ /$pattern/ and run_kind($kinds[$_], $_) for 0 .. $#kinds;

# --- row security: COPY refuses the table, an import refuses the records that a policy does not let in, as INSERT does ---

$node->safe_psql('postgres', q(
	CREATE ROLE loader; GRANT pg_read_server_files TO loader; GRANT USAGE ON SCHEMA public TO loader;
	CREATE TABLE guarded (id integer PRIMARY KEY, who name DEFAULT current_user, note text);
	ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
	GRANT INSERT, SELECT ON guarded TO loader;
	CREATE POLICY own ON guarded FOR INSERT TO loader WITH CHECK (who = current_user AND note <> current_setting('my.note')
		AND 1 / (id - 7) IS NOT NULL)));
my $guarded = write_file('guarded.csv', "id,who,note\n1,loader,a\n2,other,a\n3,loader,no\n4,loader,b\nx,loader,c\n4,loader,d\n7,loader,e\n8,,f\n");
my $policy = '42501 new row violates row-level security policy for table "guarded"';
fails_like($node, "SET ROLE loader; COPY guarded FROM '$guarded' (FORMAT csv, HEADER)", '0A000', qr/row-level security/, 'row security: COPY refuses the table');
fails_like($node, "SET ROLE loader; SET my.note = 'no'; SET movielens_ingest.writer = 'multi_insert'; SELECT ml_import('$guarded', 'guarded')", '0A000',
	qr/it has policies that apply/, '... and so does the writer multi_insert');
for my $chunk_size (1, 30000)
{
	my ($status, $rejects, $rows) = split(/\n/, $node->safe_psql('postgres', qq(
		TRUNCATE guarded; SET client_min_messages = warning; SET ROLE loader; SET my.note = 'no';
		SELECT ml_import('$guarded', 'guarded', chunk_size => $chunk_size, min_chunks => 1, max_workers => 1, force => true) AS id \\gset
		SELECT status, success_count, error_count FROM ml_wait(:id);
		SELECT string_agg(row_number || ' ' || sqlstate || ' ' || message, ', ' ORDER BY row_number) FROM rejected_rows WHERE uploaded_file_id = :id;
		RESET ROLE;
		SELECT string_agg(id || note, ' ' ORDER BY id) FROM guarded)));
	is($status, 'Completed with errors|2|6', "row security, chunk_size $chunk_size: counts");
	is($rejects, "2 $policy, 3 $policy, 5 22P02 invalid input syntax for type integer: \"x\", "
		  . "6 23505 duplicate key value violates unique constraint \"guarded_pkey\", 7 22012 division by zero, 8 $policy", '... each record has its reason');
	is($rows, '1a 4b', '... and the others are in');
}
is($node->safe_psql('postgres', qq(TRUNCATE guarded; SELECT ml_import('$guarded', 'guarded', force => true) AS id \\gset
	SELECT status, success_count, error_count FROM ml_wait(:id))), 'Completed with errors|6|2', '... for a role that bypasses the policies, they are not there');

$node->stop;
done_testing();
