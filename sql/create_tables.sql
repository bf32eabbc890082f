-- ml_create_tables() makes the tables of MovieLens, and every object of the extension has a comment.
CREATE SCHEMA ingest;
CREATE EXTENSION movielens_ingest SCHEMA ingest;
CREATE SCHEMA lens;
CREATE SCHEMA "Other Lens";
SET search_path = lens, ingest;
\set VERBOSITY terse

-- All six, in the first schema of the search path.
SELECT * FROM ml_create_tables();

SELECT relname, attname, format_type(atttypid, atttypmod) AS type, attnotnull, atthasdef
  FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
 WHERE relnamespace = 'lens'::regnamespace AND relkind = 'r' AND attnum > 0
 ORDER BY relname, attnum;
-- NOT NULL is a constraint in the catalog from 18 on.
SELECT conrelid::regclass, contype, pg_get_constraintdef(oid)
  FROM pg_constraint WHERE connamespace = 'lens'::regnamespace AND contype <> 'n' ORDER BY conrelid::regclass::text COLLATE "C";
SELECT indrelid::regclass, pg_get_indexdef(indexrelid)
  FROM pg_index WHERE indrelid::regclass::text IN (SELECT relname FROM pg_class WHERE relnamespace = 'lens'::regnamespace)
 ORDER BY indrelid::regclass::text COLLATE "C";

-- Every column of a foreign key has an index.
SELECT conrelid::regclass, conkey
  FROM pg_constraint c
 WHERE contype = 'f' AND connamespace = 'lens'::regnamespace
   AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.conrelid AND i.indkey[0] = c.conkey[1]);

SELECT relname, obj_description(oid, 'pg_class')
  FROM pg_class WHERE relnamespace = 'lens'::regnamespace AND relkind = 'r' ORDER BY relname;

-- A second call makes nothing, and what is there stays as it is.
ALTER TABLE tags ADD note text DEFAULT 'mine';
SELECT * FROM ml_create_tables();
SELECT attname FROM pg_attribute WHERE attrelid = 'tags'::regclass AND attnum > 0 ORDER BY attnum;

-- Only the missing ones; a table's foreign key references the movies of its own schema.
DROP TABLE links, tags;
SELECT * FROM ml_create_tables('lens');
SELECT * FROM ml_create_tables(schema => 'Other Lens');
SELECT conrelid::regclass, confrelid::regclass
  FROM pg_constraint WHERE contype = 'f' AND connamespace = '"Other Lens"'::regnamespace
 ORDER BY conrelid::regclass::text COLLATE "C";

-- A row of a movie goes with the movie.
INSERT INTO movies VALUES (1, 'one', NULL), (2, 'two', NULL);
INSERT INTO ratings VALUES (7, 1, 4.5, '0'), (7, 2, 3, '0');
INSERT INTO ratings VALUES (7, 3, 4.5, '0');
DELETE FROM movies WHERE movieid = 1;
SELECT * FROM ratings;

-- The tables are the user's own: they belong to the caller, not to the extension.
SELECT count(*) FROM pg_depend
 WHERE deptype = 'e' AND classid = 'pg_class'::regclass
   AND objid IN (SELECT oid FROM pg_class WHERE relnamespace = 'lens'::regnamespace);
CREATE ROLE regress_ingest_owner;
GRANT USAGE ON SCHEMA ingest TO regress_ingest_owner;
CREATE SCHEMA owned AUTHORIZATION regress_ingest_owner;
SET ROLE regress_ingest_owner;
SELECT count(*) FROM ml_create_tables('owned');
SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'owned' ORDER BY tablename;
-- ... who needs the right to make them.
SELECT ml_create_tables('lens');
RESET ROLE;
CREATE SCHEMA closed;
SET ROLE regress_ingest_owner;
SELECT ml_create_tables('closed');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;

-- A schema that is missing.
SELECT ml_create_tables('nowhere');
\echo :LAST_ERROR_SQLSTATE
SELECT ml_create_tables(NULL);
\echo :LAST_ERROR_SQLSTATE
SET search_path = nowhere;
SELECT ingest.ml_create_tables();
\echo :LAST_ERROR_SQLSTATE
SET search_path = lens, ingest;

-- The objects of the extension, and those of them that have no comment; so with the indexes and policies of its tables.
-- From 17 on the types of the rows of its tables, and of arrays of them, are members too.
CREATE TEMPORARY VIEW member AS
SELECT classid, objid, objsubid
  FROM pg_depend
 WHERE deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'movielens_ingest')
   AND NOT (classid = 'pg_type'::regclass
            AND EXISTS (SELECT FROM pg_type t LEFT JOIN pg_type element ON element.oid = t.typelem
                         WHERE t.oid = objid AND (t.typrelid <> 0 OR element.typrelid <> 0)));
SELECT pg_describe_object(classid, objid, objsubid) COLLATE "C" AS object
  FROM member
 ORDER BY 1;
WITH object AS (
    SELECT classid, objid FROM member
    UNION ALL
    SELECT 'pg_class'::regclass, indexrelid
      FROM member JOIN pg_index ON indrelid = objid
     WHERE classid = 'pg_class'::regclass
       AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u'))
    UNION ALL
    SELECT 'pg_policy'::regclass, p.oid
      FROM member JOIN pg_policy p ON polrelid = objid WHERE classid = 'pg_class'::regclass
)
SELECT pg_describe_object(classid, objid, 0) AS object
  FROM object
 WHERE NOT EXISTS (SELECT FROM pg_description d
                    WHERE d.classoid = classid AND d.objoid = objid AND d.objsubid = 0);
SELECT obj_description(oid, 'pg_extension') FROM pg_extension WHERE extname = 'movielens_ingest';

-- The ledger, which is dumped with its sequences.
SELECT relname, attname, format_type(atttypid, atttypmod) AS type, attnotnull,
       coalesce(pg_get_expr(adbin, adrelid), nullif('identity ' || attidentity::text, 'identity ')) AS default
  FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
 WHERE relname IN ('uploaded_files', 'process_chunks', 'rejected_rows')
   AND relnamespace = 'ingest'::regnamespace AND attnum > 0 AND NOT attisdropped
 ORDER BY relname, attnum;
SELECT unnest(extconfig)::regclass::text COLLATE "C" AS dumped
  FROM pg_extension WHERE extname = 'movielens_ingest' ORDER BY 1;

-- The tables stay when the extension goes.
SET client_min_messages = warning;
DROP VIEW member;
DROP EXTENSION movielens_ingest;
SELECT count(*) FROM movies;
DROP SCHEMA lens, "Other Lens", owned, closed, ingest CASCADE;
DROP ROLE regress_ingest_owner;
