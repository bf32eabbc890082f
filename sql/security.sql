-- Who may import what, who sees which imports, and as whom triggers run.
CREATE SCHEMA ingest;
CREATE EXTENSION movielens_ingest SCHEMA ingest;
CREATE SCHEMA lens;
CREATE ROLE regress_ingest_alice;
CREATE ROLE regress_ingest_bob;
CREATE ROLE regress_ingest_watch IN ROLE pg_monitor;
GRANT USAGE ON SCHEMA ingest TO PUBLIC;
GRANT ALL ON SCHEMA lens TO PUBLIC;
SET search_path = lens, ingest;
\getenv dir PG_ABS_BUILDDIR
\set dir :dir /results/security
\setenv D :dir
\! mkdir -p "$D"
\! printf 'a,b\n1,x\n2,y\nthree,z\n' > "$D/things.csv"
\! printf 'a\n1\n2\n' > "$D/few.csv"
\set things :dir /things.csv
\set few :dir /few.csv
\set ended 'SELECT status, success_count, error_count, skipped_count, sqlstate, error FROM ml_wait(:id);'
CREATE TABLE things (a integer, b text);

-- Reading a file of the server takes pg_read_server_files, as for COPY; so does calling the function, unless it is granted.
SET SESSION AUTHORIZATION regress_ingest_alice;
SELECT ml_import(:'things', 'things');
\echo :LAST_ERROR_SQLSTATE
RESET SESSION AUTHORIZATION;
SELECT has_function_privilege('regress_ingest_alice', oid::regprocedure, 'EXECUTE'), oid::regprocedure AS function
  FROM pg_proc WHERE pronamespace = 'ingest'::regnamespace AND proname LIKE 'ml%' ORDER BY proname;
GRANT EXECUTE ON FUNCTION ml_import TO regress_ingest_alice;
GRANT INSERT ON things TO regress_ingest_alice;
SET SESSION AUTHORIZATION regress_ingest_alice;
SELECT ml_import('/nowhere/things.csv', 'things');
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY sqlstate
COPY things FROM :'things' (FORMAT csv, HEADER);
\set VERBOSITY default
RESET SESSION AUTHORIZATION;
REVOKE EXECUTE ON FUNCTION ml_import FROM regress_ingest_alice;
REVOKE INSERT ON things FROM regress_ingest_alice;
GRANT pg_read_server_files TO regress_ingest_alice, regress_ingest_bob;

-- INSERT on the table, or on the columns that the header names.
SET SESSION AUTHORIZATION regress_ingest_alice;
SELECT ml_import(:'things', 'things');
\echo :LAST_ERROR_SQLSTATE
RESET SESSION AUTHORIZATION;
GRANT SELECT, UPDATE, DELETE ON things TO regress_ingest_alice;
SET SESSION AUTHORIZATION regress_ingest_alice;
SELECT ml_import(:'things', 'things');
RESET SESSION AUTHORIZATION;
GRANT INSERT (a) ON things TO regress_ingest_alice;
SET SESSION AUTHORIZATION regress_ingest_alice;
SELECT ml_import(:'things', 'things');
\echo :LAST_ERROR_SQLSTATE
-- Not the owner: it cannot analyze the table, and one notice says so.
SELECT ml_import(:'few', 'things') AS id \gset
:ended
SELECT ml_import(:'few', 'things', force => true) AS id \gset
:ended
RESET SESSION AUTHORIZATION;
GRANT INSERT ON things TO regress_ingest_alice, regress_ingest_bob;
SELECT reltuples FROM pg_class WHERE oid = 'things'::regclass;

-- USAGE on the schema of the table, though its OID names none; as for COPY, which can't be called so.
CREATE SCHEMA closed;
CREATE TABLE closed.things (a integer);
GRANT INSERT ON closed.things TO regress_ingest_alice;
SELECT 'closed.things'::regclass::oid AS closed \gset
SET SESSION AUTHORIZATION regress_ingest_alice;
COPY closed.things FROM :'few' (FORMAT csv, HEADER);
SELECT ml_import(:'few', :closed);
\echo :LAST_ERROR_SQLSTATE
SELECT ml_validate(:'few', :closed);
RESET SESSION AUTHORIZATION;
-- Gone when the rows go in, and at ml_resume.
GRANT USAGE ON SCHEMA closed TO regress_ingest_alice;
BEGIN;
SET LOCAL SESSION AUTHORIZATION regress_ingest_alice;
SELECT ml_import(:'few', :closed) AS id \gset
RESET SESSION AUTHORIZATION;
REVOKE USAGE ON SCHEMA closed FROM regress_ingest_alice;
COMMIT;
:ended
SET SESSION AUTHORIZATION regress_ingest_alice;
SELECT ml_resume(:id);
RESET SESSION AUTHORIZATION;
GRANT USAGE ON SCHEMA closed TO regress_ingest_alice;
SET SESSION AUTHORIZATION regress_ingest_alice;
SELECT ml_resume(:id);
:ended
RESET SESSION AUTHORIZATION;
DROP SCHEMA closed CASCADE;

-- Of a refused row, an error shows the columns that the role inserts or may read, as with COPY.
CREATE TABLE secrets (a integer CHECK (a < 10), b text DEFAULT 'swordfish', c integer DEFAULT 42);
GRANT INSERT (a), SELECT (c) ON secrets TO regress_ingest_alice;
\! printf 'a\n11\n' > "$D/secrets.csv"
\set secrets :dir /secrets.csv
SET SESSION AUTHORIZATION regress_ingest_alice;
SET client_min_messages = warning;
SELECT ml_import(:'secrets', 'secrets') AS id \gset
:ended
SELECT sqlstate, message, detail FROM rejected_rows WHERE uploaded_file_id = :id;
COPY secrets (a) FROM :'secrets' (FORMAT csv, HEADER);
RESET client_min_messages;
RESET SESSION AUTHORIZATION;

-- A privilege that is gone when the rows go in: the import fails. (The call is committed only after that.)
BEGIN;
SET LOCAL SESSION AUTHORIZATION regress_ingest_bob;
SELECT ml_import(:'few', 'things', force => true) AS id \gset
RESET SESSION AUTHORIZATION;
REVOKE INSERT ON things FROM regress_ingest_bob;
COMMIT;
:ended
GRANT INSERT ON things TO regress_ingest_bob;
BEGIN;
SET LOCAL SESSION AUTHORIZATION regress_ingest_bob;
SELECT ml_import(:'few', 'things', force => true) AS id \gset
RESET SESSION AUTHORIZATION;
REVOKE pg_read_server_files FROM regress_ingest_bob;
COMMIT;
SELECT status, success_count, sqlstate, replace(error, :'dir', '') AS error FROM ml_wait(:id);
GRANT pg_read_server_files TO regress_ingest_bob;

-- A role sees its own imports, their chunks and what they refused; pg_monitor and superusers see all.
TRUNCATE things;
DELETE FROM uploaded_files;
SET client_min_messages = warning;
SET SESSION AUTHORIZATION regress_ingest_alice;
SELECT ml_import(:'things', 'things') AS alice \gset
SELECT status, error_count FROM ml_wait(:alice);
SET SESSION AUTHORIZATION regress_ingest_bob;
SELECT ml_import(:'few', 'things') AS bob \gset
SELECT status, error_count FROM ml_wait(:bob);
\set seen 'SELECT array_agg(file_name ORDER BY id) AS files, (SELECT count(*) FROM process_chunks) AS chunks, (SELECT count(*) FROM rejected_rows) AS rejects FROM uploaded_files;'
SET SESSION AUTHORIZATION regress_ingest_alice;
:seen
SELECT owner_name, owner_oid = 'regress_ingest_alice'::regrole AS oid FROM uploaded_files;
SELECT raw_line FROM rejected_rows;
SELECT status FROM ml_wait(:bob);
SET SESSION AUTHORIZATION regress_ingest_bob;
:seen
SELECT status FROM ml_wait(:alice);
SET SESSION AUTHORIZATION regress_ingest_watch;
:seen
SELECT status FROM ml_wait(:alice);
RESET SESSION AUTHORIZATION;
:seen
-- A file that another role has imported is refused, without a word about the import; so is one of the same content.
\! cp "$D/few.csv" "$D/copy.csv"
\set copy :dir /copy.csv
CREATE FUNCTION refusal(path text, OUT message text, OUT detail text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM ingest.ml_import(path, 'lens.things');
EXCEPTION WHEN duplicate_object THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    message := replace(message, path, 'it');
END
$$;
SET SESSION AUTHORIZATION regress_ingest_alice;
SELECT * FROM refusal(:'few');
SELECT ml_import(:'copy', 'things') AS id \gset
SELECT status, sqlstate, replace(error, :'dir', '') AS error FROM ml_wait(:id);
SET SESSION AUTHORIZATION regress_ingest_bob;
SELECT message, replace(detail, 'import ' || :'bob', 'import (bob)') AS detail FROM refusal(:'few');
SELECT ml_import(:'copy', 'things') AS id \gset
SELECT status, sqlstate, replace(replace(error, :'dir', ''), 'import ' || :'bob', 'import (bob)') AS error FROM ml_wait(:id);
RESET SESSION AUTHORIZATION;
DELETE FROM uploaded_files WHERE file_name = 'copy.csv';

-- A role is its OID: it keeps its imports when it is renamed, and a new role of its old name does not see them.
ALTER ROLE regress_ingest_alice RENAME TO regress_ingest_alicia;
CREATE ROLE regress_ingest_alice;
SET SESSION AUTHORIZATION regress_ingest_alicia;
:seen
SELECT status FROM ml_wait(:alice);
SELECT ml_resume(:alice);
SET SESSION AUTHORIZATION regress_ingest_alice;
:seen
SELECT ml_cancel(:alice);
RESET SESSION AUTHORIZATION;
SELECT ml_resume(:alice);
DROP ROLE regress_ingest_alice;
ALTER ROLE regress_ingest_alicia RENAME TO regress_ingest_alice;

-- Members of the role see them, if they inherit its privileges. They have to become it to resume one.
CREATE ROLE regress_ingest_group IN ROLE regress_ingest_alice;
CREATE ROLE regress_ingest_member IN ROLE regress_ingest_group, pg_read_server_files;
CREATE ROLE regress_ingest_stranger NOINHERIT IN ROLE regress_ingest_alice, pg_read_server_files;
SET SESSION AUTHORIZATION regress_ingest_member;
:seen
SELECT status FROM ml_wait(:alice);
SELECT ml_resume(:alice);
SET SESSION AUTHORIZATION regress_ingest_stranger;
:seen
SET ROLE regress_ingest_alice;
:seen
SELECT ml_resume(:alice);
RESET SESSION AUTHORIZATION;
DROP ROLE regress_ingest_member, regress_ingest_stranger, regress_ingest_group;

-- pg_monitor does not bring USAGE on the schema.
REVOKE USAGE ON SCHEMA ingest FROM PUBLIC;
SET SESSION AUTHORIZATION regress_ingest_watch;
SELECT count(*) FROM ingest.uploaded_files;
RESET SESSION AUTHORIZATION;
GRANT USAGE ON SCHEMA ingest TO pg_monitor;
SET SESSION AUTHORIZATION regress_ingest_watch;
SELECT count(*) FROM ingest.uploaded_files;
RESET SESSION AUTHORIZATION;
REVOKE USAGE ON SCHEMA ingest FROM pg_monitor;
GRANT USAGE ON SCHEMA ingest TO PUBLIC;

-- Nobody but the extension writes the ledger, whatever is granted.
GRANT ALL ON uploaded_files, process_chunks, rejected_rows TO regress_ingest_alice;
SET SESSION AUTHORIZATION regress_ingest_alice;
INSERT INTO uploaded_files (file_name, file_path, file_size, target, options, owner_oid, owner_name, plan)
    VALUES ('x', '/x', 1, 'x', '{}', 'regress_ingest_alice'::regrole, 'regress_ingest_alice', '{}');
INSERT INTO process_chunks (uploaded_file_id, start_row, end_row, chunk_number, start_byte, end_byte, start_line, checksum)
    VALUES (:alice, 5, 6, 5, 5, 6, 5, 0);
INSERT INTO rejected_rows (uploaded_file_id, process_chunk_id, row_number, line_number, byte_offset, sqlstate, message, raw_line)
    SELECT uploaded_file_id, process_chunk_id, 9, 9, 9, 'x', 'x', 'x' FROM rejected_rows;
UPDATE uploaded_files SET status = 'Completed';
UPDATE process_chunks SET status = 'Completed';
UPDATE rejected_rows SET message = '';
DELETE FROM rejected_rows;
DELETE FROM process_chunks;
DELETE FROM uploaded_files;
TRUNCATE rejected_rows;
TRUNCATE process_chunks CASCADE;
TRUNCATE uploaded_files CASCADE;
:seen
SELECT status FROM uploaded_files;
RESET SESSION AUTHORIZATION;
REVOKE ALL ON uploaded_files, process_chunks, rejected_rows FROM regress_ingest_alice;
:seen

-- Triggers, defaults and CHECK constraints run as the caller, in a session that looks like the caller's.
CREATE TABLE seen_by (
    event text, role name DEFAULT current_user, session name DEFAULT session_user, path text DEFAULT current_setting('search_path'),
    style text DEFAULT current_setting('DateStyle'), zone text DEFAULT current_setting('TimeZone'),
    custom text DEFAULT current_setting('lens.tenant', true), isolation text DEFAULT current_setting('transaction_isolation'),
    replication text DEFAULT current_setting('session_replication_role')
);
GRANT INSERT ON seen_by TO PUBLIC;
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO lens.seen_by (event) VALUES (concat_ws(' ', TG_WHEN, TG_LEVEL, TG_OP));
    RETURN NEW;
END
$$;
CREATE TABLE watched (a integer CHECK (a > 0 AND current_user <> 'regress_ingest_nobody'), by name DEFAULT current_user, day date);
CREATE TRIGGER t1 BEFORE INSERT ON watched FOR EACH STATEMENT EXECUTE FUNCTION note();
CREATE TRIGGER t2 BEFORE INSERT ON watched FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER t3 AFTER INSERT ON watched FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER t4 AFTER INSERT ON watched FOR EACH STATEMENT EXECUTE FUNCTION note();
CREATE CONSTRAINT TRIGGER t5 AFTER INSERT ON watched DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note();
GRANT INSERT, SELECT ON watched TO regress_ingest_alice, regress_ingest_bob;
\! printf 'a,day\n1,01/02/2003\n2,31/12/1999\n' > "$D/watched.csv"
\set watched :dir /watched.csv
\set notes 'SELECT count(*), count(DISTINCT event) AS events, role, session, path, style, zone, custom, isolation, replication FROM seen_by GROUP BY 3, 4, 5, 6, 7, 8, 9, 10 ORDER BY 1;'
SET SESSION AUTHORIZATION regress_ingest_alice;
SET search_path = pg_temp, "$user", lens, ingest;
SET DateStyle = 'SQL, DMY';
SET TimeZone = 'Asia/Tokyo';
SET lens.tenant = 'it''s "42"';
SET default_transaction_isolation = 'serializable';
SET default_transaction_deferrable = on;
SELECT ml_import(:'watched', 'watched') AS id \gset
:ended
SELECT a, by, day FROM watched ORDER BY a;
RESET ALL;
RESET SESSION AUTHORIZATION;
SET search_path = lens, ingest;
SET client_min_messages = warning;
:notes
TRUNCATE watched, seen_by;
-- After SET ROLE: the role, and the session's user.
GRANT regress_ingest_bob TO regress_ingest_alice;
SET SESSION AUTHORIZATION regress_ingest_alice;
SET ROLE regress_ingest_bob;
SET TimeZone = 'UTC';
SET DateStyle = 'SQL, DMY';
SELECT ml_import(:'watched', 'watched', force => true) AS id \gset
:ended
RESET ROLE;
SELECT count(*) FROM uploaded_files WHERE id = :id;
RESET SESSION AUTHORIZATION;
RESET DateStyle;
RESET TimeZone;
SELECT owner_name FROM uploaded_files WHERE id = :id;
:notes
TRUNCATE watched, seen_by;
-- The superuser's own, without triggers.
SET session_replication_role = replica;
SET DateStyle = 'SQL, DMY';
SELECT ml_import(:'watched', 'watched', force => true) AS id \gset
:ended
RESET session_replication_role;
RESET DateStyle;
RESET TimeZone;
SELECT count(*) FROM seen_by;
TRUNCATE watched;

-- In a SECURITY DEFINER function the definer imports.
CREATE FUNCTION import_watched(path text) RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = lens, ingest
AS $$ SELECT ml_import(path, 'watched', force => true) $$;
GRANT CREATE ON SCHEMA lens TO regress_ingest_alice;
ALTER FUNCTION import_watched OWNER TO regress_ingest_alice;
REVOKE regress_ingest_bob FROM regress_ingest_alice;
REVOKE ALL ON watched FROM regress_ingest_bob;
REVOKE pg_read_server_files FROM regress_ingest_bob;
SET SESSION AUTHORIZATION regress_ingest_bob;
SET TimeZone = 'UTC';
SET DateStyle = 'SQL, DMY';
SELECT import_watched(:'watched') AS id \gset
SELECT status FROM ml_wait(:id);
RESET SESSION AUTHORIZATION;
RESET DateStyle;
RESET TimeZone;
:ended
SELECT owner_name FROM uploaded_files WHERE id = :id;
:notes

-- A trigger cannot become somebody else, nor write the ledger. The error is of class 42, so it ends the import;
-- where the trigger catches it, only the record is refused.
CREATE TABLE escape (a integer, way text);
CREATE TABLE escaped (a integer, role name DEFAULT current_user);
CREATE FUNCTION escape() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE NEW.way;
    INSERT INTO lens.escaped (a) VALUES (NEW.a);
    RETURN NEW;
END
$$;
CREATE TRIGGER escape AFTER INSERT ON escape FOR EACH ROW EXECUTE FUNCTION escape();
GRANT INSERT ON escape, escaped TO regress_ingest_alice;
SET SESSION AUTHORIZATION regress_ingest_alice;
\! printf 'a,way\n1,SET ROLE regress_ingest_watch\n' > "$D/escape1.csv"
\! printf 'a,way\n1,RESET ROLE\n' > "$D/escape2.csv"
\! printf 'a,way\n1,SET SESSION AUTHORIZATION DEFAULT\n' > "$D/escape3.csv"
\! printf 'a,way\n1,RESET ALL\n' > "$D/escape4.csv"
\! printf 'a,way\n1,UPDATE ingest.uploaded_files SET status = status\n' > "$D/escape5.csv"
\! printf 'a,way\n1,"SELECT set_config(\047role\047, \047none\047, true)"\n' > "$D/escape8.csv"
\! printf 'a,way\n1,"DO $$BEGIN SET ROLE regress_ingest_watch; EXCEPTION WHEN OTHERS THEN RAISE \047no way\047; END$$"\n' > "$D/escape6.csv"
\! printf 'a,way\n1,COMMIT\n2,SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY\n' > "$D/escape7.csv"
\set file :dir /escape1.csv
SELECT ml_import(:'file', 'escape') AS id \gset
:ended
\set file :dir /escape2.csv
SELECT ml_import(:'file', 'escape') AS id \gset
:ended
\set file :dir /escape3.csv
SELECT ml_import(:'file', 'escape') AS id \gset
:ended
\set file :dir /escape4.csv
SELECT ml_import(:'file', 'escape') AS id \gset
:ended
\set file :dir /escape5.csv
SELECT ml_import(:'file', 'escape', min_chunks => 1) AS id \gset
:ended
\set file :dir /escape8.csv
SELECT ml_import(:'file', 'escape') AS id \gset
:ended
\set file :dir /escape6.csv
SELECT ml_import(:'file', 'escape') AS id \gset
:ended
SELECT sqlstate, message FROM rejected_rows WHERE uploaded_file_id = :id;
\set file :dir /escape7.csv
SELECT ml_import(:'file', 'escape', min_chunks => 1) AS id \gset
:ended
SELECT row_number, sqlstate, message FROM rejected_rows WHERE uploaded_file_id = :id ORDER BY row_number;
RESET SESSION AUTHORIZATION;
SELECT role, count(*) FROM escaped GROUP BY role;

-- Objects of the caller's do not take the place of the server's in the statements of the ledger.
CREATE SCHEMA trap;
CREATE FUNCTION trap.boom(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
CREATE FUNCTION trap.boom(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
CREATE FUNCTION trap.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
CREATE FUNCTION trap.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.boom);
CREATE OPERATOR trap.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = trap.boom);
CREATE TABLE trap.uploaded_files (id bigint);
GRANT ALL ON SCHEMA trap TO PUBLIC;
SET search_path = trap, pg_catalog, lens, ingest;
SELECT ml_import(:'few', 'things', force => true) AS id \gset
SELECT (ml_wait(:id)).status;
\! printf 'tagId,tag\n1,007\n' > "$D/genome-tags.csv"
SELECT ml_import(:'dir' || '/genome-tags.csv') AS id \gset
SELECT (ml_wait(:id)).target;
RESET search_path;
SET search_path = lens, ingest;

-- A table whose policies apply to the caller is written with them, which COPY refuses; its owner and superusers are
-- above them.
CREATE TABLE shielded (a integer);
ALTER TABLE shielded ENABLE ROW LEVEL SECURITY;
GRANT INSERT ON shielded TO regress_ingest_alice;
CREATE POLICY one ON shielded FOR INSERT WITH CHECK (a = 1);
SET SESSION AUTHORIZATION regress_ingest_alice;
SELECT ml_import(:'few', 'shielded') AS id \gset
:ended
SELECT line_number, sqlstate, message, detail FROM rejected_rows WHERE uploaded_file_id = :id;
COPY shielded FROM :'few' (FORMAT csv, HEADER);
\echo :LAST_ERROR_SQLSTATE
SET row_security = off;
SELECT ml_import(:'few', 'shielded', force => true);
\echo :LAST_ERROR_SQLSTATE
RESET row_security;
RESET SESSION AUTHORIZATION;
SELECT ml_import(:'few', 'shielded', force => true) AS id \gset
:ended

-- The tables that are missing are made by the caller, if it may.
\! printf 'movieId,title,genres\n1,Heat,Crime\n' > "$D/movies.csv"
\set movies :dir /movies.csv
CREATE SCHEMA closed;
GRANT USAGE ON SCHEMA closed TO PUBLIC;
SET SESSION AUTHORIZATION regress_ingest_alice;
SET search_path = closed, ingest;
\set VERBOSITY sqlstate
SELECT ml_import(:'movies');
\set VERBOSITY default
SET search_path = lens, ingest;
SELECT ml_import(:'movies') AS id \gset
:ended
RESET SESSION AUTHORIZATION;
SELECT tablename, tableowner FROM pg_tables WHERE tablename = 'movies';

\! rm -r "$D"
SET client_min_messages = warning;
RESET search_path;
DROP SCHEMA lens, trap, closed CASCADE;
DROP EXTENSION movielens_ingest;
DROP SCHEMA ingest;
DROP ROLE regress_ingest_alice, regress_ingest_bob, regress_ingest_watch;
