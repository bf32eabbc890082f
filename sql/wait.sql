-- ml_wait() returns the row of an import when it has ended, or when its time is over.
CREATE SCHEMA ingest;
CREATE EXTENSION movielens_ingest SCHEMA ingest;
CREATE SCHEMA lens;
SET search_path = lens, ingest;
\getenv dir PG_ABS_BUILDDIR
\set dir :dir /results/wait
\setenv D :dir
\! mkdir -p "$D"
\! printf 'a\n1\n2\n3\n' > "$D/numbers.csv"
\set file :dir /numbers.csv

-- A trigger holds the import up for as long as this session has an advisory lock.
CREATE TABLE numbers (a integer);
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(4711);
    RETURN NULL;
END
$$;
CREATE TRIGGER hold BEFORE INSERT ON numbers FOR EACH STATEMENT EXECUTE FUNCTION hold();
-- Waits until the trigger does.
CREATE PROCEDURE held() LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 6000 LOOP
        EXIT WHEN EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted);
        PERFORM pg_sleep(0.01);
    END LOOP;
END
$$;

-- It ends: its row, as often as one asks.
SELECT ml_import(:'file', 'numbers') AS id \gset
SELECT id = :id AS id, file_name, status, row_count, success_count, unprocessed_count FROM ml_wait(:id);
SELECT pg_typeof(ml_wait(:id));
SELECT ml_wait(:id) = f AS same FROM uploaded_files f;
SELECT status FROM ml_wait(:id, '0');
SELECT status FROM ml_wait(id => :id, timeout => '1 hour');
SELECT status FROM ml_wait(:id, NULL);
BEGIN READ ONLY;
SELECT status FROM ml_wait(:id);
COMMIT;

-- Ids that are none.
SELECT ml_wait(4711);
\echo :LAST_ERROR_SQLSTATE
SELECT ml_wait(-1);
\echo :LAST_ERROR_SQLSTATE
SELECT ml_wait(NULL);
\echo :LAST_ERROR_SQLSTATE
-- An import that this role may not see does not exist either.
CREATE ROLE regress_ingest_other;
GRANT USAGE ON SCHEMA ingest TO regress_ingest_other;
SET ROLE regress_ingest_other;
SELECT ml_wait(:id);
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;

-- In the transaction that made the import it would wait for itself.
SELECT ml_wait(ml_import(:'file', 'numbers', force => true));
\echo :LAST_ERROR_SQLSTATE
BEGIN;
SELECT ml_import(:'file', 'numbers', force => true) AS new \gset
SAVEPOINT s;
SELECT ml_wait(:new);
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO s;
SELECT ml_wait(:new, '0');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO s;
SELECT status FROM ml_wait(:id);
ROLLBACK;
SELECT ml_wait(:new);
\echo :LAST_ERROR_SQLSTATE

-- While it runs: the row as it stands when the time is over.
SELECT pg_advisory_lock(4711);
-- It is this session that looks for a deadlock below, not the import.
SET deadlock_timeout = '1h';
SELECT ml_import(:'file', 'numbers', max_workers => 1, force => true) AS id \gset
SELECT status FROM ml_wait(:id, '0');
CALL held();
SELECT status, row_count, success_count, unprocessed_count FROM ml_wait(:id, '0');
SELECT clock_timestamp() AS before \gset
SELECT status, row_count, unprocessed_count FROM ml_wait(:id, '0.2 seconds');
SELECT clock_timestamp() - :'before'::timestamptz BETWEEN '0.2 seconds' AND '30 seconds' AS waited;
-- A time below a millisecond, and no time at all.
SELECT status FROM ml_wait(:id, '1 microsecond');
SELECT status FROM ml_wait(:id, '-0 seconds');
SELECT ml_wait(:id, '-1 second');
\echo :LAST_ERROR_SQLSTATE
SELECT ml_wait(:id, '1 day -25 hours');
\echo :LAST_ERROR_SQLSTATE
-- The session's lock_timeout is not that of the wait.
SET lock_timeout = '1ms';
SELECT status FROM ml_wait(:id, '0.1 seconds');
RESET lock_timeout;
-- A wait can be cancelled, however long; the import goes on.
-- From 19 on the server says which lock it waited for.
\set SHOW_CONTEXT never
SET statement_timeout = '100ms';
SELECT ml_wait(:id);
\echo :LAST_ERROR_SQLSTATE
SELECT ml_wait(:id, '1000 years');
\echo :LAST_ERROR_SQLSTATE
RESET statement_timeout;
\set SHOW_CONTEXT errors
-- A wait for an import that waits for this session is a deadlock, and is noticed.
SET deadlock_timeout = '50ms';
\set VERBOSITY sqlstate
SELECT ml_wait(:id);
\set VERBOSITY default
RESET deadlock_timeout;
SELECT status FROM ml_wait(:id, '0');

-- In a transaction with an older snapshot it returns the end all the same.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT status FROM uploaded_files WHERE id = :id;
SELECT pg_advisory_unlock(4711);
SELECT status, success_count, unprocessed_count FROM ml_wait(:id);
SELECT status FROM uploaded_files WHERE id = :id;
COMMIT;
SELECT status FROM uploaded_files WHERE id = :id;

-- Its leader is gone: an error, at once, and what is in the ledger stays.
SELECT pg_advisory_lock(4711);
SELECT ml_import(:'file', 'numbers', max_workers => 1, force => true) AS id \gset
CALL held();
SELECT backend_type, pg_terminate_backend(pid, 60000) FROM pg_stat_activity
 WHERE datname = current_database() AND backend_type LIKE 'movielens_ingest%';
SELECT ml_wait(:id);
\echo :LAST_ERROR_SQLSTATE
SELECT status, row_count, success_count, unprocessed_count FROM ml_wait(:id, '0');
SELECT pg_advisory_unlock(4711);
SELECT status, attempts FROM process_chunks WHERE uploaded_file_id = :id ORDER BY chunk_number;
SELECT count(*) FROM numbers;

-- The file of an import that has not ended: the hint leads to that import, and not to loading its rows twice.
CREATE TABLE more (a integer);
CREATE TRIGGER hold BEFORE INSERT ON more FOR EACH STATEMENT EXECUTE FUNCTION hold();
SELECT pg_advisory_lock(4711);
SELECT ml_import(:'file', 'more', max_workers => 1) AS id \gset
CALL held();
DO $$
DECLARE
    detail text;
    hint text;
BEGIN
    PERFORM ml_import(file_path, 'more') FROM uploaded_files ORDER BY id DESC LIMIT 1;
EXCEPTION WHEN duplicate_object THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    CREATE TEMPORARY TABLE refused AS SELECT SQLERRM AS message, detail, hint;
END
$$;
SELECT replace(message, :'dir' || '/', '') AS message, detail, hint FROM refused;
SELECT ml_cancel(:id);
SELECT pg_advisory_unlock(4711);
SELECT status FROM ml_wait(:id);
-- Its table is dropped: one of the same name is another.
DROP TABLE more;
CREATE TABLE more (a integer);
SELECT ml_resume(:id);

\! rm -r "$D"
SET client_min_messages = warning;
DROP SCHEMA lens CASCADE;
DROP EXTENSION movielens_ingest;
DROP SCHEMA ingest;
DROP ROLE regress_ingest_other;
