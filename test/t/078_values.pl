# What stands for a value of a type, against the server's own input function: random texts of each type, and of domains, arrays,
# ranges and rows made of them. Each text that the function takes is loaded, as the value that COPY makes of it; each that it refuses is refused for the same reason, in the same words, whether it raises an error or says so
# without one, and by each writer. Integers are read as this version of PostgreSQL reads them.
#
# SEED=n chooses other texts, TEXTS=n how many of each type.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use Test::More;

my $seed = $ENV{SEED} // 1;
my $count = $ENV{TEXTS} // 600;
srand($seed);
note "seed $seed";
my $node = start_server('main', 'fsync = off', 'autovacuum = off', 'log_min_error_statement = panic', 'log_min_messages = fatal');

$node->safe_psql('postgres', q(
	CREATE TYPE color AS ENUM ('red', 'green', 'light blue');
	CREATE DOMAIN small AS integer CHECK (VALUE < 100);
	CREATE DOMAIN smaller AS small CHECK (VALUE <> 7) NOT NULL;
	CREATE DOMAIN amount AS numeric(6, 2) CHECK (VALUE > 0);
	CREATE FUNCTION judge(value integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
	BEGIN
		IF value % 3 = 0 THEN RAISE EXCEPTION 'a multiple of three' USING DETAIL = format('It is %s.', value), ERRCODE = '22000'; END IF;
		RETURN 1000 / (value - 5) <> 500;
	END$$;
	CREATE DOMAIN judged AS integer CHECK (judge(VALUE));
	CREATE TYPE pair AS (a integer, b small);
	-- What the input function of the column v of table t says of a text, called as COPY calls it: taken, or the error.
	CREATE FUNCTION said(value text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE call text; message text; detail text;
	BEGIN
		SELECT format('SELECT %s(%s) IS NULL', p.oid::regproc, concat_ws(', ', '$1::cstring', CASE WHEN pronargs > 1 THEN format('%L::oid', CASE WHEN typelem = 0 THEN t.oid ELSE typelem END) END, CASE WHEN pronargs > 2 THEN a.atttypmod END))
		  INTO call FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_proc p ON p.oid = typinput WHERE attrelid = 't'::regclass AND attname = 'v';
		EXECUTE call USING value;
		RETURN 'taken';
	EXCEPTION WHEN others THEN
		GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
		RETURN SQLSTATE || ' ' || message || ' / ' || detail;
	END$$;
	CREATE TABLE texts (id integer, value text)));

# --- texts ---

sub one_of { return $_[ rand @_ ] }
sub chance { return rand() < $_[0] }
sub some_of { my ($alphabet, $most) = @_; return join('', map { substr($alphabet, rand length $alphabet, 1) } 1 .. 1 + rand $most) }
sub blanks { my ($text) = @_; return chance(0.15) ? one_of(' ', "\t", "  ", "\n", "\302\240", "\013") . $text : chance(0.1) ? $text . one_of(' ', "\t ", "\302\240", "\r") : $text }

my @limits = map { ($_, $_ + 1, $_ - 1) } 32767, 32768, 2147483647, 2147483648;
push @limits, qw(9223372036854775807 9223372036854775808 9223372036854775809 92233720368547758070 0x7fff 0x8000 0x7fffffff 0x80000000 0x7fffffffffffffff 0x8000000000000000
  0o77777 0o100000 0o17777777777 0o20000000000 0o777777777777777777777 0o1000000000000000000000);
push @limits, map { ('0b' . '1' x $_, '0b1' . '0' x $_) } 15, 31, 63;

sub integer
{
	my $sign = one_of('', '', '', '-', '+', '- ', '--');
	my $body = one_of(sub { int(rand 200) }, sub { some_of('0123456789', 22) }, sub { some_of('0123456789_', 10) }, sub { '0' . one_of('x', 'X') . some_of('0123456789abcdefABCDEF', 18) },
		sub { '0' . one_of('x', 'o', 'b', 'O', 'B', 'd', '_') . some_of('01_', 20) }, sub { '0' . one_of('o', 'O') . some_of('01234567', 23) }, sub { one_of(@limits) },
		sub { one_of(@limits) . one_of('x', '_', '_0', '0', ' ', 'g', '.0') }, sub { some_of('0123456789abcdefxob_+-. e', 8) },
		sub { one_of('1_000', '1__0', '_1', '1_', '0x_1', '0x1_', '0x', '0o8', '0b2', '0b', '1_000_000', '0x1F', '0o17', '0b101', '0_0', '00x1', '') })->();
	return blanks($sign . $body);
}

sub numeric
{
	return integer() if chance(0.4);
	return blanks(one_of('NaN', 'nan', 'Infinity', '-infinity', '+inf', 'inf', 'infinit', '-NaN', 'NaNx', 'inf inity')) if chance(0.15);
	my $digits = sub { one_of(some_of('0123456789', 6), some_of('0123456789_', 6), '') };
	return blanks(one_of('', '-', '+') . $digits->() . one_of('', '.', '.' . $digits->(), '._1', '_.1') . (chance(0.4) ? one_of('e', 'E', '_e') . one_of('', '-', '+', '1_') . int(rand one_of(10, 400)) : '') . one_of('', '', '', 'x', '_'));
}

sub boolean { return blanks(one_of(qw(t tr true TRUE f fal False y ye yes yess n no non on of off o 1 0 10 2 -), '', 'tru e')) }

sub date
{
	return blanks(one_of('infinity', '-infinity', 'epoch', 'inf', 'J2451545', 'J24_5', '', 'BC', '2020-1-1 BC')) if chance(0.1);
	my $day = join(one_of('-', '-', '-', '/', ' ', '.'), one_of(int(rand 3000), sprintf('%04d', rand 3000), int(rand 40)), one_of(int(rand 14), sprintf('%02d', rand 14), 'Feb', 'march', 'Foo'), one_of(int(rand 33), sprintf('%02d', rand 33)));
	my $time = chance(0.4) ? one_of(' ', 'T', '  ') . join(':', map { sprintf('%02d', rand 62) } 0 .. rand 3) . one_of('', '.5', '.123456789', '.5_0') . one_of('', 'Z', '+02', '-03:30', ' Europe/Berlin', ' XYZ', ' pm') : '';
	return blanks($day . $time . one_of('', '', '', '', 'x', '_'));
}

sub interval { return blanks(join(' ', map { one_of(int(rand 100), '1.5', '-3', '1_0', '0x1') . one_of('', ' ') . one_of(qw(days hours mons year min sec fortnight), '') } 0 .. rand 3) . one_of('', '', ' 04:05:06', ' ago', ' P1Y')) }
sub text { return join('', map { one_of('a', 'b', ' ', "\303\251", ',', '"', "'", '\\') } 0 .. rand 12) }
sub list { my ($of) = @_; return sub { one_of('{', '{', '{', '', '{{') . join(',', map { one_of($of->(), 'NULL', '') =~ s/[\s,{}]//gr } 0 .. rand 4) . one_of('}', '}', '}', '}}', '') } }
sub range { return one_of('[', '(', '') . one_of(integer(), int(rand 10), '') . ',' . one_of(integer(), int(rand 20), '') . one_of(')', ']', '') }
sub json { return one_of('{"a": 1}', '{"a": 1', '[1, 2,]', 'nul', 'null', '"\\u00e4"', '"\\u00"', '1e5', '0x10', '01', "{\"a\": \"b\tc\"}", '{"a":{"b":[1,2,{}]}}', 'true false', '') . one_of('', '', ' ', 'x') }

my @types = (
	[ 'smallint', \&integer ], [ 'integer', \&integer ], [ 'bigint', \&integer ], [ 'real', \&numeric ], [ 'double precision', \&numeric ], [ 'numeric', \&numeric ], [ 'numeric(8, 2)', \&numeric ],
	[ 'numeric(3, -2)', \&numeric ], [ 'boolean', \&boolean ], [ 'date', \&date ], [ 'timestamp', \&date ], [ 'timestamptz(2)', \&date ], [ 'time', \&date ], [ 'timetz', \&date ], [ 'interval', \&interval ],
	[ 'oid', \&integer ], [ 'money', \&numeric ], [ 'small', \&integer ], [ 'smaller', sub { int(rand 12) || integer() } ], [ 'amount', \&numeric ], [ 'judged', sub { chance(0.2) ? integer() : int(rand 30) } ],
	[ 'integer[]', list(\&integer) ], [ 'small[]', list(\&integer) ], [ 'numeric(5, 1)[]', list(\&numeric) ], [ 'int4range', \&range ], [ 'int8multirange', sub { '{' . range() . one_of(',', '') . range() . '}' } ],
	[ 'pair', sub { one_of('(', '') . int(rand 10) . ',' . one_of(integer(), int(rand 120)) . one_of(')', ',') } ], [ 'color', sub { one_of('red', 'green', 'light blue', 'blue', 'Red', '') } ],
	[ 'json', \&json ], [ 'jsonb', \&json ], [ 'jsonpath', sub { one_of('$.a', '$[1_000]', '$.a ? (@ > 0x1F)', '$ ?', 'lax $', '1_', '0b12', '$a.b(') } ],
	[ 'uuid', sub { my $u = some_of('0123456789abcdef', 1) x 32; one_of($u, "{$u}", substr($u, 1), "$u-", 'x') } ],
	[ 'bytea', sub { one_of('\\x', '\\', '\\\\', '\\0', '\\001', '') . some_of('0123456789abcdefg', 5) } ], [ 'bit(4)', sub { some_of('01', 5) . one_of('', 'x') } ], [ 'varbit(3)', sub { one_of('B', 'X', '') . some_of('012', 5) } ],
	[ 'inet', sub { join('.', map { int(rand 300) } 0 .. rand 5) . one_of('', '/8', '/33', '::') } ], [ 'point', sub { one_of('(', '') . numeric() . ',' . int(rand 9) . one_of(')', '') } ],
	[ 'regclass', sub { one_of('texts', 'pg_class', 'nowhere', 'a.b.c.d', '17', '0x10', '"', '') } ], [ 'tsquery', sub { one_of('a & b', 'a &', '!', 'a b', "'x", '(a', '') } ],
	[ 'varchar(5)', \&text ], [ 'char(5)', \&text ], [ 'name', \&text ], [ '"char"', \&text ], [ 'text', \&text ]);

# --- each type ---

my $n = 0;
for (@types)
{
	my ($type, $make) = @$_;
	my $writer = $writers[ $n++ % @writers ];
	my @texts = map { $make->() } 1 .. $count;
	my @records = map { my $text = $texts[$_]; $_ . ',' . ($text eq '' || $text =~ /[",\r\n]/ || chance(0.1) ? '"' . $text =~ s/"/""/gr . '"' : $text) } 0 .. $#texts;
	my $file = write_file('values.csv', join("\n", 'id,v', @records, ''));
	local $ENV{PGOPTIONS} = "-c movielens_ingest.writer=$writer -c client_min_messages=error";
	my $answer = $node->safe_psql('postgres', qq(
		DROP TABLE IF EXISTS t, copied;
		CREATE TABLE t (id integer, v $type);
		CREATE TABLE copied (LIKE t);
		TRUNCATE texts;
		COPY texts FROM '$file' (FORMAT csv, HEADER);
		SELECT ml_import('$file', 't', chunk_size => 97, min_chunks => 1) AS id \\gset
		SELECT status FROM ml_wait(:id);
		CREATE TEMPORARY TABLE ours AS
			SELECT id, 'taken' AS said FROM t
			UNION ALL SELECT row_number - 1, sqlstate || ' ' || message || ' / ' || coalesce(detail, '') || CASE WHEN column_name = 'v' THEN '' ELSE ' in another column' END
			FROM rejected_rows WHERE uploaded_file_id = :id;
		CREATE TEMPORARY TABLE theirs AS SELECT id, said(value) FROM texts;
		SELECT format('%s %s; the server: %s', texts.value, o.said, h.said) FROM texts JOIN ours o USING (id) JOIN theirs h USING (id)
		 WHERE o.said <> h.said ORDER BY id LIMIT 10;
		SELECT format('counts: %s, %s', (SELECT count(DISTINCT id) FROM ours), (SELECT count(*) FROM ours)) FROM texts HAVING count(*) <> (SELECT count(DISTINCT id) FROM ours) OR count(*) <> (SELECT count(*) FROM ours);
		SELECT 'validated: ' || v::text FROM (
			SELECT row_number, sqlstate, message, detail, column_name FROM ml_validate('$file', 't') EXCEPT ALL
			SELECT row_number, sqlstate, message, detail, column_name FROM rejected_rows WHERE uploaded_file_id = :id) v LIMIT 3;
		SELECT 'taken ' || count(*) FILTER (WHERE said = 'taken') || ', refused ' || count(*) FILTER (WHERE said <> 'taken') FROM ours;
		SELECT id FROM ours WHERE said = 'taken' ORDER BY id));
	my ($status, @lines) = split(/\n/, $answer);
	my @taken;
	unshift @taken, pop @lines while @lines && $lines[-1] =~ /^\d+$/;
	my $counts = pop @lines;
	my ($rc, $same, $error) = $node->psql('postgres', "COPY copied FROM '" . write_file('taken.csv', join("\n", 'id,v', @records[@taken], '')) . "' (FORMAT csv, HEADER);
		SELECT count(*) FROM (SELECT id, v::text FROM t EXCEPT ALL SELECT id, v::text FROM copied) d");
	push @lines, "COPY: $error" if $rc != 0;
	push @lines, "$same rows are others than COPY's" if $rc == 0 && $same ne '0';
	ok(!@lines && $status =~ /^Completed/, "$type, $writer: $counts") or diag(join("\n", $status, @lines));
	cmp_ok(scalar @taken, '>', 0, '... some are taken') or diag($counts);
}

# --- what volatile code does for a record that is refused does not stay ---

$node->safe_psql('postgres', q(
	CREATE TABLE seen (value integer);
	CREATE FUNCTION note(value integer) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$BEGIN INSERT INTO seen VALUES (value); RETURN value < 50; END$$;
	CREATE DOMAIN noted AS integer CHECK (note(VALUE));
	CREATE TABLE volatile (a noted, b date)));
my $file = write_file('volatile.csv', join("\n", 'a,b', '1,2020-01-01', '2,nonsense', '60,2020-01-01', '3,2020-01-01', 'x,2020-01-01', '4,2020-13-01', ''));
my $row = imported($node, $file, 'volatile', 'min_chunks => 1');
is("$row->{success_count} $row->{error_count}", '2 4', 'volatile code in a domain: what is loaded and what is refused');
is($node->safe_psql('postgres', 'SELECT count(*) FROM seen WHERE value NOT IN (SELECT a FROM volatile)'), '0', '... nothing stays of what it did for records that are refused');

# --- an error that ends more than a record is none of the record's, however the function says it ---

$node->safe_psql('postgres', q(
	CREATE FUNCTION full_disk(value integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$BEGIN IF value = 3 THEN RAISE EXCEPTION 'full' USING ERRCODE = '53100'; END IF; RETURN true; END$$;
	CREATE DOMAIN on_disk AS integer CHECK (full_disk(VALUE));
	CREATE TABLE disk (a on_disk, b date)));
$row = imported($node, write_file('disk.csv', "a,b\n1,2020-01-01\n2,x\n3,2020-01-01\n"), 'disk', 'min_chunks => 1, max_retries => 0');
is("$row->{status} $row->{sqlstate} $row->{error_count}", 'Failed 53100 0', 'an error of another kind ends the import, and nothing of its chunk is refused');

$node->stop;
done_testing();
