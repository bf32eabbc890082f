\echo Use "CREATE EXTENSION movielens_ingest" to load this file. \quit

-- Others may have made operators and functions in the schema of the extension, and none of them may get into a constraint,
-- a view or a function: what has no schema here is the server's own. LOCAL, for a plain SET would outlive the script.
SET LOCAL search_path = pg_catalog, pg_temp;

/*
 * The ledger. Only the extension writes it, as the owner of these tables: there is a policy for reading and none for
 * writing, and triggers (at the end of this script) refuse what a policy does not stop. A role sees its own imports and
 * those of the roles that it is a member of, pg_monitor sees all.
 *
 * pg_dump takes along what tells of imports, but not what makes them run: _callers and _session_settings. So an import that
 * was restored, from whatever dump, is there to be read, and nothing is ever done in the name of the role that it names.
 */

CREATE TABLE @extschema@.uploaded_files (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    file_name           varchar(255) NOT NULL,
    uploaded_at         timestamptz NOT NULL DEFAULT pg_catalog.now(),
    status              varchar(50) NOT NULL DEFAULT 'Processing',
    success_count       bigint NOT NULL DEFAULT 0,
    error_count         bigint NOT NULL DEFAULT 0,
    processing_duration interval,
    start_time          timestamptz,
    end_time            timestamptz,
    file_path           text NOT NULL,
    file_size           bigint NOT NULL,
    target              text NOT NULL,
    options             jsonb NOT NULL,
    owner_oid           oid NOT NULL,
    owner_name          name NOT NULL,
    row_count           bigint,
    skipped_count       bigint NOT NULL DEFAULT 0,
    unprocessed_count   bigint,
    sqlstate            text,
    error               text,
    plan                jsonb NOT NULL,
    dataset_id          bigint,
    origin              uuid NOT NULL,
    CONSTRAINT uploaded_files_status_check
        CHECK (status IN ('Queued', 'Processing', 'Completed', 'Completed with errors', 'Failed', 'Cancelled')),
    CONSTRAINT uploaded_files_counts_check
        CHECK (row_count IS NULL OR success_count + error_count + skipped_count + unprocessed_count = row_count),
    CONSTRAINT uploaded_files_completed_check
        CHECK (status NOT LIKE 'Completed%' OR row_count IS NOT NULL AND unprocessed_count = 0)
);
CREATE INDEX uploaded_files_inode_idx ON @extschema@.uploaded_files (((plan ->> 'inode')::bigint), target)
    WHERE status NOT IN ('Failed', 'Cancelled');
CREATE INDEX uploaded_files_dataset_id_idx ON @extschema@.uploaded_files (dataset_id);
CREATE INDEX uploaded_files_queue_idx ON @extschema@.uploaded_files (((plan ->> 'login')::bigint), dataset_id)
    WHERE status = 'Queued';
CREATE INDEX uploaded_files_status_idx ON @extschema@.uploaded_files (status) WHERE status IN ('Queued', 'Processing');

CREATE TABLE @extschema@.process_chunks (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uploaded_file_id bigint NOT NULL REFERENCES @extschema@.uploaded_files ON DELETE CASCADE,
    ended            timestamptz,
    start_row        bigint NOT NULL,
    end_row          bigint NOT NULL,
    status           varchar(255) NOT NULL DEFAULT 'Pending',
    errors           text,
    chunk_number     bigint NOT NULL,
    start_byte       bigint NOT NULL,
    end_byte         bigint NOT NULL,
    start_line       bigint NOT NULL,
    attempts         integer NOT NULL DEFAULT 0,
    success_count    bigint NOT NULL DEFAULT 0,
    error_count      bigint NOT NULL DEFAULT 0,
    skipped_count    bigint NOT NULL DEFAULT 0,
    sqlstate         text,
    checksum         bigint NOT NULL,
    crashes          integer NOT NULL DEFAULT 0,
    CONSTRAINT process_chunks_number_key UNIQUE (uploaded_file_id, chunk_number),
    CONSTRAINT process_chunks_status_check CHECK (status IN ('Pending', 'Completed', 'Failed')),
    CONSTRAINT process_chunks_range_check CHECK (start_row <= end_row AND start_byte < end_byte),
    CONSTRAINT process_chunks_counts_check
        CHECK (success_count + error_count + skipped_count =
               CASE status WHEN 'Completed' THEN end_row - start_row + 1 ELSE 0 END)
);
CREATE INDEX process_chunks_checksum_idx ON @extschema@.process_chunks (checksum) WHERE chunk_number = 1;

CREATE TABLE @extschema@.rejected_rows (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uploaded_file_id bigint NOT NULL REFERENCES @extschema@.uploaded_files ON DELETE CASCADE,
    process_chunk_id bigint NOT NULL REFERENCES @extschema@.process_chunks ON DELETE CASCADE,
    row_number       bigint NOT NULL,
    line_number      bigint NOT NULL,
    byte_offset      bigint NOT NULL,
    column_name      text,
    sqlstate         text NOT NULL,
    message          text NOT NULL,
    detail           text,
    raw_line         text NOT NULL,
    raw_bytes        bytea,
    pending          boolean NOT NULL DEFAULT false,
    CONSTRAINT rejected_rows_row_number_key UNIQUE (uploaded_file_id, row_number)
);
CREATE INDEX rejected_rows_process_chunk_id_idx ON @extschema@.rejected_rows (process_chunk_id);
CREATE INDEX rejected_rows_pending_idx ON @extschema@.rejected_rows (uploaded_file_id, row_number) WHERE pending;

-- OIDs in a row mean something where the row was made, and nothing where it was restored. Physical copies of the database
-- (by pg_basebackup, pg_upgrade, CREATE DATABASE) keep the OIDs, and this id.
CREATE TABLE @extschema@._origin (
    id uuid PRIMARY KEY
);
INSERT INTO @extschema@._origin VALUES (gen_random_uuid());

-- As whom an import runs. One without a row here was not made by a call.
CREATE TABLE @extschema@._callers (
    uploaded_file_id   bigint PRIMARY KEY REFERENCES @extschema@.uploaded_files ON DELETE CASCADE,
    role               oid NOT NULL,
    session_role       oid NOT NULL,
    authenticated_role oid NOT NULL,
    process_limit      integer NOT NULL
);

-- What a session had set may be secret: only the owner of the ledger reads it.
CREATE TABLE @extschema@._session_settings (
    uploaded_file_id bigint NOT NULL REFERENCES @extschema@.uploaded_files ON DELETE CASCADE,
    name             text NOT NULL,
    value            text NOT NULL,
    context          integer NOT NULL,
    role             oid NOT NULL,
    PRIMARY KEY (uploaded_file_id, name)
);

-- A crash empties it, as it empties the unlogged tables that were loaded.
CREATE UNLOGGED TABLE @extschema@._unlogged_witnesses (
    uploaded_file_id bigint PRIMARY KEY REFERENCES @extschema@.uploaded_files ON DELETE CASCADE
);

-- No key: who asks waits for nobody. Not for pg_dump: where it is restored, an import has no leader that could go on.
CREATE TABLE @extschema@._cancel_requests (
    uploaded_file_id bigint NOT NULL,
    resumed          bigint NOT NULL,
    requested_at     timestamptz NOT NULL DEFAULT pg_catalog.now()
);
CREATE INDEX _cancel_requests_uploaded_file_id_idx ON @extschema@._cancel_requests (uploaded_file_id);
-- So rows can be deleted also where a publication is for all tables (CheckCmdReplicaIdentity).
ALTER TABLE @extschema@._cancel_requests REPLICA IDENTITY FULL;

-- Not for pg_dump, which leaves out indexes that are not valid.
CREATE TABLE @extschema@._deferred_indexes (
    index_oid  oid PRIMARY KEY,
    target_oid oid NOT NULL,
    crashes    integer NOT NULL DEFAULT 0
);

COMMENT ON TABLE @extschema@.uploaded_files IS 'imports: a row for each file that was given to ml_import()';
COMMENT ON COLUMN @extschema@.uploaded_files.id IS 'what ml_import() returned';
COMMENT ON COLUMN @extschema@.uploaded_files.file_name IS 'name of the file, without its directory';
COMMENT ON COLUMN @extschema@.uploaded_files.uploaded_at IS 'when ml_import() was called';
COMMENT ON COLUMN @extschema@.uploaded_files.status IS 'Queued (no worker slot was free), Processing, Completed, Completed with errors (records were refused), Failed or Cancelled';
COMMENT ON COLUMN @extschema@.uploaded_files.success_count IS 'records that were loaded';
COMMENT ON COLUMN @extschema@.uploaded_files.error_count IS 'records that were refused: see rejected_rows';
COMMENT ON COLUMN @extschema@.uploaded_files.processing_duration IS 'time from start_time to the last change of the counts';
COMMENT ON COLUMN @extschema@.uploaded_files.start_time IS 'when its leader began';
COMMENT ON COLUMN @extschema@.uploaded_files.end_time IS 'when it ended; until then, when the counts last changed';
COMMENT ON COLUMN @extschema@.uploaded_files.file_path IS 'absolute path on the server';
COMMENT ON COLUMN @extschema@.uploaded_files.file_size IS 'size in bytes';
COMMENT ON COLUMN @extschema@.uploaded_files.target IS 'the table that it is loaded into';
COMMENT ON COLUMN @extschema@.uploaded_files.options IS 'the options in force, from the call or the settings';
COMMENT ON COLUMN @extschema@.uploaded_files.owner_oid IS 'the role that called ml_import(), by OID: it and its members see the import, whatever its name has become';
COMMENT ON COLUMN @extschema@.uploaded_files.owner_name IS 'the name that this role had: after a restore, the role of this name and its members see the import';
COMMENT ON COLUMN @extschema@.uploaded_files.row_count IS 'data records in the file; null until the file is planned';
COMMENT ON COLUMN @extschema@.uploaded_files.skipped_count IS 'records for which a BEFORE trigger returned null';
COMMENT ON COLUMN @extschema@.uploaded_files.unprocessed_count IS 'records of chunks that are not Completed';
COMMENT ON COLUMN @extschema@.uploaded_files.sqlstate IS 'SQLSTATE of the error that ended it';
COMMENT ON COLUMN @extschema@.uploaded_files.error IS 'the error that ended it';
COMMENT ON COLUMN @extschema@.uploaded_files.plan IS 'what leader and workers need: the file''s identity, its form, its columns';
COMMENT ON COLUMN @extschema@.uploaded_files.dataset_id IS 'first import of its data set; its own id when it came alone';
COMMENT ON COLUMN @extschema@.uploaded_files.origin IS 'the ledger that it was made in, whose OIDs it has; another one than that of _origin: it was restored';

COMMENT ON TABLE @extschema@.process_chunks IS 'chunks of the imports: together they cover each file without a gap or an overlap';
COMMENT ON COLUMN @extschema@.process_chunks.id IS 'identifies it among the chunks of all imports';
COMMENT ON COLUMN @extschema@.process_chunks.uploaded_file_id IS 'its import';
COMMENT ON COLUMN @extschema@.process_chunks.ended IS 'when it was loaded or given up; null while it is pending';
COMMENT ON COLUMN @extschema@.process_chunks.start_row IS 'its first data record, counted from 1';
COMMENT ON COLUMN @extschema@.process_chunks.end_row IS 'its last data record';
COMMENT ON COLUMN @extschema@.process_chunks.status IS 'Pending, Completed or Failed';
COMMENT ON COLUMN @extschema@.process_chunks.errors IS 'the last error that it met; kept when a later attempt succeeds';
COMMENT ON COLUMN @extschema@.process_chunks.chunk_number IS 'its place in the file, from 1';
COMMENT ON COLUMN @extschema@.process_chunks.start_byte IS 'offset of its first byte in the file';
COMMENT ON COLUMN @extschema@.process_chunks.end_byte IS 'offset behind its last byte';
COMMENT ON COLUMN @extschema@.process_chunks.start_line IS 'line of the file where it starts; the header is line 1';
COMMENT ON COLUMN @extschema@.process_chunks.attempts IS 'how often loading it was begun';
COMMENT ON COLUMN @extschema@.process_chunks.success_count IS 'records that were loaded';
COMMENT ON COLUMN @extschema@.process_chunks.error_count IS 'records that were refused';
COMMENT ON COLUMN @extschema@.process_chunks.skipped_count IS 'records for which a BEFORE trigger returned null';
COMMENT ON COLUMN @extschema@.process_chunks.sqlstate IS 'SQLSTATE of the last error that it met';
COMMENT ON COLUMN @extschema@.process_chunks.checksum IS 'XXH3-64 of its bytes, as a signed number';

COMMENT ON COLUMN @extschema@.process_chunks.crashes IS 'attempts that a crash of the server ended, and one that is going on';

COMMENT ON TABLE @extschema@.rejected_rows IS 'records that could not be loaded, each with its place and its reason';
COMMENT ON COLUMN @extschema@.rejected_rows.id IS 'identifies it among the refused records of all imports';
COMMENT ON COLUMN @extschema@.rejected_rows.uploaded_file_id IS 'its import';
COMMENT ON COLUMN @extschema@.rejected_rows.process_chunk_id IS 'its chunk';
COMMENT ON COLUMN @extschema@.rejected_rows.row_number IS 'data record of the file, counted from 1';
COMMENT ON COLUMN @extschema@.rejected_rows.line_number IS 'line of the file where it starts; the header is line 1';
COMMENT ON COLUMN @extschema@.rejected_rows.byte_offset IS 'offset of its first byte in the file';
COMMENT ON COLUMN @extschema@.rejected_rows.column_name IS 'column of the table that refused it, where there is one';
COMMENT ON COLUMN @extschema@.rejected_rows.sqlstate IS 'SQLSTATE of the reason, as COPY would give it';
COMMENT ON COLUMN @extschema@.rejected_rows.message IS 'the reason, as COPY would word it, clipped to 8192 bytes';
COMMENT ON COLUMN @extschema@.rejected_rows.detail IS 'more about the reason';
COMMENT ON COLUMN @extschema@.rejected_rows.raw_line IS 'the record, without its line end; bytes that are not text as \xHH, clipped to 8192 bytes';
COMMENT ON COLUMN @extschema@.rejected_rows.raw_bytes IS 'the record byte for byte, where raw_line is not';
COMMENT ON COLUMN @extschema@.rejected_rows.pending IS 'it references a row of its own table that no record has brought yet, and is tried again when all chunks are in';

COMMENT ON TABLE @extschema@._origin IS 'internal: identifies this ledger';
COMMENT ON COLUMN @extschema@._origin.id IS 'what uploaded_files.origin is in imports that were made here';

COMMENT ON TABLE @extschema@._callers IS 'internal: as whom imports run';
COMMENT ON COLUMN @extschema@._callers.uploaded_file_id IS 'the import';
COMMENT ON COLUMN @extschema@._callers.role IS 'the role that called ml_import()';
COMMENT ON COLUMN @extschema@._callers.session_role IS 'the user of its session';
COMMENT ON COLUMN @extschema@._callers.authenticated_role IS 'who had logged in';
COMMENT ON COLUMN @extschema@._callers.process_limit IS 'how many processes the imports of who had logged in may have; 0: any number';

COMMENT ON TABLE @extschema@._session_settings IS 'internal: settings of the sessions that called ml_import(), for leader and workers';
COMMENT ON COLUMN @extschema@._session_settings.uploaded_file_id IS 'the import';
COMMENT ON COLUMN @extschema@._session_settings.name IS 'name of the setting';
COMMENT ON COLUMN @extschema@._session_settings.value IS 'its value in the session';
COMMENT ON COLUMN @extschema@._session_settings.context IS 'with what right it was set (GucContext)';
COMMENT ON COLUMN @extschema@._session_settings.role IS 'who set it';

COMMENT ON TABLE @extschema@._unlogged_witnesses IS 'internal: imports into unlogged tables whose rows no crash has taken';
COMMENT ON COLUMN @extschema@._unlogged_witnesses.uploaded_file_id IS 'the import';

COMMENT ON TABLE @extschema@._cancel_requests IS 'internal: imports that are to end, until they have or are resumed';
COMMENT ON COLUMN @extschema@._cancel_requests.uploaded_file_id IS 'the import';
COMMENT ON COLUMN @extschema@._cancel_requests.resumed IS 'how often it had been resumed; a request from before the last time is not obeyed';
COMMENT ON COLUMN @extschema@._cancel_requests.requested_at IS 'when ml_cancel() was called';
COMMENT ON INDEX @extschema@._cancel_requests_uploaded_file_id_idx IS 'finds what is asked of an import';

COMMENT ON TABLE @extschema@._deferred_indexes IS 'internal: indexes that are built when the last import into their table ends';
COMMENT ON COLUMN @extschema@._deferred_indexes.index_oid IS 'the index';
COMMENT ON COLUMN @extschema@._deferred_indexes.target_oid IS 'its table';
COMMENT ON COLUMN @extschema@._deferred_indexes.crashes IS 'how often the server crashed while it was being built, and a build that is going on';

COMMENT ON INDEX @extschema@.uploaded_files_inode_idx IS 'finds earlier imports of a file';
COMMENT ON INDEX @extschema@.process_chunks_checksum_idx IS 'finds earlier imports of a copy of a file, by its first chunk';
COMMENT ON INDEX @extschema@.uploaded_files_dataset_id_idx IS 'finds the imports of a data set';
COMMENT ON INDEX @extschema@.uploaded_files_queue_idx IS 'finds the oldest queued imports of each role';
COMMENT ON INDEX @extschema@.uploaded_files_status_idx IS 'finds imports that have not ended';
COMMENT ON INDEX @extschema@.rejected_rows_process_chunk_id_idx IS 'finds the refused records of a chunk';
COMMENT ON INDEX @extschema@.rejected_rows_pending_idx IS 'finds the refused records that are tried again';
COMMENT ON SEQUENCE @extschema@.uploaded_files_id_seq IS 'ids of uploaded_files';
COMMENT ON SEQUENCE @extschema@.process_chunks_id_seq IS 'ids of process_chunks';
COMMENT ON SEQUENCE @extschema@.rejected_rows_id_seq IS 'ids of rejected_rows';

ALTER TABLE @extschema@.uploaded_files ENABLE ROW LEVEL SECURITY;
ALTER TABLE @extschema@.process_chunks ENABLE ROW LEVEL SECURITY;
ALTER TABLE @extschema@.rejected_rows ENABLE ROW LEVEL SECURITY;
ALTER TABLE @extschema@._origin ENABLE ROW LEVEL SECURITY;
ALTER TABLE @extschema@._callers ENABLE ROW LEVEL SECURITY;
ALTER TABLE @extschema@._session_settings ENABLE ROW LEVEL SECURITY;
ALTER TABLE @extschema@._unlogged_witnesses ENABLE ROW LEVEL SECURITY;
ALTER TABLE @extschema@._cancel_requests ENABLE ROW LEVEL SECURITY;
ALTER TABLE @extschema@._deferred_indexes ENABLE ROW LEVEL SECURITY;

/*
 * Roles are OIDs where a row was made: a renamed one keeps its imports, and one that gets the name of a dropped one does not
 * see those of that. In a restored row the OID may be anybody's, and the name counts, as in the GRANTs of a dump.
 */
CREATE POLICY uploaded_files_read ON @extschema@.uploaded_files FOR SELECT
    USING ((SELECT pg_has_role('pg_monitor', 'USAGE'))
           OR CASE WHEN origin = (SELECT o.id FROM @extschema@._origin o)
                   THEN pg_has_role(owner_oid, 'USAGE')
                   ELSE owner_name IN (SELECT r.rolname FROM pg_roles r WHERE pg_has_role(r.oid, 'USAGE')) END);
CREATE POLICY process_chunks_read ON @extschema@.process_chunks FOR SELECT
    USING (EXISTS (SELECT FROM @extschema@.uploaded_files f WHERE f.id = uploaded_file_id));
CREATE POLICY rejected_rows_read ON @extschema@.rejected_rows FOR SELECT
    USING (EXISTS (SELECT FROM @extschema@.uploaded_files f WHERE f.id = uploaded_file_id));
-- For a dump of what a role sees.
CREATE POLICY _unlogged_witnesses_read ON @extschema@._unlogged_witnesses FOR SELECT
    USING (EXISTS (SELECT FROM @extschema@.uploaded_files f WHERE f.id = uploaded_file_id));
CREATE POLICY _origin_read ON @extschema@._origin FOR SELECT USING (true);
-- As the catalogs tell everybody which indexes are invalid.
CREATE POLICY _deferred_indexes_read ON @extschema@._deferred_indexes FOR SELECT USING (true);

COMMENT ON POLICY _deferred_indexes_read ON @extschema@._deferred_indexes IS 'everybody sees them, as in pg_index';
COMMENT ON POLICY _origin_read ON @extschema@._origin IS 'the policy of uploaded_files looks there';
COMMENT ON POLICY _unlogged_witnesses_read ON @extschema@._unlogged_witnesses IS 'witnesses are seen by those who see the import';
COMMENT ON POLICY uploaded_files_read ON @extschema@.uploaded_files IS 'a role sees its own imports and those of roles that it is a member of, pg_monitor sees all';
COMMENT ON POLICY process_chunks_read ON @extschema@.process_chunks IS 'chunks are seen by those who see the import';
COMMENT ON POLICY rejected_rows_read ON @extschema@.rejected_rows IS 'refused records are seen by those who see the import';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.uploaded_files', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.process_chunks', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.rejected_rows', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@._unlogged_witnesses', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.uploaded_files_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.process_chunks_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.rejected_rows_id_seq', '');

/*
 * The tables of MovieLens. They are the user's own, not members of the extension.
 */

CREATE FUNCTION @extschema@.ml_create_tables(schema text DEFAULT current_schema()) RETURNS SETOF regclass
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'ml_create_tables';
COMMENT ON FUNCTION @extschema@.ml_create_tables(text)
    IS 'makes those tables of MovieLens that are missing in the schema, and returns them';

/*
 * Imports.
 */

CREATE FUNCTION @extschema@._inserting(record integer) RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', '_inserting';
COMMENT ON FUNCTION @extschema@._inserting(integer)
    IS 'internal: tells the process that loads a chunk which record its INSERT statement is at';

CREATE FUNCTION @extschema@._records() RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 30000
AS 'MODULE_PATHNAME', '_records';
COMMENT ON FUNCTION @extschema@._records()
    IS 'internal: the records of a chunk, for the INSERT statement of the process that loads it';

CREATE FUNCTION @extschema@.ml_import(
    path           text,
    target         regclass DEFAULT NULL,
    delimiter      text DEFAULT NULL,
    quote          text DEFAULT NULL,
    escape         text DEFAULT NULL,
    null_string    text DEFAULT NULL,
    header         boolean DEFAULT NULL,
    columns        text[] DEFAULT NULL,
    encoding       text DEFAULT NULL,
    force_null     text[] DEFAULT NULL,
    force_not_null text[] DEFAULT NULL,
    on_error       text DEFAULT NULL,
    reject_limit   integer DEFAULT NULL,
    chunk_size     integer DEFAULT NULL,
    min_chunks     integer DEFAULT NULL,
    max_workers    integer DEFAULT NULL,
    max_retries    integer DEFAULT NULL,
    force          boolean DEFAULT NULL,
    at_least_once  boolean DEFAULT NULL
) RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'ml_import';
COMMENT ON FUNCTION @extschema@.ml_import
    IS 'registers a CSV file of the server for loading into a table, which begins when the transaction commits, and returns the id of the import; target: the table, for a file of MovieLens by its name; delimiter, quote, escape, null_string, encoding, force_null and force_not_null are COPY''s (null_string is its NULL); header: the first line names the columns; columns: the columns that the fields are for, in their order, whatever the first line says; on_error: reject notes a record that cannot be loaded in rejected_rows, stop ends the import; reject_limit: how many may be refused; chunk_size: records in a chunk; min_chunks: the least number of chunks; max_workers: processes that load; max_retries: tries after the first one; force: load a file again; at_least_once: load into foreign tables, where a retry may load rows twice; an option left out is the setting movielens_ingest.<option>, but for force and at_least_once, which are false then';

CREATE FUNCTION @extschema@.ml_wait(id bigint, timeout interval DEFAULT NULL) RETURNS @extschema@.uploaded_files
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'ml_wait';
COMMENT ON FUNCTION @extschema@.ml_wait(bigint, interval)
    IS 'waits until an import has ended, or for the given time, and returns its row of uploaded_files';

CREATE FUNCTION @extschema@.ml_import_dataset(
    directory     text,
    strict        boolean DEFAULT false,
    delimiter     text DEFAULT NULL,
    quote         text DEFAULT NULL,
    escape        text DEFAULT NULL,
    null_string   text DEFAULT NULL,
    header        boolean DEFAULT NULL,
    encoding      text DEFAULT NULL,
    on_error      text DEFAULT NULL,
    reject_limit  integer DEFAULT NULL,
    chunk_size    integer DEFAULT NULL,
    min_chunks    integer DEFAULT NULL,
    max_workers   integer DEFAULT NULL,
    max_retries   integer DEFAULT NULL,
    force         boolean DEFAULT NULL,
    at_least_once boolean DEFAULT NULL
) RETURNS TABLE (id bigint, file_name text, target regclass)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'ml_import_dataset';
COMMENT ON FUNCTION @extschema@.ml_import_dataset
    IS 'registers the files of MovieLens in a directory of the server, to be loaded in the order that their foreign keys need when the transaction commits; strict: a missing file is an error; the options are those of ml_import()';

CREATE FUNCTION @extschema@.ml_cancel(id bigint) RETURNS boolean
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'ml_cancel';
COMMENT ON FUNCTION @extschema@.ml_cancel(bigint)
    IS 'ends an import, keeping what it has committed; false if it has ended already';

CREATE FUNCTION @extschema@.ml_resume(id bigint) RETURNS boolean
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'ml_resume';
COMMENT ON FUNCTION @extschema@.ml_resume(bigint)
    IS 'goes on with an import that failed, was cancelled or was interrupted, and with the rest of its data set: loads the chunks that are not Completed; false if it is running, queued or complete';

CREATE FUNCTION @extschema@.ml_validate(
    path           text,
    target         regclass DEFAULT NULL,
    delimiter      text DEFAULT NULL,
    quote          text DEFAULT NULL,
    escape         text DEFAULT NULL,
    null_string    text DEFAULT NULL,
    header         boolean DEFAULT NULL,
    columns        text[] DEFAULT NULL,
    encoding       text DEFAULT NULL,
    force_null     text[] DEFAULT NULL,
    force_not_null text[] DEFAULT NULL,
    max_workers    integer DEFAULT NULL
) RETURNS SETOF @extschema@.rejected_rows
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'ml_validate';
COMMENT ON FUNCTION @extschema@.ml_validate
    IS 'returns the records of a CSV file that an import into the table would refuse for their form or their values, in order, and loads nothing; the parameters are some of those of ml_import; only an import finds what unique keys, foreign keys, exclusion constraints, triggers, policies, indexes, the choice of a partition or volatile defaults refuse, and NOT NULL and CHECK of a table with BEFORE ROW triggers';

/*
 * The way back.
 */

CREATE FUNCTION @extschema@.ml_rejected_lines(id bigint) RETURNS SETOF text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH import AS (
        SELECT f.id, f.options ->> 'delimiter' AS delimiter, f.options ->> 'quote' AS quote,
               f.options ->> 'escape' AS escape, f.options ->> 'encoding' AS encoding, f.plan -> 'columns' AS columns
          FROM @extschema@.uploaded_files f WHERE f.id = ml_rejected_lines.id
    )
    SELECT line FROM (
        SELECT 0 AS place, string_agg(quote || replace(doubled, quote, escape || quote) || quote, delimiter ORDER BY n) AS line
          FROM import, jsonb_array_elements_text(columns) WITH ORDINALITY AS c (name, n),
               -- where the escape is the quote, it is doubled with the quotes
               LATERAL (SELECT CASE WHEN escape = quote THEN name ELSE replace(name, escape, escape || escape) END) d (doubled)
        HAVING count(*) > 0
         UNION ALL
        -- raw_line shows what is not text, and is clipped
        SELECT r.row_number, CASE WHEN r.raw_bytes IS NULL THEN r.raw_line ELSE convert_from(r.raw_bytes, i.encoding) END
          FROM import i JOIN @extschema@.rejected_rows r ON r.uploaded_file_id = i.id) lines
     ORDER BY place;
END;
COMMENT ON FUNCTION @extschema@.ml_rejected_lines(bigint)
    IS 'the refused records of an import as the lines of a file, under a line that names the columns: to be corrected and imported again with the same options; an error for bytes that are no text in the encoding of the file';

/*
 * Progress.
 */

CREATE FUNCTION @extschema@._live_imports(
    OUT id bigint, OUT alive boolean, OUT phase text, OUT rows_done bigint, OUT rejects bigint, OUT bytes_done bigint,
    OUT rows_per_second double precision, OUT average_rows_per_second double precision,
    OUT seconds_left double precision, OUT workers integer, OUT chunks_done bigint, OUT chunks_failed bigint,
    OUT chunks_total bigint, OUT retries bigint, OUT reason text, OUT resumable boolean
) RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', '_live_imports';
COMMENT ON FUNCTION @extschema@._live_imports()
    IS 'internal: what shared memory says of the imports that have not ended and that the caller may see';

-- A standby does not know who lives on the primary: there, phase is null.
CREATE VIEW @extschema@.ml_progress WITH (security_invoker = true) AS
SELECT p.id, p.file_name, p.target, p.dataset_id, p.phase, p.rows_done, p.rows_total, p.bytes_done, p.bytes_total,
       p.percent, p.rows_per_second, p.average_rows_per_second, p.time_left, p.workers, p.chunks_done, p.chunks_failed,
       p.chunks_total, p.retries, p.rejects, p.indexes_missing,
       '[' || rpad(repeat('#', floor(p.percent / 5)::integer), 20, '-') || ']' AS bar,
       -- the name that the schema has now
       CASE WHEN p.phase = 'interrupted' AND p.resumable
            THEN (SELECT format('SELECT %s.ml_resume(%s)', c.relnamespace::regnamespace, p.id)
                    FROM pg_class c WHERE c.oid = p.ledger) END AS resume,
       p.reason
  FROM (SELECT f.id, f.tableoid AS ledger, f.file_name, f.target, f.dataset_id,
               CASE WHEN NOT l.alive THEN 'interrupted'
                    WHEN f.status = 'Queued' THEN 'queued'
                    ELSE coalesce(l.phase, CASE WHEN l.alive THEN 'queued' END) END AS phase,
               coalesce(l.rows_done, c.rows_done) AS rows_done,
               f.row_count AS rows_total,
               coalesce(l.bytes_done, c.bytes_done) AS bytes_done,
               b.total AS bytes_total,
               CASE WHEN b.total = 0 THEN 100
                    ELSE least(100.0 * coalesce(l.bytes_done, c.bytes_done) / b.total, 100) END::numeric(4, 1) AS percent,
               round(l.rows_per_second)::bigint AS rows_per_second,
               round(l.average_rows_per_second)::bigint AS average_rows_per_second,
               date_trunc('second', make_interval(secs => l.seconds_left) + interval '0.999 s') AS time_left,
               coalesce(l.workers, 0) AS workers,
               coalesce(l.chunks_done, c.chunks_done) AS chunks_done,
               coalesce(l.chunks_failed, c.chunks_failed) AS chunks_failed,
               coalesce(l.chunks_total, c.chunks_total) AS chunks_total,
               coalesce(l.retries, c.retries) AS retries,
               coalesce(l.rejects, c.rejects) AS rejects,
               l.reason, l.resumable,
               (SELECT array_agg(i.indexrelid::regclass::text ORDER BY i.indexrelid)
                  FROM @extschema@._deferred_indexes d
                  JOIN pg_catalog.pg_index i ON i.indexrelid = d.index_oid AND i.indrelid = d.target_oid AND NOT i.indisready
                 WHERE d.target_oid = (f.plan ->> 'target_oid')::oid
                   AND f.origin = (SELECT o.id FROM @extschema@._origin o)) AS indexes_missing
          FROM @extschema@.uploaded_files f
          LEFT JOIN @extschema@._live_imports() l ON l.id = f.id
         CROSS JOIN LATERAL (SELECT f.file_size - (f.plan ->> 'data_start')::bigint AS total) b
          -- by the ledger, where no process is alive to ask
          LEFT JOIN LATERAL (
               SELECT coalesce(sum(k.success_count + k.error_count + k.skipped_count), 0)::bigint AS rows_done,
                      coalesce(sum(k.end_byte - k.start_byte) FILTER (WHERE k.status = 'Completed'), 0)::bigint AS bytes_done,
                      count(*) FILTER (WHERE k.status = 'Completed') AS chunks_done,
                      count(*) FILTER (WHERE k.status = 'Failed') AS chunks_failed,
                      count(*) AS chunks_total,
                      coalesce(sum(greatest(k.attempts - 1, 0)), 0)::bigint AS retries,
                      coalesce(sum(k.error_count), 0)::bigint AS rejects
                 FROM @extschema@.process_chunks k WHERE k.uploaded_file_id = f.id AND l.phase IS NULL) c ON true
         WHERE f.status IN ('Queued', 'Processing')) p;
COMMENT ON VIEW @extschema@.ml_progress IS 'imports that are running, queued or interrupted, and how far they are';
COMMENT ON COLUMN @extschema@.ml_progress.id IS 'the import';
COMMENT ON COLUMN @extschema@.ml_progress.file_name IS 'name of the file, without its directory';
COMMENT ON COLUMN @extschema@.ml_progress.target IS 'the table that it is loaded into';
COMMENT ON COLUMN @extschema@.ml_progress.dataset_id IS 'first import of its data set; its own id when it came alone';
COMMENT ON COLUMN @extschema@.ml_progress.phase IS 'queued, planning, loading, indexing, analyzing or interrupted; null on a standby';
COMMENT ON COLUMN @extschema@.ml_progress.rows_done IS 'records loaded, refused or skipped, of chunks that are being loaded too';
COMMENT ON COLUMN @extschema@.ml_progress.rows_total IS 'data records of the file; null until it is planned';
COMMENT ON COLUMN @extschema@.ml_progress.bytes_done IS 'bytes of these records';
COMMENT ON COLUMN @extschema@.ml_progress.bytes_total IS 'bytes of the file behind its header';
COMMENT ON COLUMN @extschema@.ml_progress.percent IS 'bytes_done of bytes_total';
COMMENT ON COLUMN @extschema@.ml_progress.rows_per_second IS 'in the last seconds';
COMMENT ON COLUMN @extschema@.ml_progress.average_rows_per_second IS 'since loading began, or went on';
COMMENT ON COLUMN @extschema@.ml_progress.time_left IS 'at the average speed';
COMMENT ON COLUMN @extschema@.ml_progress.workers IS 'processes that load a chunk of it, the leader counted';
COMMENT ON COLUMN @extschema@.ml_progress.chunks_done IS 'chunks that are Completed';
COMMENT ON COLUMN @extschema@.ml_progress.chunks_failed IS 'chunks that are Failed';
COMMENT ON COLUMN @extschema@.ml_progress.chunks_total IS 'chunks; grows while the file is planned';
COMMENT ON COLUMN @extschema@.ml_progress.retries IS 'attempts that failed and were followed by another one';
COMMENT ON COLUMN @extschema@.ml_progress.rejects IS 'records that were refused';
COMMENT ON COLUMN @extschema@.ml_progress.indexes_missing IS 'indexes of the table that are built when the last import into it ends; null when there are none';
COMMENT ON COLUMN @extschema@.ml_progress.bar IS 'percent as a picture';
COMMENT ON COLUMN @extschema@.ml_progress.resume IS 'the call that goes on with an interrupted import; null for one that was restored, with which nothing does';
COMMENT ON COLUMN @extschema@.ml_progress.reason IS 'why an interrupted import does not go on by itself, where more is known than that its processes have ended';

/*
 * Load, and watch.
 */

CREATE FUNCTION @extschema@._progress_lines(ids bigint[]) RETURNS text[]
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH import AS (
        SELECT f.file_name, f.status, f.row_count, p.phase, p.percent, p.bar, p.rows_per_second, p.time_left,
               CASE WHEN p.id IS NULL THEN f.success_count + f.error_count + f.skipped_count ELSE p.rows_done END AS rows,
               CASE WHEN p.id IS NULL THEN f.error_count ELSE p.rejects END AS rejects,
               max(length(f.file_name)) OVER () AS width,
               array_position(ids, f.id) AS place
          FROM @extschema@.uploaded_files f LEFT JOIN @extschema@.ml_progress p ON p.id = f.id
         WHERE f.id = ANY (ids)
    )
    SELECT array_agg(format('%s  %s %s %%  %s of %s rows  %s/s  %s left  %s rejects',
                             rpad(file_name, width), bar, to_char(percent, 'FM990.0'), to_char(rows, 'FM999,999,999,990'),
                             coalesce(to_char(row_count, 'FM999,999,999,990'), '?'),
                             coalesce(to_char(rows_per_second, 'FM999,999,999,990'), '?'),
                             coalesce(time_left::text, '?'), rejects) ORDER BY place)
      FROM import WHERE phase IN ('loading', 'indexing', 'analyzing', 'planning');
END;
COMMENT ON FUNCTION @extschema@._progress_lines(bigint[]) IS 'internal: what ml_load() shows once a second';

CREATE FUNCTION @extschema@._summary_lines(ids bigint[]) RETURNS text[]
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH import AS (
        SELECT f.id, f.file_name::text AS file, to_char(f.success_count, 'FM999,999,999,990') AS rows,
               to_char(f.error_count, 'FM999,999,999,990') AS rejects,
               to_char(extract(epoch FROM f.processing_duration), 'FM999,990.00') AS seconds,
               coalesce(to_char(f.success_count / nullif(extract(epoch FROM f.processing_duration), 0),
                                'FM999,999,999,990'), '') AS speed,
               f.status::text AS state, f.error, array_position(ids, f.id) AS place
          FROM @extschema@.uploaded_files f WHERE f.id = ANY (ids)
    ), width AS (
        SELECT greatest(max(length(file)), 4) AS file, greatest(max(length(rows)), 4) AS rows,
               greatest(max(length(rejects)), 7) AS rejects, greatest(max(length(seconds)), 7) AS seconds,
               greatest(max(length(speed)), 6) AS speed, greatest(max(length(state)), 5) AS state
          FROM import
    ), reject AS (
        SELECT format('%s line %s: %s %s', i.file, r.line_number, r.sqlstate, r.message) AS line, i.place, r.row_number
          FROM import i CROSS JOIN LATERAL (
               SELECT * FROM @extschema@.rejected_rows r WHERE r.uploaded_file_id = i.id ORDER BY r.row_number LIMIT 5) r
         ORDER BY i.place, r.row_number LIMIT 5
    ), line AS (
        SELECT 1 AS part, 0 AS place, 0 AS row_number,
               format('%s  %s  %s  %s  %s  state', rpad('file', w.file), lpad('rows', w.rows), lpad('rejects', w.rejects),
                      lpad('seconds', w.seconds), lpad('rows/s', w.speed)) AS line FROM width w
        UNION ALL
        SELECT 2, 0, 0, format('%s  %s  %s  %s  %s  %s', repeat('-', w.file), repeat('-', w.rows), repeat('-', w.rejects),
                               repeat('-', w.seconds), repeat('-', w.speed), repeat('-', w.state)) FROM width w
        UNION ALL
        SELECT 3, i.place, 0, format('%s  %s  %s  %s  %s  %s', rpad(i.file, w.file), lpad(i.rows, w.rows),
                                     lpad(i.rejects, w.rejects), lpad(coalesce(i.seconds, ''), w.seconds),
                                     lpad(i.speed, w.speed), i.state)
          FROM import i, width w
        UNION ALL
        SELECT 4, i.place, 0, format('%s: %s', i.file, i.error) FROM import i WHERE i.error IS NOT NULL
        UNION ALL
        SELECT 5, r.place, r.row_number, r.line FROM reject r
        UNION ALL
        SELECT 6, 0, 0, format('... and %s more rejects: see %s.rejected_rows', rest,
                               (SELECT c.relnamespace::regnamespace FROM pg_class c
                                 WHERE c.oid = '@extschema@.rejected_rows'::regclass))
          FROM (SELECT sum(f.error_count) - (SELECT count(*) FROM reject) AS rest
                  FROM @extschema@.uploaded_files f WHERE f.id = ANY (ids)) r
         WHERE rest > 0
    )
    SELECT array_agg(line ORDER BY part, place, row_number) FROM line;
END;
COMMENT ON FUNCTION @extschema@._summary_lines(bigint[]) IS 'internal: what ml_load() shows at the end';

CREATE PROCEDURE @extschema@.ml_load(
    path           text,
    target         regclass DEFAULT NULL,
    strict         boolean DEFAULT false,
    delimiter      text DEFAULT NULL,
    quote          text DEFAULT NULL,
    escape         text DEFAULT NULL,
    null_string    text DEFAULT NULL,
    header         boolean DEFAULT NULL,
    columns        text[] DEFAULT NULL,
    encoding       text DEFAULT NULL,
    force_null     text[] DEFAULT NULL,
    force_not_null text[] DEFAULT NULL,
    on_error       text DEFAULT NULL,
    reject_limit   integer DEFAULT NULL,
    chunk_size     integer DEFAULT NULL,
    min_chunks     integer DEFAULT NULL,
    max_workers    integer DEFAULT NULL,
    max_retries    integer DEFAULT NULL,
    force          boolean DEFAULT NULL,
    at_least_once  boolean DEFAULT NULL
)
LANGUAGE c
AS 'MODULE_PATHNAME', 'ml_load';
COMMENT ON PROCEDURE @extschema@.ml_load
    IS 'imports a file, or the data set in a directory, and waits; shows progress and a summary, and raises an error if a file did not complete; cancelling it cancels its imports; the options are those of ml_import() and ml_import_dataset()';

/*
 * For which script the library was built that made these objects. A library that was built for another one refuses them.
 */

CREATE FUNCTION @extschema@._script_of_library() RETURNS text
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', '_script_of_library';
COMMENT ON FUNCTION @extschema@._script_of_library()
    IS 'internal: the checksum of the script that the library was built with';

DO $$
BEGIN
    EXECUTE format('CREATE FUNCTION @extschema@._script() RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS %L',
                   format('SELECT %L', @extschema@._script_of_library()));
END
$$;
COMMENT ON FUNCTION @extschema@._script()
    IS 'internal: the checksum of the script that the library was built with when the extension was made';

/*
 * Policies do not hold for roles with BYPASSRLS, nor for TRUNCATE. Triggers do, and always: a role can be allowed to set
 * session_replication_role. A row trigger is there too, for logical replication fires no other. Where rows are restored it
 * comes after them, so that many can be inserted at once (CopyFrom); elsewhere before them, so that it can leave them out.
 */

CREATE FUNCTION @extschema@._guard_ledger() RETURNS trigger
LANGUAGE c
AS 'MODULE_PATHNAME', '_guard_ledger';
COMMENT ON FUNCTION @extschema@._guard_ledger() IS 'internal: keeps others from writing the ledger';

DO $$
DECLARE
    ledger record;
BEGIN
    FOR ledger IN
        -- What pg_dump does not take along, nobody has to restore.
        SELECT d.objid::regclass AS name, restored, CASE WHEN restored THEN 'all' ELSE 'extension' END AS writers
          FROM pg_extension e JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
          JOIN pg_class c ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
         CROSS JOIN LATERAL (SELECT c.oid = ANY (e.extconfig)) r (restored)
         WHERE e.extname = 'movielens_ingest' AND d.deptype = 'e' AND c.relkind = 'r'
    LOOP
        EXECUTE format('CREATE TRIGGER guard_statement BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s
                            EXECUTE FUNCTION @extschema@._guard_ledger(%L)', ledger.name, ledger.writers);
        EXECUTE format('CREATE TRIGGER guard_row %s INSERT OR UPDATE OR DELETE ON %s
                            FOR EACH ROW EXECUTE FUNCTION @extschema@._guard_ledger(%L)',
                       CASE WHEN ledger.restored THEN 'AFTER' ELSE 'BEFORE' END, ledger.name, ledger.writers);
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER guard_statement, ENABLE ALWAYS TRIGGER guard_row', ledger.name);
        EXECUTE format('COMMENT ON TRIGGER guard_statement ON %s IS %L', ledger.name, 'keeps others from writing the ledger');
        EXECUTE format('COMMENT ON TRIGGER guard_row ON %s IS %L', ledger.name, 'keeps others from writing the ledger');
    END LOOP;
END
$$;

/*
 * Who may do what. Default privileges may have granted anything on what stands above, and may have withheld what PUBLIC or
 * the owner has otherwise: so all of it is taken back, and then exactly this is granted. A trigger of another role on a
 * table of the ledger would run as its owner.
 */

DO $$
DECLARE
    member record;
    owner name := current_user;
BEGIN
    FOR member IN
        SELECT CASE WHEN d.classid = 'pg_proc'::regclass THEN 'ROUTINE ' || d.objid::regprocedure
                    WHEN c.relkind = 'S' THEN 'SEQUENCE ' || d.objid::regclass
                    ELSE 'TABLE ' || d.objid::regclass END AS name,
               coalesce(p.proacl, c.relacl) AS acl
          FROM pg_depend d
          LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
          LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
         WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
           AND d.refobjid = (SELECT e.oid FROM pg_extension e WHERE e.extname = 'movielens_ingest')
           AND d.classid IN ('pg_proc'::regclass, 'pg_class'::regclass)
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM PUBLIC', member.name);
        EXECUTE (SELECT coalesce(string_agg(format('REVOKE ALL ON %s FROM %I', member.name, r.rolname), '; '), 'SELECT')
                   FROM pg_roles r
                  WHERE r.rolname <> owner AND r.oid IN (SELECT a.grantee FROM aclexplode(member.acl) a));
        EXECUTE format('GRANT ALL ON %s TO %I', member.name, owner);
    END LOOP;
END
$$;

GRANT SELECT ON @extschema@.uploaded_files, @extschema@.process_chunks, @extschema@.rejected_rows,
    @extschema@._unlogged_witnesses, @extschema@._origin, @extschema@._deferred_indexes, @extschema@.ml_progress TO PUBLIC;
-- For pg_dump.
GRANT SELECT ON SEQUENCE @extschema@.uploaded_files_id_seq, @extschema@.process_chunks_id_seq, @extschema@.rejected_rows_id_seq
    TO PUBLIC;
GRANT EXECUTE ON FUNCTION
    @extschema@.ml_create_tables(text), @extschema@.ml_wait(bigint, interval), @extschema@.ml_cancel(bigint),
    @extschema@.ml_rejected_lines(bigint)
    TO PUBLIC;
-- These run as whoever imports, or looks.
GRANT EXECUTE ON FUNCTION
    @extschema@._inserting(integer), @extschema@._records(), @extschema@._live_imports(),
    @extschema@._progress_lines(bigint[]), @extschema@._summary_lines(bigint[])
    TO PUBLIC;
-- Reading files of the server is for the roles that COPY would let do it.
GRANT EXECUTE ON ROUTINE
    @extschema@.ml_import, @extschema@.ml_import_dataset, @extschema@.ml_load, @extschema@.ml_resume(bigint),
    @extschema@.ml_validate
    TO pg_read_server_files;

/*
 * Whoever owns the schema can rename it while this script runs, so that its statements meet other objects of these names.
 */

DO $$
DECLARE
    extension pg_extension;
    owner name;
    strange text;
BEGIN
    SELECT * INTO extension FROM pg_extension e WHERE e.extname = 'movielens_ingest';
    WITH RECURSIVE part (classid, objid) AS (
        SELECT d.classid, d.objid FROM pg_depend d
         WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = extension.oid
        UNION
        SELECT d.classid, d.objid FROM pg_depend d JOIN part p ON d.refclassid = p.classid AND d.refobjid = p.objid
         WHERE d.deptype IN ('a', 'i')
    )
    SELECT string_agg(name, ', ') INTO strange
      FROM (-- What the parts depend on, but for what initdb made, is a part, the schema, or the language of a function.
            SELECT format('%s depends on %s', pg_describe_object(d.classid, d.objid, 0),
                          pg_describe_object(d.refclassid, d.refobjid, 0))
              FROM part p JOIN pg_depend d ON d.classid = p.classid AND d.objid = p.objid
             WHERE d.refobjid >= 16384 AND d.refclassid NOT IN ('pg_language'::regclass, 'pg_extension'::regclass)
               AND (d.refclassid, d.refobjid) <> ('pg_namespace'::regclass, extension.extnamespace)
               AND (d.refclassid, d.refobjid) NOT IN (SELECT o.classid, o.objid FROM part o)
             UNION ALL
            SELECT format('%s is in another schema', c.oid::regclass)
              FROM part p JOIN pg_class c ON p.classid = 'pg_class'::regclass AND c.oid = p.objid
             WHERE c.relnamespace <> extension.extnamespace AND c.relnamespace <> 'pg_toast'::regnamespace
             UNION ALL
            SELECT format('%s is in another schema', f.oid::regprocedure)
              FROM part p JOIN pg_proc f ON p.classid = 'pg_proc'::regclass AND f.oid = p.objid
             WHERE f.pronamespace <> extension.extnamespace) s (name);
    IF strange IS NOT NULL THEN
        RAISE EXCEPTION 'objects of extension "movielens_ingest" are mixed with those of others' USING DETAIL = strange;
    END IF;

    SELECT r.rolname INTO owner
      FROM pg_namespace n, pg_database d, pg_roles r
     WHERE n.oid = extension.extnamespace AND d.datname = current_database()
       AND r.oid = CASE n.nspowner WHEN 'pg_database_owner'::regrole THEN d.datdba ELSE n.nspowner END
       AND NOT r.rolsuper;
    IF owner IS NOT NULL THEN
        RAISE WARNING 'schema "%" of extension "movielens_ingest" belongs to role "%", which is no superuser',
                      (SELECT n.nspname FROM pg_namespace n WHERE n.oid = extension.extnamespace), owner
            USING DETAIL = 'The role can rename the schema, and make functions that look like those of the extension.',
                  HINT = 'Have the extension in a schema of a superuser, in which nobody else may create anything.';
    END IF;
END
$$;
