-- The settings are the defaults of the options.
CREATE SCHEMA ingest;
CREATE EXTENSION movielens_ingest SCHEMA ingest;
CREATE SCHEMA lens;
SET search_path = lens, ingest;
\getenv dir PG_ABS_BUILDDIR
\set dir :dir /results/settings
\setenv D :dir
\! mkdir -p "$D"
\! (echo a; seq 1 100) > "$D/numbers.csv"
\set file :dir /numbers.csv
CREATE TABLE numbers (a integer);
\set recorded 'SELECT options FROM uploaded_files WHERE id = (SELECT max(id) FROM uploaded_files);'

LOAD 'movielens_ingest';
SHOW movielens_ingest.chunk_size;
SHOW movielens_ingest.min_chunks;
SHOW movielens_ingest.max_workers;
SHOW movielens_ingest.max_retries;
SHOW movielens_ingest.retry_delay;
SELECT name, setting, unit, context, vartype, min_val, max_val, boot_val
  FROM pg_settings WHERE name LIKE 'movielens_ingest.%' ORDER BY name COLLATE "C";
SELECT count(*) FROM pg_settings WHERE name LIKE 'movielens_ingest.%' AND short_desc = '';

-- Each option of ml_import has a setting, but for the file, the table and its columns, and what weakens a promise.
SELECT parameter
  FROM unnest((SELECT proargnames FROM pg_proc WHERE oid = 'ml_import'::regproc)) parameter
 WHERE NOT EXISTS (SELECT FROM pg_settings WHERE name = 'movielens_ingest.' || parameter)
 ORDER BY parameter COLLATE "C";

-- What is recorded is what is in force: the setting, or the option of the call. NULL is an option left out.
SELECT ml_import(:'file', 'numbers') AS id \gset
SELECT status FROM ml_wait(:id);
:recorded
SET movielens_ingest.chunk_size = 7;
SET movielens_ingest.min_chunks = 2;
SET movielens_ingest.max_workers = 1;
SET movielens_ingest.max_retries = 0;
SELECT ml_import(:'file', 'numbers', force => true) AS id \gset
:recorded
SELECT status FROM ml_wait(:id);
SELECT count(*), max(end_row - start_row + 1) FROM process_chunks WHERE uploaded_file_id = :id;
SELECT ml_import(:'file', 'numbers', chunk_size => 50, max_workers => 2, min_chunks => NULL, max_retries => 100, force => true) AS id \gset
:recorded
SELECT status FROM ml_wait(:id);
SELECT count(*), max(end_row - start_row + 1) FROM process_chunks WHERE uploaded_file_id = :id;
SELECT ml_import(:'file', 'numbers', force => true, chunk_size => NULL, max_workers => 0) AS id \gset
:recorded
SELECT status FROM ml_wait(:id);
BEGIN;
SET LOCAL movielens_ingest.chunk_size = 2147483647;
SELECT ml_import(:'file', 'numbers', force => true) AS id \gset
COMMIT;
:recorded
SELECT status FROM ml_wait(:id);
\set VERBOSITY sqlstate
SELECT ml_import(:'file', 'numbers', force => false);
\set VERBOSITY default

-- Out of range, of the wrong type, or unknown.
SET movielens_ingest.chunk_size = 0;
SET movielens_ingest.min_chunks = 10001;
SET movielens_ingest.max_workers = 1025;
SET movielens_ingest.max_workers = -1;
SET movielens_ingest.max_retries = 101;
SET movielens_ingest.force = on;
SET movielens_ingest.at_least_once = on;
-- Later servers say the unit of the range too.
\set VERBOSITY sqlstate
SET movielens_ingest.retry_delay = '601s';
\set VERBOSITY default
SET movielens_ingest.chunksize = 1;
\echo :LAST_ERROR_SQLSTATE
SHOW movielens_ingest.chunk_size;
SET movielens_ingest.retry_delay = '1min';
SHOW movielens_ingest.retry_delay;

-- They may be set for a role or a database.
CREATE ROLE regress_ingest_role;
ALTER ROLE regress_ingest_role SET movielens_ingest.chunk_size = 5;
ALTER ROLE regress_ingest_role SET movielens_ingest.nonsense = 5;
DROP ROLE regress_ingest_role;

RESET ALL;
SET search_path = lens, ingest;
SHOW movielens_ingest.chunk_size;

\! rm -r "$D"
SET client_min_messages = warning;
DROP SCHEMA lens CASCADE;
DROP EXTENSION movielens_ingest;
DROP SCHEMA ingest;
