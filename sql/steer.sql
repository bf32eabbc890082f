-- ml_cancel, ml_resume and ml_progress: arguments, errors, who may, and the messages that a session hears which listens.
CREATE SCHEMA ingest;
CREATE EXTENSION movielens_ingest SCHEMA ingest;
CREATE SCHEMA lens;
SET search_path = lens, ingest;
\pset format unaligned
\pset tuples_only on
\pset null -
\getenv dir PG_ABS_BUILDDIR
\set dir :dir /results/steer
\setenv D :dir
\! mkdir -p "$D"
\! (echo a; seq 1 30) > "$D/numbers.csv"
\set file :dir /numbers.csv

-- A trigger holds the import up, behind its first chunks, for as long as this session has an advisory lock.
CREATE TABLE numbers (a integer);
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(4711);
    RETURN NEW;
END
$$;
CREATE TRIGGER hold BEFORE INSERT ON numbers FOR EACH ROW WHEN (NEW.a > 10) EXECUTE FUNCTION hold();
-- Waits until the trigger does.
CREATE PROCEDURE held() LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 6000 LOOP
        EXIT WHEN EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted);
        PERFORM pg_sleep(0.01);
    END LOOP;
END
$$;
\set begin 'SELECT pg_advisory_lock(4711); SELECT ml_import(:\'file\', \'numbers\', chunk_size => 10, min_chunks => 1, max_workers => 1, force => true) AS id \\gset \\\\ CALL held();'
\set row 'SELECT status, row_count, success_count, unprocessed_count, sqlstate, error FROM ml_wait(:id);'
CREATE ROLE regress_ingest_owner;
CREATE ROLE regress_ingest_member IN ROLE regress_ingest_owner;
CREATE ROLE regress_ingest_monitor;
CREATE ROLE regress_ingest_signaller;
CREATE ROLE regress_ingest_other;
GRANT pg_monitor TO regress_ingest_monitor;
GRANT pg_signal_backend TO regress_ingest_signaller;
GRANT pg_read_server_files TO regress_ingest_owner, regress_ingest_monitor, regress_ingest_other;
GRANT USAGE ON SCHEMA ingest, lens TO PUBLIC;
GRANT INSERT ON numbers TO regress_ingest_owner;

-- Ids that are none.
SELECT ml_cancel(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT ml_cancel(4711);
\echo :LAST_ERROR_SQLSTATE
SELECT ml_cancel(-1);
\echo :LAST_ERROR_SQLSTATE
SELECT ml_resume(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT ml_resume(4711);
\echo :LAST_ERROR_SQLSTATE
SELECT ml_resume(-1);
\echo :LAST_ERROR_SQLSTATE

-- Nothing runs: nothing to see.
SELECT * FROM ml_progress;
SELECT attname, format_type(atttypid, atttypmod), col_description(attrelid, attnum) FROM pg_attribute
 WHERE attrelid = 'ml_progress'::regclass AND attnum > 0 ORDER BY attnum;
SELECT grantee::regrole, privilege_type FROM pg_class, aclexplode(relacl) WHERE oid = 'ml_progress'::regclass AND grantee <> relowner;
UPDATE ml_progress SET phase = 'done';
\echo :LAST_ERROR_SQLSTATE

-- In the transaction that made the import it has not begun.
BEGIN;
SELECT ml_import(:'file', 'numbers') AS id \gset
SAVEPOINT s;
SELECT ml_cancel(:id);
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO s;
SELECT ml_resume(:id);
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO s;
SELECT phase, rows_done, rows_total, percent, workers, resume FROM ml_progress;
ROLLBACK;
SELECT ml_cancel(:id);
\echo :LAST_ERROR_SQLSTATE

-- It runs: it is shown, and to nobody but its owner and pg_monitor.
:begin
SELECT file_name, target, dataset_id = id, phase, rows_done, rows_total, bytes_done, bytes_total, percent, workers, chunks_done, chunks_failed,
       chunks_total, retries, rejects, bar, resume, rows_per_second >= 0, average_rows_per_second >= 0, time_left > '0' FROM ml_progress;
SET ROLE regress_ingest_monitor;
SELECT id = :id, phase FROM ml_progress;
SET ROLE regress_ingest_signaller;
SELECT count(*) FROM ml_progress;
SET ROLE regress_ingest_other;
SELECT count(*) FROM ml_progress;
SELECT count(*) FROM _live_imports();
RESET ROLE;
-- It need not be resumed, and others may not cancel it: whoever may not see it does not learn that it is there.
SELECT ml_resume(:id);
SET ROLE regress_ingest_other;
SELECT ml_cancel(:id);
\echo :LAST_ERROR_SQLSTATE
SELECT ml_resume(:id);
\echo :LAST_ERROR_SQLSTATE
SET ROLE regress_ingest_signaller;
SELECT ml_cancel(:id);
\echo :LAST_ERROR_SQLSTATE
SELECT ml_resume(:id);
\echo :LAST_ERROR_SQLSTATE
SET ROLE regress_ingest_monitor;
SELECT ml_cancel(:id);
\echo :LAST_ERROR_SQLSTATE
SELECT ml_resume(:id);
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
-- Cancelled: what is committed stays.
SELECT ml_cancel(:id);
:row
SELECT chunk_number, status, attempts, crashes, success_count FROM process_chunks WHERE uploaded_file_id = :id ORDER BY chunk_number;
SELECT count(*) FROM numbers;
SELECT count(*) FROM ml_progress;
SELECT ml_cancel(:id);
SET ROLE regress_ingest_monitor;
SELECT ml_cancel(:id);
\echo :LAST_ERROR_SQLSTATE
SELECT ml_resume(:id);
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;

-- Resumed: not where nothing can be started; not if that is rolled back.
BEGIN READ ONLY;
SELECT ml_resume(:id);
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN;
SELECT ml_resume(:id);
SELECT status FROM uploaded_files WHERE id = :id;
SELECT ml_wait(:id);
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
SELECT status, sqlstate FROM uploaded_files WHERE id = :id;
BEGIN;
SELECT ml_resume(:id);
PREPARE TRANSACTION 'resume';
\echo :LAST_ERROR_SQLSTATE
-- The table must be the one that it was.
ALTER TABLE numbers RENAME TO others;
SELECT ml_resume(:id);
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE others RENAME TO numbers;
-- So must the file.
\! mv "$D/numbers.csv" "$D/aside.csv"
CREATE FUNCTION refusal(id bigint, place text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    message text;
    detail text;
    hint text;
BEGIN
    PERFORM ml_resume(id);
    RETURN NEXT 'begins';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN NEXT sqlstate || ': ' || replace(message, place || '/', '');
    RETURN QUERY SELECT 'detail: ' || detail WHERE detail <> '' UNION ALL SELECT 'hint: ' || hint WHERE hint <> '';
END
$$;
SELECT refusal(:id, :'dir');
\! (echo a; seq 1 31) > "$D/numbers.csv"
SELECT refusal(:id, :'dir');
\! sed 's/^30$/31/' "$D/aside.csv" > "$D/numbers.csv"
SELECT refusal(:id, :'dir');
\! mkdir "$D/numbers" && mv "$D/numbers.csv" "$D/numbers" && mv "$D/numbers" "$D/numbers.csv"
SELECT refusal(:id, :'dir');
\! rm -r "$D/numbers.csv"
SELECT status, sqlstate FROM uploaded_files WHERE id = :id;
-- A copy will do, and only of what is not loaded yet.
\! sed 's/^1$/9/' "$D/aside.csv" > "$D/numbers.csv"
SELECT pg_advisory_unlock(4711);
SELECT ml_resume(:id);
:row
SELECT count(*), count(DISTINCT a), sum(a) FROM numbers;
\! mv "$D/aside.csv" "$D/numbers.csv"
-- It is complete: neither has anything left to do.
SELECT ml_resume(:id), ml_cancel(:id);
SELECT status FROM uploaded_files WHERE id = :id;

-- One that failed: the chunks that failed begin anew, those that are Completed stay.
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = '55P03'; END$$;
CREATE TRIGGER refuse BEFORE INSERT ON numbers FOR EACH ROW WHEN (NEW.a BETWEEN 11 AND 20) EXECUTE FUNCTION refuse();
SELECT ml_import(:'file', 'numbers', chunk_size => 10, min_chunks => 1, max_retries => 0, force => true) AS id \gset
:row
SELECT chunk_number, status, attempts, ended IS NOT NULL, sqlstate, errors FROM process_chunks WHERE uploaded_file_id = :id ORDER BY chunk_number;
SELECT ml_cancel(:id);
SELECT ml_resume(:id);
:row
DROP TRIGGER refuse ON numbers;
SELECT ml_resume(:id);
:row
SELECT chunk_number, status, attempts, ended IS NOT NULL, crashes FROM process_chunks WHERE uploaded_file_id = :id ORDER BY chunk_number;

-- One whose processes are gone: it is interrupted, and ml_progress has the call that resumes it.
:begin
SELECT DISTINCT backend_type, pg_terminate_backend(pid, 60000) FROM pg_stat_activity
 WHERE datname = current_database() AND backend_type LIKE 'movielens_ingest%';
SELECT phase, rows_done, rows_total, percent, rows_per_second, time_left, workers, chunks_done, chunks_total, bar,
       replace(resume, :'id', 'ID') FROM ml_progress;
SELECT pg_advisory_unlock(4711);
SELECT resume FROM ml_progress \gset
:resume;
:row
SELECT count(*) FROM ml_progress;
-- Cancelled, which may be rolled back as long as no process has to be told; not in a read-only transaction.
:begin
SELECT count(pg_terminate_backend(pid, 60000)) > 0 FROM pg_stat_activity
 WHERE datname = current_database() AND backend_type LIKE 'movielens_ingest%';
SELECT pg_advisory_unlock(4711);
BEGIN;
SELECT ml_cancel(:id);
ROLLBACK;
SELECT phase FROM ml_progress;
BEGIN READ ONLY;
SELECT ml_cancel(:id);
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
SELECT ml_cancel(:id);
:row

-- Another role's: its member may cancel it, and pg_signal_backend, for the owner is no superuser. It resumes it itself, or
-- a superuser does, and it runs as its owner.
SELECT pg_advisory_lock(4711);
SET ROLE regress_ingest_owner;
SET client_min_messages = warning;
SELECT ml_import(:'file', 'numbers', chunk_size => 10, min_chunks => 1, max_workers => 1, force => true) AS id \gset
RESET client_min_messages;
RESET ROLE;
CALL held();
SET ROLE regress_ingest_member;
SELECT ml_cancel(:id);
RESET ROLE;
:row
SET ROLE regress_ingest_owner;
SELECT ml_resume(:id);
SELECT count(*) FROM ml_progress;
RESET ROLE;
CALL held();
SET ROLE regress_ingest_signaller;
SELECT ml_cancel(:id);
RESET ROLE;
:row
-- A role that reads files, but not this import, and one that sees it: no.
SET ROLE regress_ingest_other;
SELECT ml_resume(:id);
\echo :LAST_ERROR_SQLSTATE
SET ROLE regress_ingest_monitor;
SELECT ml_resume(:id);
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
SELECT pg_advisory_unlock(4711);
CREATE TABLE runs AS SELECT 'nobody' AS role;
GRANT INSERT ON runs TO PUBLIC;
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO runs VALUES (current_user); RETURN NULL; END$$;
CREATE TRIGGER note BEFORE INSERT ON numbers EXECUTE FUNCTION note();
SELECT ml_resume(:id);
:row
SELECT DISTINCT role FROM runs ORDER BY role;
SELECT owner_name FROM uploaded_files WHERE id = :id;
DROP TRIGGER note ON numbers;
-- A role that is gone has nobody to run as; a superuser may still cancel.
SELECT pg_advisory_lock(4711);
SET ROLE regress_ingest_owner;
SET client_min_messages = warning;
SELECT ml_import(:'file', 'numbers', chunk_size => 10, min_chunks => 1, max_workers => 1, force => true) AS id \gset
RESET client_min_messages;
RESET ROLE;
CALL held();
SELECT count(pg_terminate_backend(pid, 60000)) > 0 FROM pg_stat_activity
 WHERE datname = current_database() AND backend_type LIKE 'movielens_ingest%';
SELECT pg_advisory_unlock(4711);
DROP OWNED BY regress_ingest_owner;
DROP ROLE regress_ingest_owner;
SELECT ml_resume(:id);
\echo :LAST_ERROR_SQLSTATE
SET ROLE regress_ingest_signaller;
SELECT ml_cancel(:id);
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
SELECT ml_cancel(:id);
:row

-- Of a data set all files are resumed that are not complete, by the id of any; not while one of them runs.
\! mkdir "$D/set"
\! (echo movieId,title,genres; seq -f '%g,title,genres' 1 30) > "$D/set/movies.csv"
\! printf 'tagId,tag\n1,007\n' > "$D/set/genome-tags.csv"
CREATE TABLE movies (movieid integer, title text, genres text);
CREATE TABLE genome_tags (tagid integer, tag text);
CREATE TRIGGER hold BEFORE INSERT ON movies FOR EACH ROW WHEN (NEW.movieid > 10) EXECUTE FUNCTION hold();
CREATE TRIGGER hold BEFORE INSERT ON genome_tags FOR EACH ROW EXECUTE FUNCTION hold();
SET client_min_messages = warning;
SELECT pg_advisory_lock(4711);
SELECT min(id) AS movies, max(id) AS tags FROM ml_import_dataset(:'dir' || '/set', chunk_size => 10, min_chunks => 1, max_workers => 1) \gset
RESET client_min_messages;
CALL held();
SELECT ml_cancel(:tags);
SELECT status FROM ml_wait(:tags);
CALL held();
SELECT ml_resume(:tags);
\echo :LAST_ERROR_SQLSTATE
SELECT ml_resume(:movies);
SELECT ml_cancel(:movies);
SELECT status, success_count FROM ml_wait(:movies);
SELECT pg_advisory_unlock(4711);
SELECT ml_resume(:movies);
SELECT file_name, status, success_count FROM unnest(ARRAY[:movies, :tags]) id, ml_wait(id);
SELECT (SELECT count(*) FROM movies), (SELECT count(*) FROM genome_tags);
SELECT ml_resume(:tags);

-- What a session hears that listens, without the numbers of processes.
\setenv PGHOST :HOST
\setenv PGPORT :PORT
\setenv PGUSER :USER
\setenv PGDATABASE :DBNAME
\setenv PGOPTIONS '-c search_path=lens,ingest'
\set psql `readlink /proc/$PPID/exe`
\setenv PSQL :psql
\! printf '%s\n' '"$PSQL" -XAtq 2>&1 | sed -E "s/ PID [0-9]+/ PID N/"' > "$D/run"
SET client_min_messages = warning;
TRUNCATE uploaded_files RESTART IDENTITY CASCADE;
RESET client_min_messages;
-- Until its leader is gone: the message has been sent by then.
CREATE PROCEDURE gone() LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 6000 LOOP
        PERFORM pg_stat_clear_snapshot();
        EXIT WHEN NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND backend_type LIKE 'movielens_ingest%');
        PERFORM pg_sleep(0.01);
    END LOOP;
END
$$;
\! printf '%s\n' 'LISTEN movielens_ingest;' "SELECT ml_import('$D/numbers.csv', 'numbers');" 'SELECT status FROM ml_wait(1);' 'CALL gone();' | sh "$D/run"
ALTER TABLE numbers ADD CHECK (a < 20) NOT VALID;
\! printf '%s\n' 'LISTEN movielens_ingest;' "SELECT ml_import('$D/numbers.csv', 'numbers', force => true);" 'SELECT status FROM ml_wait(2);' 'CALL gone();' | sh "$D/run"
-- A call that is rolled back says nothing.
\! printf '%s\n' 'LISTEN movielens_ingest;' BEGIN\; "SELECT ml_import('$D/numbers.csv', 'numbers', force => true);" ROLLBACK\; 'CALL gone();' | sh "$D/run"

\! rm -r "$D"
SET client_min_messages = warning;
DROP SCHEMA lens CASCADE;
DROP EXTENSION movielens_ingest;
DROP SCHEMA ingest;
DROP ROLE regress_ingest_member;
DROP OWNED BY regress_ingest_monitor, regress_ingest_signaller, regress_ingest_other;
DROP ROLE regress_ingest_monitor;
DROP ROLE regress_ingest_signaller;
DROP ROLE regress_ingest_other;
