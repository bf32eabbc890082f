-- Calls that ml_import refuses, each with its SQLSTATE, the name of the thing, and a hint where there is a way out.
CREATE SCHEMA ingest;
CREATE EXTENSION movielens_ingest SCHEMA ingest;
CREATE SCHEMA lens;
SET search_path = lens, ingest;
\pset format unaligned
\pset tuples_only on
\getenv dir PG_ABS_BUILDDIR
\set dir :dir /results/errors
\setenv D :dir
\! mkdir -p "$D"

-- What ml_import says to a file of this test's folder.
CREATE TABLE folder AS SELECT :'dir' AS path;
CREATE FUNCTION refusal(file text, arguments text DEFAULT NULL) RETURNS SETOF text
LANGUAGE plpgsql SET client_min_messages = warning AS $$
DECLARE
    message text;
    detail text;
    hint text;
BEGIN
    EXECUTE format('SELECT ml_import(%L%s)', (SELECT path FROM folder) || '/' || file, ', ' || arguments);
    RETURN NEXT 'begins';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN NEXT sqlstate || ': ' || replace(message, (SELECT path FROM folder) || '/', '');
    -- What the server says more of a function that is not there depends on its version.
    RETURN QUERY SELECT 'detail: ' || detail WHERE detail <> '' AND sqlstate <> '42883'
       UNION ALL SELECT 'hint: ' || hint WHERE hint <> '' AND sqlstate <> '42883';
END
$$;

-- The path.
SELECT ml_import(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT ml_import('');
\echo :LAST_ERROR_SQLSTATE
SELECT ml_import('movies.csv');
\echo :LAST_ERROR_SQLSTATE
SELECT ml_import('../data/movies.csv');
SELECT refusal('movies.csv');
\! mkdir "$D/movies.csv"
SELECT refusal('movies.csv');
\! rmdir "$D/movies.csv"
\! mkfifo "$D/movies.csv"
SELECT refusal('movies.csv');
\! rm "$D/movies.csv"
\! ln -s nowhere.csv "$D/movies.csv"
SELECT refusal('movies.csv');
\! rm "$D/movies.csv"
SELECT ml_import('/dev/null');
\echo :LAST_ERROR_SQLSTATE
\! printf 'movieId,title,genres\n1,Heat,Crime\n' > "$D/movies.csv"
\! chmod 0 "$D/movies.csv"
SELECT refusal('movies.csv');
\! chmod 644 "$D/movies.csv"
SELECT refusal('movies.csv/movies.csv');

-- The table. That of an unknown name has to be given.
\! printf 'a,b\n1,2\n' > "$D/things.csv"
SELECT refusal('things.csv');
CREATE TABLE things (a integer, b text);
SELECT refusal('things.csv');
SELECT ml_import('/things.csv', 'nowhere');
\echo :LAST_ERROR_SQLSTATE
SELECT refusal('things.csv', $$4294967295$$);
CREATE VIEW thing_view AS TABLE things;
CREATE MATERIALIZED VIEW thing_matview AS TABLE things;
CREATE SEQUENCE thing_sequence;
CREATE INDEX thing_index ON things (a);
CREATE TYPE thing_type AS (a integer, b text);
CREATE TEMPORARY TABLE thing_temporary (LIKE things);
CREATE FOREIGN DATA WRAPPER thing_wrapper;
CREATE SERVER thing_server FOREIGN DATA WRAPPER thing_wrapper;
CREATE FOREIGN TABLE thing_foreign (a integer, b text) SERVER thing_server;
SELECT refusal('things.csv', $$'thing_view'$$);
SELECT refusal('things.csv', $$'thing_matview'$$);
SELECT refusal('things.csv', $$'thing_sequence'$$);
SELECT refusal('things.csv', $$'thing_index'$$);
SELECT refusal('things.csv', $$'thing_type'$$);
SELECT refusal('things.csv', $$'thing_temporary'$$);
SELECT refusal('things.csv', $$'thing_foreign'$$);
SELECT refusal('things.csv', $$'pg_class'$$);
SELECT refusal('things.csv', $$'uploaded_files'$$);
SELECT refusal('things.csv', $$'process_chunks'$$);
SELECT refusal('things.csv', $$'rejected_rows'$$);
-- No schema to make a missing table in.
SET search_path = nowhere;
SELECT ingest.ml_import(:'dir' || '/movies.csv');
\echo :LAST_ERROR_SQLSTATE
SET search_path = lens, ingest;
-- A table that is there and should not be made: without the columns of the file it does not fit.
CREATE TABLE movies (id integer);
SELECT refusal('movies.csv');
DROP TABLE movies;

-- The header; more in the test of that name.
\! : > "$D/things.csv"
SELECT refusal('things.csv', $$'things'$$);
\! printf '\357\273\277' > "$D/things.csv"
SELECT refusal('things.csv', $$'things'$$);
\! printf 'a,c\n1,2\n' > "$D/things.csv"
SELECT refusal('things.csv', $$'things'$$);
\! printf 'a,b\n1,2\n' > "$D/things.csv"

-- The options.
SELECT refusal('things.csv', $$'things', chunk_size => 0$$);
SELECT refusal('things.csv', $$'things', chunk_size => -1$$);
SELECT refusal('things.csv', $$'things', min_chunks => 0$$);
SELECT refusal('things.csv', $$'things', min_chunks => 10001$$);
SELECT refusal('things.csv', $$'things', max_workers => -1$$);
SELECT refusal('things.csv', $$'things', max_workers => 1025$$);
SELECT refusal('things.csv', $$'things', max_retries => -1$$);
SELECT refusal('things.csv', $$'things', max_retries => 101$$);
SELECT refusal('things.csv', $$'things', format => true$$);

-- A quote that may be a part of another character of the file.
SET client_encoding = SJIS;
SELECT refusal('things.csv', $$'things', quote => '|'$$);
RESET client_encoding;

-- Where nothing can be started.
BEGIN READ ONLY;
SELECT refusal('things.csv', $$'things'$$);
ROLLBACK;
SET default_transaction_read_only = on;
SELECT refusal('things.csv', $$'things'$$);
RESET default_transaction_read_only;
CREATE TABLE guarded (path text);
CREATE FUNCTION start(path text) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT ingest.ml_import(path, 'lens.things') $$;
INSERT INTO guarded VALUES (:'dir' || '/things.csv');
\set VERBOSITY terse
CREATE INDEX ON guarded (start(path));
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY default
BEGIN;
SELECT ml_import(:'dir' || '/things.csv', 'things') IS NOT NULL;
PREPARE TRANSACTION 'import';
\echo :LAST_ERROR_SQLSTATE

-- Nothing is left of all this, nor of what would have been made for it.
SELECT count(*) FROM uploaded_files;
SELECT count(*) FROM things;
SELECT to_regclass('movies');

-- A file that has been imported already, by its path.
SELECT ml_import(:'dir' || '/things.csv', 'things') AS id \gset
SELECT status FROM ml_wait(:id);
SELECT refusal('things.csv', $$'things'$$);
SELECT refusal('../errors/./things.csv', $$'things'$$);
-- Not so into another table, with force, or when it has changed.
CREATE TABLE others (LIKE things);
SELECT ml_import(:'dir' || '/things.csv', 'others') AS id \gset
SELECT status FROM ml_wait(:id);
SELECT ml_import(:'dir' || '/things.csv', 'things', force => true) AS id \gset
SELECT status FROM ml_wait(:id);
SELECT refusal('things.csv', $$'things'$$);
\! printf 'a,b\n1,3\n' > "$D/things.csv"
SELECT ml_import(:'dir' || '/things.csv', 'things') AS id \gset
SELECT status FROM ml_wait(:id);
SELECT count(*), min(b), max(b) FROM things;

-- The same content under another path is found after planning: the import fails, nothing is loaded.
\! cp "$D/things.csv" "$D/copy.csv"
SELECT ml_import(:'dir' || '/copy.csv', 'things') AS id \gset
SELECT status, sqlstate, replace(error, :'dir', ''), row_count, success_count, error_count, skipped_count, unprocessed_count
  FROM ml_wait(:id);
SELECT count(*) FROM things;
SELECT count(*), min(status), min(attempts) FROM process_chunks WHERE uploaded_file_id = :id;
-- A failed import does not stand in the way of the next one: this one fails again for the same reason ...
SELECT ml_import(:'dir' || '/copy.csv', 'things') AS id \gset
SELECT status, sqlstate FROM ml_wait(:id);
-- ... and with force it is loaded.
SELECT ml_import(:'dir' || '/copy.csv', 'things', force => true) AS id \gset
SELECT status FROM ml_wait(:id);
-- So with a file of many chunks; a file that begins like another is not the same.
\! (echo a,b; seq -f '%g,x' 1 1000) > "$D/many.csv"
\! cp "$D/many.csv" "$D/many2.csv"
\! (echo a,b; seq -f '%g,x' 1 999; echo 1000,y) > "$D/many3.csv"
SELECT ml_import(:'dir' || '/many.csv', 'others', chunk_size => 10) AS id \gset
SELECT status FROM ml_wait(:id);
SELECT ml_import(:'dir' || '/many2.csv', 'others', chunk_size => 10) AS id \gset
SELECT status, sqlstate, success_count, unprocessed_count FROM ml_wait(:id);
SELECT ml_import(:'dir' || '/many3.csv', 'others', chunk_size => 10) AS id \gset
SELECT status, success_count FROM ml_wait(:id);

-- An error behind the call, in the same transaction, leaves nothing either.
BEGIN;
SELECT ml_import(:'dir' || '/many.csv', 'things') IS NOT NULL;
SELECT 1 / 0;
COMMIT;
SELECT count(*) FROM uploaded_files WHERE file_name = 'many.csv' AND target = 'lens.things';
SELECT count(*) FROM things WHERE a = 1000;

-- What changes between the call and the start: the import fails, and what it had not loaded is not there.
\set failed 'SELECT status, sqlstate, replace(error, :\'dir\', \'\') AS error, success_count FROM ml_wait(:id);'
CREATE TABLE changing (a integer, b text);
BEGIN;
SELECT ml_import(:'dir' || '/many.csv', 'changing') AS id \gset
ALTER TABLE changing DROP COLUMN b;
COMMIT;
:failed
BEGIN;
ALTER TABLE changing ADD COLUMN b text;
SELECT ml_import(:'dir' || '/many.csv', 'changing') AS id \gset
\! echo 1001,x >> "$D/many.csv"
COMMIT;
:failed
BEGIN;
SELECT ml_import(:'dir' || '/many.csv', 'changing') AS id \gset
\! cp "$D/many.csv" "$D/other.csv" && mv "$D/other.csv" "$D/many.csv"
COMMIT;
:failed
BEGIN;
SELECT ml_import(:'dir' || '/many.csv', 'changing') AS id \gset
\! rm "$D/many.csv"
COMMIT;
:failed
SELECT count(*) FROM changing;
BEGIN;
SELECT ml_import(:'dir' || '/many2.csv', 'changing') AS id \gset
DROP TABLE changing;
COMMIT;
SELECT status, sqlstate, success_count FROM ml_wait(:id);
-- Another name is no change.
CREATE TABLE changing (a integer, b text);
BEGIN;
SELECT ml_import(:'dir' || '/many2.csv', 'changing') AS id \gset
ALTER TABLE changing RENAME TO changed;
ALTER TABLE changed ALTER a TYPE bigint;
COMMIT;
SELECT status, sqlstate, success_count FROM ml_wait(:id);
SELECT count(*) FROM changed;

\! rm -r "$D"
SET client_min_messages = warning;
DROP SCHEMA lens CASCADE;
DROP FOREIGN DATA WRAPPER thing_wrapper CASCADE;
DROP EXTENSION movielens_ingest;
DROP SCHEMA ingest;
