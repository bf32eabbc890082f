-- Which tables are refused, as COPY refuses them or for reasons of their own; a writer that is asked for; rules; privileges.
-- What becomes of the records of each kind of table is in test/t/022_targets.pl.
CREATE SCHEMA ingest;
CREATE EXTENSION movielens_ingest SCHEMA ingest;
CREATE SCHEMA lens;
SET search_path = lens, ingest;
\pset format unaligned
\pset tuples_only on
\getenv dir PG_ABS_BUILDDIR
\set dir :dir /results/targets
\setenv D :dir
\! mkdir -p "$D"
\! printf 'a,b\n1,x\ny,z\n3,w\n' > "$D/pairs.csv"
\set file :dir /pairs.csv
CREATE TABLE pairs (a integer, b text);

-- What COPY and what ml_import say to a target.
CREATE FUNCTION refusal(statement text) RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
    message text;
    detail text;
    hint text;
BEGIN
    EXECUTE statement;
    RETURN NEXT 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN NEXT regexp_replace(sqlstate || ': ' || message, 'pg_toast_\d+', 'pg_toast_N');
    RETURN QUERY SELECT 'detail: ' || detail WHERE detail <> '' UNION ALL SELECT 'hint: ' || hint WHERE hint <> '';
END
$$;
CREATE TABLE folder AS SELECT :'file' AS file;
CREATE FUNCTION refusals(target regclass) RETURNS SETOF text
LANGUAGE sql AS $$
    -- What is no relation of rows cannot be opened by COPY; the words of 15 and of later servers differ.
    SELECT regexp_replace(r, '^42809: ("\w+" is an? .*|cannot open relation .*)$', '42809: cannot open it')
      FROM folder, refusal(format('COPY %s FROM %L (FORMAT csv, HEADER)', target, file)) r
     WHERE r NOT LIKE 'detail: This operation is not supported for %' UNION ALL
    SELECT refusal(format('SELECT ml_import(%L, %L)', file, target)) FROM folder
$$;

CREATE VIEW pair_view AS TABLE pairs;
CREATE MATERIALIZED VIEW pair_matview AS TABLE pairs;
CREATE SEQUENCE pair_sequence;
CREATE INDEX pair_index ON pairs (a);
CREATE TYPE pair_type AS (a integer, b text);
CREATE TABLE pair_parts (LIKE pairs) PARTITION BY LIST (a);
CREATE INDEX pair_parts_index ON pair_parts (a);
CREATE TEMPORARY TABLE pair_temporary (LIKE pairs);
SELECT refusals('pair_view');
SELECT refusals('pair_matview');
SELECT refusals('pair_sequence');
SELECT refusals('pair_index');
SELECT refusals('pair_type');
SELECT refusals('pair_parts_index');
SELECT refusals((SELECT reltoastrelid FROM pg_class WHERE oid = 'pairs'::regclass));
SELECT refusals('pg_class');
SELECT refusals('pg_largeobject');
SELECT refusals('information_schema.tables');
-- Not COPY's business: other processes see no temporary table, and the ledger is nobody's target.
SELECT refusals('pair_temporary') OFFSET 1;
SELECT DISTINCT regexp_replace(r, '"_?\w+"', '"..."') FROM pg_depend d JOIN pg_class c ON c.oid = objid, refusal(format('SELECT ml_import(%L, %L)', :'file', c.oid::regclass)) r
 WHERE refobjid = (SELECT oid FROM pg_extension WHERE extname = 'movielens_ingest') AND classid = 'pg_class'::regclass AND relkind = 'r' AND deptype = 'e';

-- A writer that is asked for and cannot do it.
CREATE TABLE pair_triggered (LIKE pairs);
CREATE FUNCTION same() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;
CREATE TRIGGER same BEFORE INSERT ON pair_triggered FOR EACH ROW EXECUTE FUNCTION same();
SET movielens_ingest.writer = 'multi_insert';
SELECT refusal(format('SELECT ml_import(%L, %L)', :'file', t)) FROM (VALUES ('pair_triggered'), ('pair_parts')) v (t);
SET movielens_ingest.writer = 'pages';
SELECT refusal(format('SELECT ml_import(%L, %L)', :'file', t)) FROM (VALUES ('pair_triggered'), ('pair_parts')) v (t);
SET movielens_ingest.writer = 'copy';
SELECT count(*) FROM uploaded_files;
-- The other way round there is nothing that it cannot do.
SET movielens_ingest.writer = 'spi';
SELECT ml_import(:'file', 'pairs') AS id \gset
SELECT status, success_count, error_count FROM ml_wait(:id);
RESET movielens_ingest.writer;
SELECT ml_import(:'file', 'pairs', force => true) AS id \gset
SELECT status, success_count, error_count FROM ml_wait(:id);
SELECT * FROM pairs ORDER BY a;

-- Rules: COPY does not know them, an INSERT statement cannot do without them.
CREATE TABLE ruled (LIKE pairs);
CREATE TABLE elsewhere (LIKE pairs);
CREATE RULE away AS ON INSERT TO ruled DO INSTEAD INSERT INTO elsewhere VALUES (NEW.*);
SELECT ml_import(:'file', 'ruled') AS id \gset
SELECT status, success_count, error_count FROM ml_wait(:id);
SELECT (SELECT count(*) FROM ruled) AS here, (SELECT count(*) FROM elsewhere) AS there;
SET movielens_ingest.writer = 'spi';
SELECT refusal(format('SELECT ml_import(%L, ''ruled'', force => true)', :'file'));
RESET movielens_ingest.writer;
CREATE TRIGGER same BEFORE INSERT ON ruled FOR EACH ROW EXECUTE FUNCTION same();
SELECT refusal(format('SELECT ml_import(%L, ''ruled'', force => true)', :'file'));
ALTER TABLE ruled DISABLE RULE away;
SELECT ml_import(:'file', 'ruled', force => true) AS id \gset
SELECT status, success_count, error_count FROM ml_wait(:id);
CREATE RULE also AS ON UPDATE TO ruled DO ALSO NOTHING;
SELECT ml_import(:'file', 'ruled', force => true) AS id \gset
SELECT status, success_count, error_count FROM ml_wait(:id);
SELECT (SELECT count(*) FROM ruled) AS here, (SELECT count(*) FROM elsewhere) AS there;
-- A rule that comes between the call and the first record.
BEGIN;
SELECT ml_import(:'file', 'ruled', force => true) AS id \gset
ALTER TABLE ruled ENABLE RULE away;
COMMIT;
SELECT status, sqlstate, error, success_count FROM ml_wait(:id);

-- Each writer needs what COPY needs: INSERT on the columns of the file.
CREATE ROLE regress_ingest_dora IN ROLE pg_read_server_files;
GRANT USAGE ON SCHEMA lens, ingest TO regress_ingest_dora;
CREATE TABLE partly (a integer, b text, secret text DEFAULT 'mine', id integer GENERATED ALWAYS AS IDENTITY);
CREATE TABLE partly_triggered (LIKE partly INCLUDING ALL);
CREATE TRIGGER same BEFORE INSERT ON partly_triggered FOR EACH ROW EXECUTE FUNCTION same();
CREATE VIEW partly_view AS SELECT a, b FROM partly;
CREATE FUNCTION instead() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = lens AS $$
BEGIN
    INSERT INTO partly (a, b, secret) VALUES (NEW.a, NEW.b, session_user);
    RETURN NEW;
END$$;
CREATE TRIGGER instead INSTEAD OF INSERT ON partly_view FOR EACH ROW EXECUTE FUNCTION instead();
GRANT INSERT (a) ON partly, partly_triggered, partly_view TO regress_ingest_dora;
SET ROLE regress_ingest_dora;
SET client_min_messages = warning;
SELECT refusal(format('SELECT ml_import(%L, %L)', :'file', t)) FROM (VALUES ('partly'), ('partly_triggered'), ('partly_view')) v (t);
RESET ROLE;
GRANT INSERT (b) ON partly, partly_triggered, partly_view TO regress_ingest_dora;
SET ROLE regress_ingest_dora;
SELECT ml_import(:'file', 'partly') AS id \gset
SELECT status, success_count, error_count FROM ml_wait(:id);
SELECT ml_import(:'file', 'partly_triggered') AS id \gset
SELECT status, success_count, error_count FROM ml_wait(:id);
SELECT ml_import(:'file', 'partly_view') AS id \gset
SELECT status, success_count, error_count FROM ml_wait(:id);
RESET ROLE;
SELECT a, b, secret = 'mine' FROM partly ORDER BY 3 DESC, a;
SELECT a, b, secret FROM partly_triggered ORDER BY a;

-- Behind statements of its own user, _inserting() does nothing.
SELECT _inserting(0);

\! rm -r "$D"
DROP SCHEMA lens CASCADE;
DROP EXTENSION movielens_ingest;
DROP SCHEMA ingest;
DROP ROLE regress_ingest_dora;
