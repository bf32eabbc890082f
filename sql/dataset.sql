-- ml_import_dataset: what it takes and refuses, the tables that it finds or makes, and what it leaves in the ledger.
CREATE SCHEMA ingest;
CREATE EXTENSION movielens_ingest SCHEMA ingest;
CREATE SCHEMA lens;
SET search_path = lens, ingest;
\pset format unaligned
\pset tuples_only on
\getenv dir PG_ABS_BUILDDIR
\set dir :dir /results/dataset
\setenv D :dir
\! mkdir -p "$D/set" "$D/empty"
\set set :dir /set

-- What a call says to a directory of this test: SQLSTATE, message and more, without the place of the test.
CREATE TABLE folder AS SELECT :'dir' AS path;
CREATE FUNCTION refusal(directory text, arguments text DEFAULT NULL) RETURNS SETOF text
LANGUAGE plpgsql SET client_min_messages = warning AS $$
DECLARE
    message text;
    detail text;
    hint text;
BEGIN
    EXECUTE format('SELECT ml_import_dataset(%L%s)', (SELECT path FROM folder) || '/' || directory, ', ' || arguments);
    RETURN NEXT 'begins';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN NEXT sqlstate || ': ' || replace(message, (SELECT path FROM folder) || '/', '');
    -- What the server says more of a function that is not there depends on its version.
    RETURN QUERY SELECT 'detail: ' || detail WHERE detail <> '' AND sqlstate <> '42883'
       UNION ALL SELECT 'hint: ' || hint WHERE hint <> '' AND sqlstate <> '42883';
END
$$;
-- The same from another session, which shows notices too.
\setenv PGHOST :HOST
\setenv PGPORT :PORT
\setenv PGUSER :USER
\setenv PGDATABASE :DBNAME
\setenv PGOPTIONS '-c search_path=lens,ingest'
\set psql `readlink /proc/$PPID/exe`
\setenv PSQL :psql
\! echo '"$PSQL" -XAtq 2>&1 | sed -E "s|$D/?||g"' > "$D/run"
\set ended 'SELECT f.file_name, f.status, f.success_count, f.error_count FROM uploaded_files u, ml_wait(u.id) f WHERE u.dataset_id = :id ORDER BY u.id;'

\! printf 'movieId,title,genres\n1,Heat,Crime\n2,Alien,Horror\n' > "$D/set/movies.csv"
\! printf 'movieId,imdbId,tmdbId\n1,0114709,862\n2,0113497,\n' > "$D/set/links.csv"
\! printf 'userId,movieId,rating,timestamp\n1,2,3.5,1112486027\n1,1,3,1112484676\n2,9,4,1112484819\n' > "$D/set/ratings.csv"
\! printf 'userId,movieId,tag,timestamp\n15,1,"dark, hero",1368150078\n' > "$D/set/tags.csv"
\! printf 'movieId,tagId,relevance\n1,1,0.025\n' > "$D/set/genome-scores.csv"
\! printf 'tagId,tag\n1,007\n' > "$D/set/genome-tags.csv"

-- The directory.
SELECT ml_import_dataset(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM ml_import_dataset(NULL, strict => true);
SELECT ml_import_dataset('');
\echo :LAST_ERROR_SQLSTATE
SELECT ml_import_dataset('dataset/set');
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY terse
SELECT ml_import_dataset();
\set VERBOSITY default
\echo :LAST_ERROR_SQLSTATE
SELECT refusal('nowhere');
SELECT refusal('set/movies.csv');
SELECT refusal('set/movies.csv/movies.csv');
SELECT ml_import_dataset('/dev/null');
\echo :LAST_ERROR_SQLSTATE
\! chmod 0 "$D/empty"
SELECT refusal('empty');
\! chmod 755 "$D/empty"
SELECT refusal('empty');
\! touch "$D/empty/README.txt" "$D/empty/users.csv" "$D/empty/movies.csv.gz" "$D/empty/movies" "$D/empty/.csv"
SELECT refusal('empty');

-- Two files for one table, in whatever order the directory has them.
\! cp "$D/set/links.csv" "$D/empty/links.csv"
\! cp "$D/set/links.csv" "$D/empty/Link.CSV"
SELECT r FROM refusal('empty') r WHERE r !~ '^detail';
SELECT r ~ '"links.csv"' AND r ~ '"Link.CSV"' FROM refusal('empty') r WHERE r ~ '^detail';
\! rm "$D/empty/"*

-- A file that is none, or that cannot be read, or does not fit, ends the call for all of them.
\! mkdir "$D/set/tag.csv" && mv "$D/set/tags.csv" "$D/aside.csv"
SELECT refusal('set');
\! rmdir "$D/set/tag.csv"
\! ln -s nowhere.csv "$D/set/tags.csv"
SELECT refusal('set');
\! rm "$D/set/tags.csv"
\! printf 'userId,movieId,word\n' > "$D/set/tags.csv"
SELECT refusal('set');
\! mv "$D/aside.csv" "$D/set/tags.csv"
\! chmod 0 "$D/set/genome-tags.csv"
SELECT refusal('set');
\! chmod 644 "$D/set/genome-tags.csv"

-- Missing files: with strict an error, which names them.
\! mv "$D/set/links.csv" "$D/set/genome-tags.csv" "$D"
SELECT refusal('set', 'strict => true');
\! mv "$D/links.csv" "$D/genome-tags.csv" "$D/set"

-- The options.
SELECT refusal('set', 'chunk_size => 0');
SELECT refusal('set', 'min_chunks => 10001');
SELECT refusal('set', 'max_workers => -1');
SELECT refusal('set', 'max_retries => 101');
SELECT refusal('set', $$format => 'csv'$$);
SELECT refusal('set', $$target => 'movies'$$);

-- Where nothing can be started.
BEGIN READ ONLY;
SELECT refusal('set');
ROLLBACK;
SET search_path = nowhere;
SELECT ingest.ml_import_dataset(:'set');
\echo :LAST_ERROR_SQLSTATE
SET search_path = lens, ingest;
CREATE ROLE regress_ingest_reader;
CREATE ROLE regress_ingest_other;
GRANT USAGE ON SCHEMA ingest, lens TO regress_ingest_reader, regress_ingest_other;
GRANT pg_read_server_files TO regress_ingest_reader;
SET ROLE regress_ingest_other;
SELECT ml_import_dataset(:'set');
\echo :LAST_ERROR_SQLSTATE
-- The tables that are missing are made by the role that calls.
SET ROLE regress_ingest_reader;
\set VERBOSITY terse
SELECT ml_import_dataset(:'set');
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY default
RESET ROLE;

-- Nothing is left of all this.
SELECT count(*) FROM uploaded_files;
SELECT relname FROM pg_class WHERE relnamespace = 'lens'::regnamespace AND relname <> 'folder';

-- Nor of calls that are rolled back, as a whole or to a savepoint.
SET client_min_messages = warning;
BEGIN;
SELECT file_name, target FROM ml_import_dataset(:'set');
SELECT count(*), count(DISTINCT dataset_id) FROM uploaded_files;
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT count(*) FROM ml_import_dataset(:'set');
ROLLBACK TO s;
COMMIT;
BEGIN;
SELECT count(*) FROM ml_import_dataset(:'set');
SELECT 1 / 0;
COMMIT;
SELECT count(*) FROM uploaded_files;
SELECT to_regclass('movies');

-- The order of the rows is fixed; the tables are made, movies first. A record without its movie is refused.
RESET client_min_messages;
SELECT row_number() OVER () AS place, file_name, target, pg_typeof(id) AS id, pg_typeof(target) AS type
  FROM ml_import_dataset(:'set', strict => true);
SELECT min(id) AS id FROM uploaded_files \gset
:ended
SELECT * FROM movies ORDER BY movieid;
SELECT * FROM links ORDER BY movieid;
SELECT * FROM ratings ORDER BY movieid;
SELECT * FROM tags;
SELECT * FROM genome_scores;
SELECT * FROM genome_tags;
SELECT file_name, line_number, r.sqlstate, raw_line FROM rejected_rows r JOIN uploaded_files f ON f.id = r.uploaded_file_id;

-- The ledger: one data set, with the id of its first import.
SELECT count(*), count(DISTINCT dataset_id), bool_and(dataset_id = :id), bool_and(options = first_value) FROM (
    SELECT *, first_value(options) OVER (ORDER BY id) FROM uploaded_files) f;
SELECT replace(file_path, :'dir', '') FROM uploaded_files ORDER BY id;
SELECT sum(attempts - 1), sum(crashes), count(*) FROM process_chunks;

-- They are imported already, all of them or one. Not so with force, or into other tables.
SELECT r FROM refusal('set') r WHERE r !~ '^detail';
\! printf 'movieId,title,genres\n3,Ran,Drama\n' > "$D/set/movies.csv"
SELECT r FROM refusal('set') r WHERE r !~ '^detail';
SELECT count(*) FROM uploaded_files;
SELECT count(*) FROM ml_import_dataset(:'set', force => true, chunk_size => 1, min_chunks => 1, max_workers => 1, max_retries => 0);
SELECT max(dataset_id) AS id FROM uploaded_files \gset
:ended
SELECT DISTINCT options FROM uploaded_files WHERE dataset_id = :id;
SELECT count(*) FROM links;

-- Files that are missing are named in a notice; strict is false, or null. Tables that are there are used, also those
-- of another schema; a table that is made references the movies that are there.
CREATE SCHEMA before;
\setenv PGOPTIONS '-c search_path=before,lens,ingest'
\! rm "$D/set/movies.csv" "$D/set/genome-tags.csv" "$D/set/tags.csv"
DROP TABLE ratings;
\! echo "SELECT file_name, target FROM ml_import_dataset('$D/set', force => true)" | sh "$D/run"
SELECT max(dataset_id) AS id FROM uploaded_files \gset
:ended
SELECT conrelid::regclass, confrelid::regclass FROM pg_constraint WHERE conrelid = 'before.ratings'::regclass AND contype = 'f';
\! rm "$D/set/links.csv" "$D/set/ratings.csv"
\! echo "SELECT file_name, target FROM ml_import_dataset(directory => '$D/set', strict => NULL, force => true)" | sh "$D/run"
SELECT max(dataset_id) AS id FROM uploaded_files \gset
:ended
SET client_min_messages = warning;
DROP SCHEMA before CASCADE;

-- Names in any letter case, in the singular, with an underscore; through a symbolic link, with a slash at the end.
\! rm "$D/set/"*
\! printf 'MOVIEID,TITLE,GENRES\n4,Brazil,\n' > "$D/set/Movie.CSV"
\! printf 'userId,movieId,rating,timestamp\n1,4,3.5,"2005-04-02 23:53:47"\n' > "$D/set/rating.csv"
\! printf 'movieId,tagId,relevance\n4,1,0.5\n' > "$D/set/genome_score.csv"
\! ln -s set "$D/link"
SELECT file_name, target FROM ml_import_dataset(:'dir' || '/link/');
SELECT max(dataset_id) AS id FROM uploaded_files \gset
:ended
SELECT replace(file_path, :'dir', '') FROM uploaded_files WHERE dataset_id = :id ORDER BY id;

-- In the target list it returns the same rows; and several data sets may begin in one transaction.
\! rm "$D/set/rating.csv" "$D/set/genome_score.csv"
BEGIN;
SELECT (d::text ~ '^\(\d+,Movie.CSV,movies\)$') FROM (SELECT ml_import_dataset(:'set', force => true) AS d) s;
SELECT count(*) FROM ml_import_dataset(:'set', force => true);
COMMIT;
SELECT DISTINCT (ml_wait(id)).status FROM uploaded_files ORDER BY 1;
SELECT count(*), count(DISTINCT dataset_id) FROM (SELECT * FROM uploaded_files ORDER BY id DESC LIMIT 2) f;
-- This movie is there already.
SELECT error_count, count(*) FROM (SELECT * FROM uploaded_files ORDER BY id DESC LIMIT 2) f GROUP BY 1 ORDER BY 1;
-- An import that comes alone is its own data set.
SELECT ml_import(:'set' || '/Movie.CSV', force => true) AS id \gset
SELECT dataset_id = id FROM ml_wait(:id);

-- The columns of the ledger, each with a comment.
SELECT c.relname, string_agg(a.attname || ' ' || format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN ' not null' ELSE '' END, ', ' ORDER BY attnum)
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
 WHERE relnamespace = 'ingest'::regnamespace AND relkind IN ('r', 'v') AND attnum > 0 GROUP BY 1 ORDER BY 1;
SELECT attrelid::regclass, attname FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
 WHERE relnamespace = 'ingest'::regnamespace AND relkind IN ('r', 'v') AND attnum > 0 AND col_description(attrelid, attnum) IS NULL;
SELECT relname FROM pg_class WHERE relnamespace = 'ingest'::regnamespace AND relkind IN ('r', 'v') AND obj_description(oid) IS NULL;
SELECT proname FROM pg_proc WHERE pronamespace = 'ingest'::regnamespace AND obj_description(oid) IS NULL;
-- Who may call what.
SELECT oid::regprocedure, (SELECT string_agg(grantee::regrole::text, ',') FROM aclexplode(proacl) WHERE grantee <> proowner AND grantee <> 0) AS roles,
       proacl IS NULL OR EXISTS (SELECT FROM aclexplode(proacl) WHERE grantee = 0) AS public
  FROM pg_proc WHERE pronamespace = 'ingest'::regnamespace AND proname LIKE 'ml\_%' ORDER BY 1;

\! rm -r "$D"
DROP SCHEMA lens CASCADE;
DROP EXTENSION movielens_ingest;
DROP SCHEMA ingest;
DROP ROLE regress_ingest_reader;
DROP ROLE regress_ingest_other;
