-- Values arrive as COPY stores them: NULL and empty strings, quotes, line breaks, numbers, every kind of type.
CREATE SCHEMA ingest;
CREATE EXTENSION movielens_ingest SCHEMA ingest;
CREATE SCHEMA lens;
SET search_path = lens, ingest;
\pset null NULL
\getenv dir PG_ABS_BUILDDIR
\set dir :dir /results/values
\setenv D :dir
\! mkdir -p "$D"

-- Loads a file into a table by an import and into its twin by COPY, and counts the rows that one has and the other not.
CREATE PROCEDURE compare(path text, target regclass, chunk_size integer DEFAULT NULL,
                         INOUT status text DEFAULT NULL, INOUT rows bigint DEFAULT NULL,
                         INOUT lost bigint DEFAULT NULL, INOUT added bigint DEFAULT NULL)
LANGUAGE plpgsql AS $$
DECLARE
    id bigint;
BEGIN
    EXECUTE format('TRUNCATE %s', target);
    COMMIT;
    id := ml_import(path, target, chunk_size => compare.chunk_size, force => true);
    COMMIT;
    SELECT f.status, f.success_count INTO STRICT compare.status, rows FROM ml_wait(id) f;
    EXECUTE format('CREATE TEMP TABLE twin (LIKE %s INCLUDING ALL)', target);
    EXECUTE format('COPY twin FROM %L (FORMAT csv, HEADER)', path);
    EXECUTE format('SELECT count(*) FROM (SELECT t::text FROM twin t EXCEPT ALL SELECT t::text FROM %s t) r', target)
       INTO lost;
    EXECUTE format('SELECT count(*) FROM (SELECT t::text FROM %s t EXCEPT ALL SELECT t::text FROM twin t) r', target)
       INTO added;
    DROP TABLE twin;
END
$$;

-- Text. An empty field is NULL, a quoted one is an empty string.
CREATE TABLE texts (id integer, value text);
\set lf :dir /lf.csv
\! printf 'id,value\n' > "$D/lf.csv"
\! printf '1,\n2,""\n3,"a ""quoted"" word"\n4,"comma, inside"\n' >> "$D/lf.csv"
\! printf '5,"line\nbreak"\n6,"two\n\nbreaks, and ""quotes""\n"\n7, leading and trailing \n8,"  "\n' >> "$D/lf.csv"
-- a quote within an unquoted field; text behind a closing quote; quotes that hold nothing
\! printf '9,un"quoted, yes"text\n10,"closed"tail\n11,""tail\n12,head""\n13,"a"b"c"\n14,""""\n15,""""""\n' >> "$D/lf.csv"
-- nothing here is an escape or a NULL of COPY's text format
\! printf '16,\\N\n17,NULL\n18,"\\"\n19,a\\tb\n20,\\.\n21,"\\."\n22,null\n' >> "$D/lf.csv"
-- UTF-8, blanks and control characters
\! printf '23,é\n24,"日本語, 😀"\n25,a\tb\n26,\001\037\n27,"a\rb"\n28,"c\r\nd"\n29,\302\240\n' >> "$D/lf.csv"
CALL compare(:'lf', 'texts');
SELECT id, to_json(value) AS value FROM texts ORDER BY id;
CALL compare(:'lf', 'texts', 7);
CALL compare(:'lf', 'texts', 1000);
-- The same with CRLF at the line ends, within quotes too; with single LF within quotes; with CR; without the last one.
\set crlf :dir /crlf.csv
\! sed 's/$/\r/' "$D/lf.csv" > "$D/crlf.csv"
CALL compare(:'crlf', 'texts');
SELECT id, to_json(value) AS value FROM texts WHERE id IN (1, 2, 5, 6, 20, 27, 28) ORDER BY id;
\set crlf :dir /mixed.csv
\! printf 'id,value\r\n1,"a\nb"\r\n2,"a\rb"\r\n3,"a\r\nb"\r\n4,\r\n5,""\r\n6,"\r\n"' > "$D/mixed.csv"
CALL compare(:'crlf', 'texts');
SELECT id, to_json(value) AS value FROM texts ORDER BY id;
\set cr :dir /cr.csv
\! tr -d '\r' < "$D/lf.csv" | tr '\n' '\r' > "$D/cr.csv"
CALL compare(:'cr', 'texts');
SELECT id, to_json(value) AS value FROM texts WHERE id IN (1, 2, 5, 6, 20, 27, 28) ORDER BY id;
\set open :dir /open.csv
\! printf 'id,value\n1,a\n2,"b\n"' > "$D/open.csv"
CALL compare(:'open', 'texts');
\! printf 'id,value\n1,a\n2,""' > "$D/open.csv"
CALL compare(:'open', 'texts');
\! printf 'id,value\n1,a\n2,' > "$D/open.csv"
CALL compare(:'open', 'texts');
SELECT id, to_json(value) AS value FROM texts ORDER BY id;

-- One column: an empty line is a record, whose only field is NULL.
CREATE TABLE single (value text);
\set single :dir /single.csv
\! printf 'value\n\n""\n\na\n\n' > "$D/single.csv"
CALL compare(:'single', 'single');
SELECT to_json(value) AS value, count(*) FROM single GROUP BY value::text ORDER BY value::text;
\! printf 'value\r\n\r\n""\r\n\r\na\r\n\r\n' > "$D/single.csv"
CALL compare(:'single', 'single');
SELECT to_json(value) AS value, count(*) FROM single GROUP BY value::text ORDER BY value::text;

-- Leading zeros of imdbId are data.
SELECT count(*) FROM ml_create_tables();
\set links :dir /links.csv
\! printf 'movieId,imdbId,tmdbId\r\n1,0114709,862\r\n2,0113497,\r\n3,000,"0"\r\n' > "$D/links.csv"
ALTER TABLE links DROP CONSTRAINT links_movieid_fkey;
CALL compare(:'links', 'links');
SELECT * FROM links ORDER BY movieid;

-- Numbers, as the types' own input functions read them.
CREATE TABLE numbers (i integer, b bigint, s smallint, f double precision, r real, n numeric);
\set numbers :dir /numbers.csv
\! printf 'i,b,s,f,r,n\n' > "$D/numbers.csv"
\! printf '0,0,0,0,0,0\n-0,-0,-0,-0,-0,-0\n+1,+1,+1,+1,+1,+1\n007,007,007,007,007,007\n' >> "$D/numbers.csv"
\! printf ' 1 , 2 , 3 , 4 , 5 , 6 \n"10","20","30","40","50","60"\n\t1,\t2,\t3,\t4,\t5,\t6\n,,,,,\n' >> "$D/numbers.csv"
\! printf '2147483647,9223372036854775807,32767,1.7976931348623157e308,3.4028235e38,1e100\n' >> "$D/numbers.csv"
\! printf -- '-2147483648,-9223372036854775808,-32768,-1.7976931348623157e308,-3.4028235e38,-1e-20\n' >> "$D/numbers.csv"
\! printf '1,1,1,4.9406564584124654e-324,1.4e-45,0.10\n1,1,1,2.2250738585072014e-308,1.17549435e-38,00.100\n' >> "$D/numbers.csv"
\! printf '1,1,1,.5,5.,.5\n1,1,1,1e3,1E+3,1e3\n1,1,1,0.1,0.1,0.1\n1,1,1,0.30000000000000004,16777217,5.\n' >> "$D/numbers.csv"
\! printf '1,1,1,NaN,nan,NaN\n1,1,1,Infinity,inf,Infinity\n1,1,1,-infinity,-INF,-inf\n1,1,1,0x1p3,0x10,1\n' >> "$D/numbers.csv"
\! printf '1,1,1,123456789012345678901234567890,1,123456789012345678901234567890.123\n' >> "$D/numbers.csv"
\! printf '1,1,1,9007199254740993,1,1\n1,1,1,0.000000000000000000000000000000000000001,1,1\n1,1,1,2.5,1,1\n' >> "$D/numbers.csv"
CALL compare(:'numbers', 'numbers');
SELECT i, b, s, f, r FROM numbers ORDER BY i, f, f::text COLLATE "C";
CALL compare(:'numbers', 'numbers', 1000);

-- Other types, in the session's DateStyle and TimeZone; domains, enums, arrays, composite and range types.
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE pair AS (a integer, b text);
CREATE DOMAIN score AS integer CHECK (VALUE BETWEEN 0 AND 100);
CREATE DOMAIN name_or_none AS varchar(5) DEFAULT 'none';
CREATE TABLE things (
    id integer, flag boolean, day date, at timestamptz, span interval, bytes bytea, doc jsonb, list integer[], words text[],
    short varchar(3), fixed char(3), mood mood, pair pair, score score, name name_or_none, span_of int4range, net inet,
    key uuid, bits bit(3), kind regtype
);
SET DateStyle = 'SQL, DMY';
SET TimeZone = 'Asia/Kolkata';
\set things :dir /things.csv
\! printf 'id,flag,day,at,span,bytes,doc,list,words,short,fixed,mood,pair,score,name,span_of,net,key,bits,kind\n' > "$D/things.csv"
\! printf '1,t,03/02/2001,2020-01-01 00:00,1 day 2 hours,\\x00ff,"{""a"": [1, null]}","{1,2,NULL}","{""a,b"",c}",abc,abc,happy,"(1,""x y"")",100,abcde,"[1,5)",::1/128,a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,101,integer\n' >> "$D/things.csv"
\! printf '2,yes,01/12/1999,infinity,P1Y,abc\\\\,[],{},{},abc   ,a,ok,"(,)",0,,empty,10.0.0.0/8,{a0eebc999c0b4ef8bb6d6bb9bd380a11},000,lens.mood\n' >> "$D/things.csv"
\! printf '3,,,,,,,,,,,,,,,,,,,\n4,off,epoch,epoch,,"",null,,,"","",,,,"","(,)",,,,\n5,,,,,,,,,äöü,日本語,,,,,,,,,\n' >> "$D/things.csv"
CALL compare(:'things', 'things');
SELECT id, flag, day, at, short, fixed, mood, pair, score, name FROM things ORDER BY id;
CALL compare(:'things', 'things', 1000);

-- An encoding of the file that is not the database's: that of the client, as in COPY.
SET client_encoding = LATIN1;
\set latin :dir /latin.csv
\! printf 'id,value\n1,\351t\351\n2,"na\357ve, ""yes"""\n3,ascii\n' > "$D/latin.csv"
CALL compare(:'latin', 'texts');
RESET client_encoding;
SELECT id, value, length(value), octet_length(value) FROM texts ORDER BY id;

\! rm -r "$D"
SET client_min_messages = warning;
DROP SCHEMA lens CASCADE;
DROP EXTENSION movielens_ingest;
DROP SCHEMA ingest;
