-- CALL ml_load: what it shows, its error when a file did not complete, and where it cannot be called.
CREATE SCHEMA ingest;
CREATE EXTENSION movielens_ingest SCHEMA ingest;
CREATE SCHEMA lens;
SET search_path = lens, ingest;
\pset format unaligned
\pset tuples_only on
\getenv dir PG_ABS_BUILDDIR
\set dir :dir /results/load
\setenv D :dir
\! mkdir -p "$D/set" "$D/empty"
\set movies :dir /set/movies.csv

-- Calls come from another session, so that what varies in their messages can be masked: the place of the test, lines of
-- progress, which there are only if the call takes longer than a second, seconds and speeds with their columns' widths.
\setenv PGHOST :HOST
\setenv PGPORT :PORT
\setenv PGUSER :USER
\setenv PGDATABASE :DBNAME
\setenv PGOPTIONS '-c search_path=lens,ingest'
\set psql `readlink /proc/$PPID/exe`
\setenv PSQL :psql
\! printf '%s\n' '{ cat; printf "%s\n" "\\echo :LAST_ERROR_SQLSTATE"; } | "$PSQL" -XAtq 2>&1 | sed -E -f "$D/mask"' > "$D/run"
\! printf '%s\n' "s|$D/?||g" '/^INFO:  .* \[[#-]{20}\] /d' 's/ +[0-9,]+\.[0-9]{2}  +[0-9,]+  (Completed|Failed|Cancelled)/  S.SS  R  \1/' 's/  +/  /g; s/-{4,}/----/g' > "$D/mask"

\! printf 'movieId,title,genres\n1,Heat,Crime\n2,Alien,Horror\n' > "$D/set/movies.csv"
\! printf 'movieId,imdbId,tmdbId\n1,0114709,862\n2,0113497,\n' > "$D/set/links.csv"
\! (echo userId,movieId,rating,timestamp; seq -f '1,%g,3.5,1112486027' 2 8) > "$D/set/ratings.csv"
\! printf 'userId,movieId,tag,timestamp\n15,1,"dark, hero",1368150078\n15,2,a,b,c\n' > "$D/set/tags.csv"
\! printf 'movieId,tagId,relevance\n1,1,0.025\n' > "$D/set/genome-scores.csv"
\! printf 'tagId,tag\n1,007\n' > "$D/set/genome-tags.csv"

-- A file: its table is made, it is loaded, and the summary says so.
\! echo "CALL ml_load('$D/set/movies.csv');" | sh "$D/run"
SELECT * FROM movies ORDER BY movieid;
SELECT id, file_name, status, success_count FROM uploaded_files;
-- Once more only with force; into the table that is named.
\! echo "CALL ml_load('$D/set/movies.csv');" | sh "$D/run" | grep -v DETAIL
CREATE TABLE films (LIKE movies);
\! echo "CALL ml_load('$D/set/movies.csv', 'films', chunk_size => 1, min_chunks => 1, max_workers => 2, max_retries => 0, force => true);" | sh "$D/run"
SELECT count(*), count(DISTINCT movieid) FROM films;
SELECT options, target FROM uploaded_files ORDER BY id DESC LIMIT 1;
-- The key of each record is there already: refused records are no error.
\! echo "CALL ml_load('$D/set/movies.csv', strict => true, force => true);" | sh "$D/run"

-- A directory: the files in the order of the call, the reasons of the first five refused records, and how many more.
\! echo "CALL ml_load('$D/set', force => true);" | sh "$D/run"
SELECT count(*) FROM ratings;
-- Missing files.
\! rm "$D/set/movies.csv" "$D/set/ratings.csv" "$D/set/tags.csv" "$D/set/genome-scores.csv"
\! echo "CALL ml_load('$D/set', force => true);" | sh "$D/run"
\! echo "CALL ml_load('$D/set', strict => true, force => true);" | sh "$D/run"
\! echo "CALL ml_load('$D/empty');" | sh "$D/run"

-- A file that fails: the summary first, then an error with the SQLSTATE of the file's own.
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no % today', TG_TABLE_NAME USING ERRCODE = 'P0042'; END$$;
CREATE TRIGGER refuse BEFORE INSERT ON links EXECUTE FUNCTION refuse();
\! echo "CALL ml_load('$D/set/links.csv', force => true);" | sh "$D/run"
SELECT max(id) AS id FROM uploaded_files \gset
-- The call that the hint names.
ALTER TABLE links DISABLE TRIGGER refuse;
SELECT ml_resume(:id);
SELECT status, success_count, sqlstate, error FROM ml_wait(:id);
ALTER TABLE links ENABLE TRIGGER refuse;
-- Of several files: the first that failed, and how many.
\! echo "CALL ml_load('$D/set', force => true);" | sh "$D/run"
CREATE TRIGGER refuse BEFORE INSERT ON genome_tags EXECUTE FUNCTION refuse();
\! echo "CALL ml_load('$D/set', force => true);" | sh "$D/run"
-- A script stops there, and psql says so.
\! printf '%s\n' "CALL ml_load('$D/set/links.csv', force => true);" 'SELECT 1;' > "$D/script"
\! "$PSQL" -XAtq -v ON_ERROR_STOP=1 -f "$D/script" >"$D/output" 2>&1; echo $?; grep -c '^1$' "$D/output"
\! "$PSQL" -XAtq -v ON_ERROR_STOP=1 -c "CALL ml_load('$D/set/links.csv', force => true)" >"$D/output" 2>&1; echo $?
-- What is refused before anything begins.
\! echo "CALL ml_load('$D/nowhere.csv');" | sh "$D/run"
\! echo "CALL ml_load('$D/nowhere');" | sh "$D/run"
\! echo "CALL ml_load('$D/set/links.csv/movies.csv');" | sh "$D/run"
\! echo "CALL ml_load('$D/script');" | sh "$D/run"
\! echo "CALL ml_load('$D/set', 'films', force => true);" | sh "$D/run"
\! echo "CALL ml_load('$D/empty', target => 'films');" | sh "$D/run"
\! echo "CALL ml_load('$D/set/links.csv', force => true, chunk_size => 0);" | sh "$D/run"
CALL ml_load(NULL);
\echo :LAST_ERROR_SQLSTATE
CALL ml_load('');
\echo :LAST_ERROR_SQLSTATE
CALL ml_load('movies.csv');
\echo :LAST_ERROR_SQLSTATE
CALL ml_load('/dev/null');
\echo :LAST_ERROR_SQLSTATE
CALL ml_load('/links.csv', 'nowhere');
\echo :LAST_ERROR_SQLSTATE
SELECT ml_load('/dev/null');
\echo :LAST_ERROR_SQLSTATE
SET default_transaction_read_only = on;
CALL ml_load('/dev/null');
\echo :LAST_ERROR_SQLSTATE
RESET default_transaction_read_only;
CREATE ROLE regress_ingest_other;
GRANT USAGE ON SCHEMA ingest, lens TO regress_ingest_other;
SET ROLE regress_ingest_other;
CALL ml_load('/dev/null');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
-- A role that may: its own imports, in tables that it may insert into.
GRANT pg_read_server_files TO regress_ingest_other;
GRANT INSERT ON films TO regress_ingest_other;
\! printf 'movieId,title,genres\n1,Heat,Crime\n2,Alien\n' > "$D/set/movies.csv"
\! echo "SET ROLE regress_ingest_other; CALL ml_load('$D/set/movies.csv', 'films');" | sh "$D/run"
\! echo "SET ROLE regress_ingest_other; CALL ml_load('$D/set/movies.csv', 'movies');" | sh "$D/run"
SELECT owner_name, status FROM uploaded_files ORDER BY id DESC LIMIT 1;

-- Inside a transaction block it cannot commit, and so not wait.
SELECT count(*) AS before FROM uploaded_files \gset
BEGIN;
CALL ml_load(:'movies', 'films', force => true);
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
\set AUTOCOMMIT off
CALL ml_load(:'movies', 'films', force => true);
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
\set AUTOCOMMIT on
-- So in a function, in a procedure of SQL, in a block that catches exceptions, and of an atomic caller.
\set VERBOSITY terse
CREATE FUNCTION load_function(path text) RETURNS void LANGUAGE plpgsql AS $$BEGIN CALL ml_load(path, 'films', force => true); END$$;
SELECT load_function(:'movies');
\echo :LAST_ERROR_SQLSTATE
CREATE PROCEDURE load_sql(path text) LANGUAGE sql AS $$CALL ml_load(path, 'films', force => true)$$;
CALL load_sql(:'movies');
\echo :LAST_ERROR_SQLSTATE
CREATE PROCEDURE load_caught(path text) LANGUAGE plpgsql AS $$
BEGIN
    CALL ml_load(path, 'films', force => true);
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE '% %', sqlstate, sqlerrm;
END
$$;
CALL load_caught(:'movies');
CREATE PROCEDURE load_twice(path text) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 2 LOOP
        CALL ml_load(path, 'films', force => true);
        RAISE NOTICE 'loaded';
    END LOOP;
END
$$;
BEGIN;
CALL load_twice(:'movies');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
ALTER PROCEDURE load_twice(text) SET work_mem = '1MB';
CALL load_twice(:'movies');
\echo :LAST_ERROR_SQLSTATE
ALTER PROCEDURE load_twice(text) RESET ALL;
\set VERBOSITY default
SELECT count(*) = :before AS nothing_new FROM uploaded_files;
-- A procedure that may commit can call it, a DO block too, as often as it likes.
\! echo "CALL load_twice('$D/set/movies.csv');" | sh "$D/run"
\! printf '%s\n' "DO \$\$BEGIN CALL load_twice('$D/set/movies.csv'); RAISE NOTICE 'both'; END\$\$;" | sh "$D/run"
SELECT count(*) - :before AS new FROM uploaded_files;
SELECT DISTINCT status FROM (SELECT * FROM uploaded_files ORDER BY id DESC LIMIT 4) f;

-- The summary: columns as wide as they have to be, the reasons, an import that was never begun.
SELECT min(f.id) AS a FROM uploaded_files f JOIN rejected_rows r ON r.uploaded_file_id = f.id WHERE file_name = 'ratings.csv' \gset
SELECT max(id) AS b FROM uploaded_files WHERE status = 'Failed' \gset
SELECT max(id) AS c FROM uploaded_files WHERE file_name = 'genome-scores.csv' \gset
UPDATE uploaded_files SET row_count = 12345678 + error_count, success_count = 12345678, unprocessed_count = 0, processing_duration = '1 hour 1 ms' WHERE id = :a;
UPDATE uploaded_files SET processing_duration = NULL, start_time = NULL WHERE id = :b;
UPDATE uploaded_files SET processing_duration = '0' WHERE id = :c;
SELECT '|' || l || '|' FROM unnest(_summary_lines(ARRAY[:a, :b, :c])) l;
SELECT '|' || l || '|' FROM unnest(_summary_lines(ARRAY[:c])) l;
-- One that has ended has no line of progress.
SELECT _progress_lines(ARRAY[:a]) IS NULL;

-- A line of progress, of an import that a trigger holds up for as long as this session has an advisory lock.
\! (echo movieId,title,genres; seq -f '%g,a,b' 1 3000) > "$D/set/movies.csv"
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN NEW; END$$;
CREATE TRIGGER hold BEFORE INSERT ON films FOR EACH ROW WHEN (NEW.movieid = 2001) EXECUTE FUNCTION hold();
CREATE PROCEDURE held() LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 6000 LOOP
        EXIT WHEN EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted);
        PERFORM pg_sleep(0.01);
    END LOOP;
END
$$;
SELECT pg_advisory_lock(4711);
SELECT ml_import(:'movies', 'films', max_workers => 1, chunk_size => 1000, min_chunks => 1, force => true) AS id \gset
CALL held();
SELECT '|' || regexp_replace(l, '  [0-9,]+/s  .* left', '  R/s  TIME left') || '|' FROM unnest(_progress_lines(ARRAY[:id])) l;
SELECT pg_advisory_unlock(4711);
SELECT status, success_count FROM ml_wait(:id);
-- In the call itself there is one a second.
SELECT pg_advisory_lock(4711);
\! echo "CALL ml_load('$D/set/movies.csv', 'films', force => true);" | "$PSQL" -XAtq >"$D/output" 2>&1 &
CALL held();
\! for i in $(seq 600); do grep -q 'of 3,000 rows' "$D/output" && break; sleep 0.1; done
SELECT pg_advisory_unlock(4711);
\! for i in $(seq 600); do grep -q 'Completed$' "$D/output" && break; sleep 0.1; done
\! sed -E -n -e 's/\[[#-]{20}\] [0-9.]+ %  [0-9,]+ of/BAR P %  N of/' -e 's|  [0-9,]+/s  .* left|  R/s  TIME left|' -e '/of 3,000 rows/p' "$D/output" | sort -u

\! rm -r "$D"
SET client_min_messages = warning;
DROP SCHEMA lens CASCADE;
DROP EXTENSION movielens_ingest;
DROP SCHEMA ingest;
DROP ROLE regress_ingest_other;
