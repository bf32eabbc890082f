-- Rules of the server that an import has to keep in unusual tables and sessions.
CREATE SCHEMA ingest;
CREATE EXTENSION movielens_ingest SCHEMA ingest;
CREATE SCHEMA lens;
SET search_path = lens, ingest;
\getenv dir PG_ABS_BUILDDIR
\set dir :dir /results/rules
\setenv D :dir
\! mkdir -p -m 777 "$D"

\set ended 'SELECT status, success_count, error_count, skipped_count, unprocessed_count, sqlstate, error FROM ml_wait(:id);'
\set rejects 'SELECT row_number AS row, column_name, sqlstate, message FROM rejected_rows WHERE uploaded_file_id = :id ORDER BY row_number;'

-- What comes before the first record is no record's fault: nothing is refused, the import fails.
CREATE TABLE numbers (a integer);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'not today'; END$$;
CREATE TRIGGER refuse BEFORE INSERT ON numbers FOR EACH STATEMENT EXECUTE FUNCTION refuse();
\! (echo a; seq 1 20) > "$D/numbers.csv"
\set file :dir /numbers.csv
SELECT ml_import(:'file', 'numbers') AS id \gset
:ended
:rejects
DROP TRIGGER refuse ON numbers;

-- Statistics count each row once, whoever has inserted it.
SELECT ml_import(:'file', 'numbers') AS id \gset
:ended
SELECT n_live_tup, n_mod_since_analyze FROM pg_stat_user_tables WHERE relid = 'numbers'::regclass;

-- The same table by any spelling of its name.
SET quote_all_identifiers = on;
\set VERBOSITY sqlstate
SELECT ml_import(:'file', 'numbers');
\set VERBOSITY default
RESET quote_all_identifiers;

-- A file whose data are the same under other columns is another file.
CREATE TABLE pairs (a integer, b integer);
\! printf 'a,b\n1,2\n' > "$D/ab.csv"; printf 'b,a\n1,2\n' > "$D/ba.csv"
\set file :dir /ab.csv
SELECT ml_import(:'file', 'pairs') AS id \gset
:ended
\set file :dir /ba.csv
SELECT ml_import(:'file', 'pairs') AS id \gset
:ended
SELECT * FROM pairs ORDER BY a;

-- Values that their input functions refuse with an error of class 42.
CREATE TABLE odd (a regclass, b jsonpath, c tsquery);
\! printf 'a,b,c\npg_catalog.pg_class,$.a,x\nno_such_thing,$.a,x\npg_catalog.pg_class,$.,x\npg_catalog.pg_class,$.a,x &\n' > "$D/odd.csv"
\set file :dir /odd.csv
SELECT ml_import(:'file', 'odd') AS id \gset
:ended
:rejects

-- A column of another table is not to blame.
CREATE TABLE audit (who text NOT NULL);
CREATE TABLE audited (who text);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO audit VALUES (NEW.who); RETURN NEW; END$$;
CREATE TRIGGER audit BEFORE INSERT ON audited FOR EACH ROW EXECUTE FUNCTION audit();
\! printf 'who\nme\n\nyou\n' > "$D/audited.csv"
\set file :dir /audited.csv
SELECT ml_import(:'file', 'audited') AS id \gset
:ended
:rejects

-- A partition whose table references itself: record 1 finds its parent behind record 2, which is bad.
CREATE TABLE tree (id integer PRIMARY KEY, parent integer REFERENCES tree) PARTITION BY RANGE (id);
CREATE TABLE branch PARTITION OF tree FOR VALUES FROM (0) TO (100);
\! printf 'id,parent\n1,4\n3,99\n2,\n4,\n100,\n' > "$D/tree.csv"
\set file :dir /tree.csv
SELECT ml_import(:'file', 'branch', min_chunks => 1) AS id \gset
:ended
:rejects
SELECT * FROM tree ORDER BY id;

-- The detail of an error shows what the file loads, and not what the caller may not read.
CREATE ROLE regress_ingest_carol IN ROLE pg_read_server_files;
GRANT USAGE ON SCHEMA lens, ingest TO regress_ingest_carol;
CREATE TABLE guarded (a integer CHECK (a > 0), secret text DEFAULT 'hidden');
GRANT INSERT (a) ON guarded TO regress_ingest_carol;
\! printf 'a\n1\n-1\n' > "$D/guarded.csv"
\set file :dir /guarded.csv
SET ROLE regress_ingest_carol;
SELECT ml_import(:'file', 'guarded') AS id \gset
:ended
SELECT sqlstate, detail FROM rejected_rows WHERE uploaded_file_id = :id;
RESET ROLE;

-- An empty value has its comma in the detail.
CREATE TABLE empties (a text, b integer CHECK (b > 0));
\! printf 'a,b\n"",-1\n' > "$D/empties.csv"
\set file :dir /empties.csv
SELECT ml_import(:'file', 'empties') AS id \gset
:ended
SELECT detail FROM rejected_rows WHERE uploaded_file_id = :id;

-- A generation expression that cannot even be planned is no record's fault.
CREATE FUNCTION offset_of(integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS $$BEGIN RETURN $1; END$$;
CREATE TABLE generated (a integer, g integer GENERATED ALWAYS AS (a + offset_of(1)) STORED);
CREATE OR REPLACE FUNCTION offset_of(integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql
AS $$BEGIN RAISE EXCEPTION 'no offset'; END$$;
\set file :dir /numbers.csv
SELECT ml_import(:'file', 'generated', min_chunks => 1) AS id \gset
:ended
SELECT count(*) FROM generated;

-- A trigger that calls the function of the spi writer puts the blame on nobody else.
CREATE TABLE blamed (a integer);
CREATE FUNCTION blame() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN
    PERFORM ingest._inserting(0);
    IF NEW.a = 3 THEN RAISE EXCEPTION 'not 3'; END IF;
    RETURN NEW;
END$$;
CREATE TRIGGER blame BEFORE INSERT ON blamed FOR EACH ROW EXECUTE FUNCTION blame();
SELECT ml_import(:'file', 'blamed', min_chunks => 1) AS id \gset
:ended
:rejects

-- A refused record of a file in another encoding is shown as text, and kept as it was.
CREATE TABLE texts (a integer, b text);
\! printf 'a,b\nx,\351t\351\ny,\303\251\n1,\351\n' > "$D/latin.csv"
\set file :dir /latin.csv
SET client_encoding = LATIN1;
SELECT ml_import(:'file', 'texts') AS id \gset
:ended
RESET client_encoding;
SELECT row_number AS row, raw_line, raw_bytes FROM rejected_rows WHERE uploaded_file_id = :id ORDER BY row_number;
SELECT * FROM texts;

-- A setting of the role that was changed after the session began: the session's value counts, as for COPY.
CREATE TABLE lists (a integer[]);
\! printf 'a\n"{NULL,1}"\n' > "$D/lists.csv"
\set file :dir /lists.csv
ALTER ROLE CURRENT_USER SET array_nulls = off;
SHOW array_nulls;
SELECT ml_import(:'file', 'lists') AS id \gset
ALTER ROLE CURRENT_USER RESET array_nulls;
:ended

-- A trigger that raises query_canceled cancels nothing.
CREATE FUNCTION cancel() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'query_canceled'; END$$;
CREATE TRIGGER cancel BEFORE INSERT ON numbers FOR EACH ROW EXECUTE FUNCTION cancel();
\set file :dir /numbers.csv
SELECT ml_import(:'file', 'numbers', force => true, max_workers => 1) AS id \gset
:ended

\! rm -r "$D"
SET client_min_messages = warning;
DROP SCHEMA lens CASCADE;
DROP EXTENSION movielens_ingest;
DROP SCHEMA ingest;
DROP ROLE regress_ingest_carol;
