-- Indexes of an empty table are built when it has been loaded, by the setting movielens_ingest.defer_indexes.
CREATE EXTENSION movielens_ingest;
\getenv dir PG_ABS_BUILDDIR
\set dir :dir /results/indexes
\setenv D :dir
\! mkdir -p "$D"
\! seq -f '%1.0f,ten bytes' 100000 > "$D/large.csv"
\! seq -f '%1.0f,ten bytes' 10 > "$D/small.csv"
SET movielens_ingest.header = off;

-- A build gives an index a new file; none is missing in the end.
CREATE VIEW built AS
    SELECT indexrelid::regclass AS index, pg_relation_filenode(indexrelid) <> indexrelid AS built,
           indisvalid AND indisready AND indislive AS whole
      FROM pg_index WHERE indrelid = to_regclass('target');
CREATE PROCEDURE load(file text) LANGUAGE plpgsql AS $$
BEGIN
    DROP TABLE IF EXISTS target;
    CREATE TABLE target (id integer PRIMARY KEY, name varchar(255));
    CREATE INDEX by_name ON target (name, id);
    CREATE INDEX by_hash ON target USING hash (name);
    COMMIT;
    PERFORM ml_import(file, 'target', force => true);
    COMMIT;
    PERFORM ml_wait(max(id)) FROM uploaded_files;
END
$$;
SET client_min_messages = warning;

-- auto: for large files.
\set large :dir /large.csv
\set small :dir /small.csv
CALL load(:'large');
SELECT * FROM built ORDER BY index::text;
CALL load(:'small');
SELECT * FROM built ORDER BY index::text;

SET movielens_ingest.defer_indexes = on;
CALL load(:'small');
SELECT * FROM built ORDER BY index::text;

SET movielens_ingest.defer_indexes = off;
CALL load(:'large');
SELECT * FROM built ORDER BY index::text;

SET movielens_ingest.defer_indexes = maybe;

-- All of them ended well, and nothing is left to be built.
SELECT status, success_count, count(*) FROM uploaded_files GROUP BY status, success_count ORDER BY success_count;
SELECT count(*) FROM _deferred_indexes;

DROP TABLE target;
DROP VIEW built;
DROP PROCEDURE load;
DROP EXTENSION movielens_ingest;
