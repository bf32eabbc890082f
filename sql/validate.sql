-- ml_validate() returns the records that an import would refuse for their form or values, and leaves nothing behind.
CREATE SCHEMA ingest;
CREATE EXTENSION movielens_ingest SCHEMA ingest;
CREATE SCHEMA lens;
SET search_path = lens, ingest;
\getenv dir PG_ABS_BUILDDIR
\set dir :dir /results/validate
\setenv D :dir
\! mkdir -p -m 777 "$D"

\set said 'SELECT row_number AS row, line_number AS line, column_name, sqlstate, message, detail FROM ml_validate(:''file'', :''target'');'

-- Is it what the import says? In one process, in several, in chunks of few records.
CREATE PROCEDURE same_as_import(file text, target regclass, options text DEFAULT '')
LANGUAGE plpgsql AS $$
DECLARE
    import bigint;
    difference record;
    size integer;
    refused bigint;
    ordered boolean;
BEGIN
    FOR workers IN 1 .. 3 BY 2 LOOP
        FOR size IN SELECT unnest(ARRAY[30000, 2]) LOOP
            PERFORM set_config('movielens_ingest.chunk_size', size::text, false);
            EXECUTE format('CREATE TEMP TABLE validated AS SELECT row_number() OVER () AS place, v.*'
                           ' FROM ml_validate(%L, %L, max_workers => %s %s) v', file, target, workers, options);
            EXECUTE format('SELECT ml_import(%L, %L, force => true %s)', file, target, options) INTO import;
            COMMIT;
            PERFORM ml_wait(import);
            FOR difference IN
                WITH said AS (SELECT row_number, line_number, byte_offset, column_name, sqlstate, message, detail, raw_line,
                                     raw_bytes FROM validated),
                     imported AS (SELECT row_number, line_number, byte_offset, column_name, sqlstate, message, detail,
                                         raw_line, raw_bytes FROM rejected_rows WHERE uploaded_file_id = import)
                (SELECT 'ml_validate' AS who, * FROM (TABLE said EXCEPT ALL TABLE imported) s)
                UNION ALL
                (SELECT 'ml_import', * FROM (TABLE imported EXCEPT ALL TABLE said) i)
            LOOP
                RAISE WARNING '% alone, % workers, chunks of %: %', difference.who, workers, size, difference;
            END LOOP;
            SELECT count(*), coalesce(bool_and(place = rank), true) INTO refused, ordered
              FROM (SELECT place, row_number() OVER (ORDER BY row_number) AS rank FROM validated) v;
            RAISE NOTICE '% workers, chunks of %: % refused, in order: %', workers, size, refused, ordered;
            DROP TABLE validated;
            EXECUTE format('TRUNCATE %s', target);
            COMMIT;
        END LOOP;
    END LOOP;
END
$$;

-- Form and values.
CREATE TABLE items (id integer NOT NULL, name varchar(5), price numeric(5, 2), at date, weight double precision);
\set file :dir /form.csv
\set target items
\! printf 'id,name,price,at,weight\n1,ok,1.5,2001-02-03,1\n' > "$D/form.csv"
\! printf '2,few\n3,many,1,2001-02-03,1,7\n\n4,"one field, 2\n3"\n5,ok,1,2001-02-03,1\n' >> "$D/form.csv"
\! printf '6,x,cheap,2001-02-03,1\nseven,x,1,2001-02-03,1\n2147483648,x,1,2001-02-03,1\n9,x,1000,2001-02-03,1\n' >> "$D/form.csv"
\! printf '10,longer,1,2001-02-03,1\n11,x,1,2001-02-30,1\n12,x,1,yesterdayish,1\n13,x,1,2001-02-03,1e400\n14,x,1,2001-02-03,0x\n' >> "$D/form.csv"
\! printf ',x,1,2001-02-03,1\n"",x,1,2001-02-03,1\n17,x,"",2001-02-03,1\n,\n18,ok,1,2001-02-03,1' >> "$D/form.csv"
:said
SELECT id, uploaded_file_id, process_chunk_id, byte_offset, to_json(raw_line) AS raw_line, raw_bytes
  FROM ml_validate(:'file', 'items') LIMIT 5;
CALL same_as_import(:'file', 'items');

-- Text that is none, quotes, line ends.
CREATE TABLE notes (id integer, note text);
\set target notes
\set file :dir /bytes.csv
\! printf 'id,note\n1,caf\303\251\n2,caf\351 au lait\n3,"\377\000\n"\n4,\355\240\200\n5,\360\237\230\200\n6,\303' > "$D/bytes.csv"
:said
CALL same_as_import(:'file', 'notes');
\set file :dir /ends.csv
\! printf 'id,note\r\n1,a\r\n2,b\n3,c\r\n4,d\re\r\n5,"f\ng"\r\nx,"h\r\n\r\ni"\r\ny,\r\n6,"open\r\n7,\r\n' > "$D/ends.csv"
:said
CALL same_as_import(:'file', 'notes');
SET client_encoding = latin1;
CALL same_as_import(:'file', 'notes');
RESET client_encoding;

-- Constraints, domains, generated columns, defaults that are not volatile.
CREATE DOMAIN score AS integer NOT NULL CHECK (VALUE BETWEEN 0 AND 100);
CREATE TABLE checks (id integer CHECK (id > 0), score score, twice integer GENERATED ALWAYS AS (id * 1000000) STORED NOT NULL,
                     origin text DEFAULT current_setting('my.origin'), tags text[], mood regclass,
                     CONSTRAINT low CHECK (score < 90 OR id < 10), CONSTRAINT known CHECK (origin <> 'nowhere'),
                     CONSTRAINT here CHECK (tableoid::text <> 'id' OR id <> 7), CONSTRAINT all_of_it CHECK (checks IS NOT NULL OR id <> 8));
SET my.origin = 'somewhere';
\set target checks
\set file :dir /checks.csv
\! printf 'id,score,tags,mood\n1,5,,\n-1,5,,\n2,101,,\n3,,,\n11,95,,\n4,80,"{a,b}",pg_class\n5,1,{a,\n,1,,\n5000,1,,\n6,1,,nothing\n6,x,,\n' > "$D/checks.csv"
:said
CALL same_as_import(:'file', 'checks');
SET my.origin = 'nowhere';
CALL same_as_import(:'file', 'checks');
RESET my.origin;
-- What is wrong with every record: the setting is there, but empty.
SET my.origin = '';
CALL same_as_import(:'file', 'checks');
-- The settings of the session.
CREATE TABLE days (day date, amount interval);
\set target days
\set file :dir /days.csv
\! printf 'day,amount\n13/02/2001,1 day\n02/13/2001,2 days\n2001-02-13,P1D\n' > "$D/days.csv"
SET DateStyle = 'ISO, DMY';
CALL same_as_import(:'file', 'days');
SET DateStyle = 'ISO, MDY';
CALL same_as_import(:'file', 'days');
RESET DateStyle;

-- The options.
CREATE TABLE options (a integer, b text NOT NULL, c text CHECK (c <> 'no'));
\! printf "x;'a''';2\n-;'-';\n1;-;-\n;'no';no\n1;2;'a;\n3'\n1;2;3;4\n" > "$D/options.csv"
CALL same_as_import(:'dir' || '/options.csv', 'options',
    $$, delimiter => ';', quote => '''', null_string => '-', header => false, columns => '{a,c,b}', force_not_null => '{b}', force_null => '{c}'$$);
\! printf 'a,b,c\n1,caf\351,x\n2,\200,\nx,\344,\n' > "$D/latin.csv"
CALL same_as_import(:'dir' || '/latin.csv', 'options', $$, encoding => 'latin1', escape => '\'$$);
SELECT * FROM ml_validate(:'dir' || '/latin.csv', 'options', delimiter => '"');
SELECT * FROM ml_validate(:'dir' || '/latin.csv', 'options', force_null => '{d}');

-- Other targets. Which partition a row is for is the import's to find, and then its name is in the message.
CREATE TABLE parts (a integer CHECK (a > 0), b text NOT NULL, c text) PARTITION BY RANGE (a);
CREATE TABLE part1 PARTITION OF parts FOR VALUES FROM (1) TO (100);
CREATE UNLOGGED TABLE unlogged (LIKE options INCLUDING ALL);
CREATE VIEW view AS TABLE options;
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER nothing INSTEAD OF INSERT ON view FOR EACH ROW EXECUTE FUNCTION nothing();
\! printf 'a,b,c\n1,x,\n-1,x,\n2,,\nx,,\n500,x,no\n3,x,\n4\n' > "$D/targets.csv"
\set file :dir /targets.csv
\set target parts
:said
\set target part1
:said
\set target view
:said
CALL same_as_import(:'file', 'unlogged');
CREATE FUNCTION clear() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.a := 1; NEW.b := 2; RETURN NEW; END';
CREATE TRIGGER clear BEFORE INSERT ON part1 FOR EACH ROW EXECUTE FUNCTION clear();
\set target parts
:said

-- Volatile defaults are not evaluated, and what depends on them is left to the import.
CREATE TABLE serials (id serial PRIMARY KEY, made timestamptz DEFAULT clock_timestamp(), number integer CHECK (number > 0),
                      double_id integer GENERATED ALWAYS AS (1 / (id - id)) STORED, CHECK (id > 1000), CHECK (double_id IS NOT NULL),
                      who integer GENERATED ALWAYS AS IDENTITY, CHECK ((serials).number < 10));
\set target serials
\set file :dir /serials.csv
\! printf 'number\n1\n-1\nx\n100\n' > "$D/serials.csv"
:said
SELECT last_value, is_called FROM serials_id_seq;
SELECT last_value, is_called FROM serials_who_seq;

-- Triggers: BEFORE ROW ones may change what the constraints see; others run in an import only.
CREATE TABLE guarded (id integer NOT NULL CHECK (id > 0));
CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a trigger ran';
END
$$;
CREATE TRIGGER guard_after AFTER INSERT ON guarded FOR EACH ROW EXECUTE FUNCTION guard();
CREATE TRIGGER guard_statement BEFORE INSERT ON guarded FOR EACH STATEMENT EXECUTE FUNCTION guard();
\set target guarded
\set file :dir /guarded.csv
\! printf 'id\n1\n-1\n""\nx\n' > "$D/guarded.csv"
:said
CREATE TRIGGER guard_before BEFORE INSERT ON guarded FOR EACH ROW EXECUTE FUNCTION guard();
:said

-- Keys are for the import.
CREATE TABLE keys (id integer PRIMARY KEY, parent integer REFERENCES keys);
\set target keys
\set file :dir /keys.csv
\! printf 'id,parent\n1,\n1,\n2,77\n,1\n' > "$D/keys.csv"
:said

-- What a function of a CHECK writes is rolled back, though it sees it itself.
CREATE TABLE witness (id integer);
CREATE FUNCTION writes(id integer) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO witness VALUES (id);
    RETURN id < 5;
END
$$;
CREATE TABLE writers (id integer CHECK (writes(id)));
\set target writers
\set file :dir /writers.csv
COPY (SELECT n AS id FROM generate_series(1, 6) n) TO STDOUT (FORMAT csv, HEADER) \g :file
:said
SELECT count(*) FROM witness;
BEGIN READ ONLY;
:said
ROLLBACK;

-- In a transaction that has made the table, workers could not see it.
BEGIN;
CREATE TABLE fresh (id integer CHECK (id < 3));
SELECT row_number, message FROM ml_validate(:'file', 'fresh', max_workers => 3);
ROLLBACK;
BEGIN READ ONLY;
SELECT count(*) FROM ml_validate(:'dir' || '/form.csv', 'items', max_workers => 3);
COMMIT;
-- In a subtransaction, and by a cursor.
BEGIN;
SAVEPOINT here;
SELECT count(*) FROM ml_validate(:'dir' || '/form.csv', 'items', max_workers => 3);
ROLLBACK TO here;
DECLARE several CURSOR FOR SELECT row_number FROM ml_validate(:'dir' || '/form.csv', 'items', max_workers => 2);
FETCH 2 FROM several;
COMMIT;

-- Many, out of work_mem.
SET work_mem = '64kB';
\set file :dir /many.csv
COPY (SELECT CASE WHEN n % 3 = 0 THEN n::text ELSE 'bad ' || n END AS id, repeat('x', 40) AS note FROM generate_series(1, 30000) n)
  TO STDOUT (FORMAT csv, HEADER) \g :file
SET movielens_ingest.chunk_size = 500;
SELECT count(*), count(DISTINCT row_number), min(row_number), max(row_number), bool_and(row_number = place + (place - 1) / 2) AS ordered
  FROM (SELECT row_number, row_number() OVER () AS place FROM ml_validate(:'file', 'notes', max_workers => 3)) v;
SELECT count(*) FROM ml_validate(:'file', 'notes', max_workers => 1);
RESET work_mem;

-- Nothing is left behind: no row, no import, no chunk, no reject, no sequence's number.
SELECT (SELECT count(*) FROM items) AS items, (SELECT count(*) FROM serials) AS serials, (SELECT count(*) FROM writers) AS writers;
CREATE TEMP TABLE before AS
SELECT (SELECT max(id) FROM uploaded_files) AS files, (SELECT max(id) FROM process_chunks) AS chunks, (SELECT max(id) FROM rejected_rows) AS rejects,
       (SELECT last_value FROM rejected_rows_id_seq) AS sequence;
SELECT count(*) FROM ml_validate(:'file', 'notes', max_workers => 2);
SELECT (SELECT max(id) FROM uploaded_files) = files AS files, (SELECT max(id) FROM process_chunks) = chunks AS chunks,
       (SELECT max(id) FROM rejected_rows) = rejects AS rejects, (SELECT last_value FROM rejected_rows_id_seq) = sequence AS sequence
  FROM before;

-- Files without records; errors of the call.
CREATE FUNCTION refusal(file text, target regclass DEFAULT NULL, workers integer DEFAULT 3) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN format('%s refused', (SELECT count(*) FROM ml_validate(file, target, max_workers => workers)));
EXCEPTION WHEN OTHERS THEN
    RETURN sqlstate || ': ' || replace(sqlerrm, regexp_replace(file, '[^/]*$', ''), '');
END
$$;
\! printf 'id,note\n' > "$D/header.csv"
\! printf '' > "$D/empty.csv"
\! printf 'id,nothing\n1,\n' > "$D/other.csv"
\! printf 'movieId,title,genres\nx,,\n' > "$D/movies.csv"
SELECT refusal(:'dir' || '/header.csv', 'notes');
SELECT refusal(:'dir' || '/empty.csv', 'notes');
SELECT refusal(:'dir' || '/other.csv', 'notes');
SELECT refusal(:'dir' || '/nothing.csv', 'notes');
SELECT refusal(:'dir' || '/header.csv', 'uploaded_files');
SELECT refusal(:'dir' || '/header.csv');
SELECT refusal(:'dir' || '/movies.csv');
SELECT to_regclass('movies');
SELECT count(*) FROM ml_create_tables();
SELECT refusal(:'dir' || '/movies.csv');
SELECT * FROM ml_validate('relative.csv', 'notes');
SELECT * FROM ml_validate(NULL, 'notes');
SELECT * FROM ml_validate(:'dir' || '/header.csv', 'notes', max_workers => -1);
-- An error that is no record's own, from a worker's chunk too.
CREATE FUNCTION broken(id integer) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RETURN CASE WHEN id = 20000 THEN no_such_function(id) ELSE true END;
END
$$;
CREATE TABLE broken (id integer CHECK (broken(id)));
\set file :dir /broken.csv
COPY (SELECT n AS id FROM generate_series(1, 20000) n) TO STDOUT (FORMAT csv, HEADER) \g :file
SET log_min_messages = fatal;
SELECT refusal(:'file', 'broken', workers) FROM generate_series(1, 3) workers;
RESET log_min_messages;

-- Who may.
CREATE ROLE regress_validate_reader;
CREATE ROLE regress_validate_nobody;
GRANT pg_read_server_files TO regress_validate_reader;
GRANT USAGE ON SCHEMA ingest, lens TO regress_validate_reader, regress_validate_nobody;
SET ROLE regress_validate_nobody;
SELECT * FROM ml_validate(:'dir' || '/header.csv', 'notes');
SET ROLE regress_validate_reader;
SELECT * FROM ml_validate(:'dir' || '/bytes.csv', 'notes');
RESET ROLE;
GRANT INSERT (id) ON notes TO regress_validate_reader;
SET ROLE regress_validate_reader;
SELECT * FROM ml_validate(:'dir' || '/bytes.csv', 'notes');
RESET ROLE;
GRANT INSERT ON notes TO regress_validate_reader;
SET ROLE regress_validate_reader;
SET movielens_ingest.chunk_size = 1;
SELECT row_number, message FROM ml_validate(:'dir' || '/bytes.csv', 'notes', max_workers => 3);
RESET ROLE;

\! rm -rf "$D"
SET client_min_messages = warning;
DROP SCHEMA lens CASCADE;
DROP EXTENSION movielens_ingest;
DROP SCHEMA ingest;
DROP ROLE regress_validate_reader, regress_validate_nobody;
