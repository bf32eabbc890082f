-- Files are loaded: into the table of their name or a named one, in chunks that cover the file, with a ledger of both.
CREATE SCHEMA ingest;
CREATE EXTENSION movielens_ingest SCHEMA ingest;
CREATE SCHEMA lens;
SET search_path = lens, ingest;
\getenv dir PG_ABS_BUILDDIR
\set dir :dir /results/import
\setenv D :dir
\! mkdir -p "$D"

-- The end of an import; how its chunks lie in the file.
\set ended 'SELECT status, row_count, success_count, error_count, skipped_count, unprocessed_count FROM ml_wait(:id);'
CREATE FUNCTION tiling(import bigint, OUT chunks bigint, OUT rows text, OUT rows_follow boolean, OUT bytes_follow boolean,
                       OUT whole_file boolean, OUT completed boolean)
LANGUAGE sql AS $$
    WITH chunk AS (
        SELECT c.*, lag(end_row) OVER file AS row_before, lag(end_byte) OVER file AS byte_before,
               first_value(start_byte) OVER file AS data_start
          FROM process_chunks c WHERE uploaded_file_id = import
        WINDOW file AS (ORDER BY chunk_number)
    )
    SELECT count(*), format('%s to %s', min(end_row - start_row + 1), max(end_row - start_row + 1)),
           bool_and(start_row = coalesce(row_before, 0) + 1), bool_and(start_byte = coalesce(byte_before, data_start)),
           max(end_row) = f.row_count AND max(end_byte) = f.file_size,
           bool_and(c.status = 'Completed' AND success_count + error_count + skipped_count = end_row - start_row + 1
                    AND attempts = 1 AND ended IS NOT NULL AND errors IS NULL AND c.sqlstate IS NULL)
      FROM chunk c, LATERAL (SELECT row_count, file_size FROM uploaded_files u WHERE u.id = uploaded_file_id) f
     GROUP BY f.row_count, f.file_size
$$;

-- Movies, then their ratings. The tables are missing, so they are made.
\set movies :dir /movies.csv
\set ratings :dir /ratings.csv
COPY (SELECT m AS "movieId", format('Movie "%s" (1995)', m) AS title, 'Comedy|Drama' AS genres
        FROM generate_series(1, 100) m) TO STDOUT (FORMAT csv, HEADER) \g :movies
COPY (SELECT r AS "userId", r * 7 % 100 + 1 AS "movieId", (r % 10 + 1) / 2.0::float8 AS rating,
             1000000000 + r AS timestamp
        FROM generate_series(1, 5000) r) TO STDOUT (FORMAT csv, HEADER) \g :ratings
SELECT ml_import(:'movies') AS id \gset
:ended
SELECT ml_import(:'ratings') AS id \gset
:ended
SELECT * FROM movies ORDER BY movieid LIMIT 3;
CREATE TABLE copied (LIKE ratings);
COPY copied FROM :'ratings' (FORMAT csv, HEADER);
SELECT count(*) FROM ratings;
SELECT count(*) FROM (TABLE ratings EXCEPT ALL TABLE copied) lost;
SELECT count(*) FROM (TABLE copied EXCEPT ALL TABLE ratings) added;

-- The ledger.
SELECT id, file_name, replace(file_path, :'dir', '') AS file_path, target, status, row_count, success_count,
       sqlstate, error, owner_name = current_user AS owner,
       owner_oid = (SELECT oid FROM pg_roles WHERE rolname = current_user) AS owner_oid
  FROM uploaded_files ORDER BY id;
SELECT file_name, options - 'max_workers' AS options, file_size = size AS size,
       uploaded_at <= start_time AND start_time < end_time AND end_time <= clock_timestamp() AS times,
       processing_duration > interval '0' AS duration
  FROM uploaded_files, LATERAL pg_stat_file(file_path) ORDER BY id;
SELECT chunk_number, start_row, end_row, start_line, status, success_count, error_count, skipped_count, attempts
  FROM process_chunks WHERE uploaded_file_id = 1 ORDER BY chunk_number;
SELECT uploaded_file_id, t.* FROM (VALUES (1), (2)) f (uploaded_file_id), tiling(uploaded_file_id) t;
SELECT * FROM rejected_rows;

-- The table was filled, so it has been analyzed.
SELECT relname, reltuples FROM pg_class WHERE oid IN ('movies'::regclass, 'ratings'::regclass) ORDER BY 1;

-- A table that is missing brings the movies that it references. They are empty, so there is no such movie.
DROP TABLE ratings, movies;
SELECT ml_import(:'ratings', force => true) AS id \gset
:ended
SELECT count(*), sqlstate, message, column_name FROM rejected_rows WHERE uploaded_file_id = :id GROUP BY 2, 3, 4;

-- The table is one of the search path's: here the second schema's, and its movies'.
CREATE SCHEMA before;
SET search_path = before, lens, ingest;
SELECT ml_import(:'movies', force => true) AS id \gset
:ended
SELECT target FROM uploaded_files WHERE id = :id;
DROP TABLE lens.ratings;
SELECT ml_import(:'ratings', force => true) AS id \gset
:ended
SELECT target FROM uploaded_files WHERE id = :id;
SELECT conrelid::regclass, confrelid::regclass FROM pg_constraint WHERE conrelid = 'ratings'::regclass AND contype = 'f';
SET client_min_messages = warning;
DROP SCHEMA before CASCADE;
RESET client_min_messages;
SET search_path = lens, ingest;

-- The names of files, and the tables that they belong to; names in the singular are those of copies of the data set.
CREATE FUNCTION pg_temp.table_of_file(file_name text) RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM ingest.ml_validate(file_name);
EXCEPTION WHEN undefined_table THEN
    RETURN substring(SQLERRM FROM 'relation "(.*)" does not exist');
END
$$;
\set names movies.csv,links.csv,ratings.csv,tags.csv,genome-scores.csv,genome-tags.csv,movie.csv,link.csv,rating.csv,tag.csv,genome_scores.csv,genome_tags.csv,genome-score.csv,Movies.CSV,movies,moviess.csv,users.csv,movies.csv.gz,my_movies.csv,-movies.csv,ratings_csv,.csv
\setenv NAMES :names
\! mkdir -p "$D/names" && cd "$D/names" && for name in $(echo "$NAMES" | tr , ' '); do echo x > "$name"; done
SELECT name, pg_temp.table_of_file(:'dir' || '/names/' || name) AS "table" FROM unnest(string_to_array(:'names', ',')) name;

-- The other tables, by the names of the files.
\! printf 'movieId,imdbId,tmdbId\n1,0114709,862\n2,0113497,\n' > "$D/links.csv"
\! printf 'userId,movieId,tag,timestamp\n15,1,"dark, hero",1368150078\n' > "$D/tag.csv"
\! printf 'movieId,tagId,relevance\n1,1,0.02500\n1,2,0.025\n2,1,1e-3\n' > "$D/genome-scores.csv"
\! printf 'tagId,tag\n1,007\n2,"007 (series)"\n' > "$D/genome_tags.csv"
\! printf 'userId,movieId,rating,timestamp\n1,2,3.5,"2005-04-02 23:53:47"\n' > "$D/rating.csv"
\set links :dir /links.csv
\set tag :dir /tag.csv
\set scores :dir /genome-scores.csv
\set tags :dir /genome_tags.csv
\set rating :dir /rating.csv
-- Several calls in one transaction all start when it commits.
BEGIN;
SELECT ml_import(:'links') AS links, ml_import(:'tag') AS tag, ml_import(:'scores') AS scores \gset
SELECT ml_import(:'tags') AS tags \gset
SELECT ml_import(:'rating') AS rating \gset
SELECT count(*) FROM process_chunks WHERE uploaded_file_id IN (:links, :tag, :scores, :tags, :rating);
COMMIT;
SELECT (ml_wait(id)).file_name, (ml_wait(id)).status FROM unnest(ARRAY[:links, :tag, :scores, :tags, :rating]) id;
SELECT * FROM links ORDER BY movieid;
SELECT * FROM tags;
SELECT * FROM genome_scores ORDER BY movieid, tagid;
SELECT * FROM genome_tags ORDER BY tagid;
SELECT * FROM ratings;

-- A file and a table of one's own.
CREATE TABLE "Readings" (sensor text, at timestamptz, value numeric(6, 2));
\! printf 'sensor,at,value\na,2024-02-29 12:00+00,1.005\nb,2024-03-01 00:00+00,-17\n' > "$D/my file, 2024.csv"
\set file :dir '/my file, 2024.csv'
SELECT ml_import(:'file', '"Readings"') AS id \gset
:ended
SELECT sensor, at AT TIME ZONE 'UTC' AS at, value FROM "Readings" ORDER BY sensor;
SELECT file_name, target FROM uploaded_files WHERE id = :id;
-- A target that is named goes before the name of the file, and may be in any schema.
CREATE SCHEMA "Far Away";
CREATE TABLE "Far Away"."My Movies" (LIKE movies);
SELECT ml_import(path => :'movies', target => '"Far Away"."My Movies"') AS id \gset
:ended
SELECT count(*) FROM "Far Away"."My Movies";
SELECT target FROM uploaded_files WHERE id = :id;

-- Chunks: chunk_size records each, or a file with fewer than min_chunks of those in min_chunks even ones.
CREATE TABLE numbers (n integer);
\set numbers :dir /numbers.csv
COPY (SELECT n FROM generate_series(1, 1000) n) TO STDOUT (FORMAT csv, HEADER) \g :numbers
SELECT ml_import(:'numbers', 'numbers', chunk_size => 10) AS id \gset
:ended
SELECT * FROM tiling(:id);
SELECT ml_import(:'numbers', 'numbers', chunk_size => 99, min_chunks => 1, force => true) AS id \gset
:ended
SELECT * FROM tiling(:id);
SELECT ml_import(:'numbers', 'numbers', chunk_size => 99, min_chunks => 10, force => true) AS id \gset
:ended
SELECT * FROM tiling(:id);
SELECT ml_import(:'numbers', 'numbers', chunk_size => 99, min_chunks => 11, force => true) AS id \gset
:ended
SELECT * FROM tiling(:id);
SELECT ml_import(:'numbers', 'numbers', chunk_size => 84, min_chunks => 12, force => true) AS id \gset
:ended
SELECT * FROM tiling(:id);
SELECT ml_import(:'numbers', 'numbers', chunk_size => 83, min_chunks => 12, force => true) AS id \gset
:ended
SELECT * FROM tiling(:id);
SELECT ml_import(:'numbers', 'numbers', min_chunks => 1, force => true) AS id \gset
:ended
SELECT * FROM tiling(:id);
SELECT ml_import(:'numbers', 'numbers', chunk_size => 1, max_workers => 4, force => true) AS id \gset
:ended
SELECT * FROM tiling(:id);
SELECT ml_import(:'numbers', 'numbers', min_chunks => 10000, max_workers => 1, force => true) AS id \gset
:ended
SELECT * FROM tiling(:id);
SELECT count(*), count(DISTINCT n), min(n), max(n) FROM numbers;
-- Never more chunks than records.
\! printf 'n\n1\n2\n3\n' > "$D/three.csv"
\set file :dir /three.csv
SELECT ml_import(:'file', 'numbers') AS id \gset
:ended
SELECT * FROM tiling(:id);
SELECT chunk_number, start_row, end_row, start_byte, end_byte, start_line
  FROM process_chunks WHERE uploaded_file_id = :id ORDER BY chunk_number;
\! printf 'n\n1' > "$D/one.csv"
\set file :dir /one.csv
SELECT ml_import(:'file', 'numbers') AS id \gset
:ended
SELECT * FROM tiling(:id);
-- A line break in a quoted field is not the end of a record.
CREATE TABLE notes (id integer, note text);
\! printf 'id,note\n1,"a\nb"\n2,"c,""\n\n"\n3,d\n4,"\n"\n' > "$D/notes.csv"
\set file :dir /notes.csv
SELECT ml_import(:'file', 'notes') AS id \gset
:ended
SELECT chunk_number, start_row, end_row, start_byte, end_byte, start_line
  FROM process_chunks WHERE uploaded_file_id = :id ORDER BY chunk_number;
SELECT * FROM tiling(:id);
SELECT id, to_json(note) AS note FROM notes ORDER BY id;

-- A header and nothing else: no records, no chunks.
\! printf 'n\n' > "$D/header.csv"
\! printf 'n' > "$D/line.csv"
\set file :dir /header.csv
SELECT ml_import(:'file', 'numbers') AS id \gset
:ended
SELECT count(*) FROM process_chunks WHERE uploaded_file_id = :id;
\set file :dir /line.csv
SELECT ml_import(:'file', 'numbers') AS id \gset
:ended
SELECT count(*) FROM process_chunks WHERE uploaded_file_id = :id;

-- The law of counts, for all of them.
SELECT count(*) FROM uploaded_files
 WHERE success_count + error_count + skipped_count + unprocessed_count IS DISTINCT FROM row_count;
-- The same bytes have the same checksum, whatever the chunks beside them.
SELECT count(*) > 100 AS pairs, bool_and(c.checksum = d.checksum) AS equal
  FROM process_chunks c JOIN process_chunks d
    ON d.start_byte = c.start_byte AND d.end_byte = c.end_byte AND d.uploaded_file_id > c.uploaded_file_id
  JOIN uploaded_files f ON f.id = c.uploaded_file_id JOIN uploaded_files g ON g.id = d.uploaded_file_id
 WHERE f.file_name = 'numbers.csv' AND g.file_name = 'numbers.csv';
SELECT count(*) = count(DISTINCT checksum) AS differ FROM process_chunks WHERE uploaded_file_id = 1;

-- An import belongs to its chunks and its refused records.
DELETE FROM uploaded_files;
SELECT count(*) FROM process_chunks;
SELECT count(*) FROM rejected_rows;

\! rm -r "$D"
SET client_min_messages = warning;
DROP SCHEMA lens, "Far Away" CASCADE;
DROP EXTENSION movielens_ingest;
DROP SCHEMA ingest;
