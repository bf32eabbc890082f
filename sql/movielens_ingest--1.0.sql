\echo Use "CREATE EXTENSION movielens_ingest" to load this file. \quit

/*
 * The ledger. Only the extension writes it, as the owner of these tables: there is a policy for reading and none for
 * writing, so a granted INSERT, UPDATE or DELETE finds no row. A role sees its own imports, pg_monitor sees all.
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
    CONSTRAINT uploaded_files_status_check
        CHECK (status IN ('Processing', 'Completed', 'Completed with errors', 'Failed', 'Cancelled')),
    CONSTRAINT uploaded_files_counts_check
        CHECK (row_count IS NULL OR success_count + error_count + skipped_count + unprocessed_count = row_count),
    CONSTRAINT uploaded_files_completed_check
        CHECK (status NOT LIKE 'Completed%' OR row_count IS NOT NULL AND unprocessed_count = 0)
);
CREATE INDEX uploaded_files_file_size_idx ON @extschema@.uploaded_files (file_size);

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
    CONSTRAINT process_chunks_number_key UNIQUE (uploaded_file_id, chunk_number),
    CONSTRAINT process_chunks_status_check CHECK (status IN ('Pending', 'Completed', 'Failed')),
    CONSTRAINT process_chunks_range_check CHECK (start_row <= end_row AND start_byte < end_byte),
    CONSTRAINT process_chunks_counts_check
        CHECK (success_count + error_count + skipped_count =
               CASE status WHEN 'Completed' THEN end_row - start_row + 1 ELSE 0 END)
);

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
    CONSTRAINT rejected_rows_row_number_key UNIQUE (uploaded_file_id, row_number)
);
CREATE INDEX rejected_rows_process_chunk_id_idx ON @extschema@.rejected_rows (process_chunk_id);

-- What a session had set may be secret: only the owner of the ledger reads it.
CREATE TABLE @extschema@._session_settings (
    uploaded_file_id bigint NOT NULL REFERENCES @extschema@.uploaded_files ON DELETE CASCADE,
    name             text NOT NULL,
    value            text NOT NULL,
    context          integer NOT NULL,
    role             oid NOT NULL,
    PRIMARY KEY (uploaded_file_id, name)
);

COMMENT ON TABLE @extschema@.uploaded_files IS 'imports: a row for each file that was given to ml_import()';
COMMENT ON COLUMN @extschema@.uploaded_files.id IS 'what ml_import() returned';
COMMENT ON COLUMN @extschema@.uploaded_files.file_name IS 'name of the file, without its directory';
COMMENT ON COLUMN @extschema@.uploaded_files.uploaded_at IS 'when ml_import() was called';
COMMENT ON COLUMN @extschema@.uploaded_files.status IS 'Processing, Completed, Completed with errors (records were refused), Failed or Cancelled';
COMMENT ON COLUMN @extschema@.uploaded_files.success_count IS 'records that were loaded';
COMMENT ON COLUMN @extschema@.uploaded_files.error_count IS 'records that were refused: see rejected_rows';
COMMENT ON COLUMN @extschema@.uploaded_files.processing_duration IS 'time from start_time to the last change of the counts';
COMMENT ON COLUMN @extschema@.uploaded_files.start_time IS 'when its leader began';
COMMENT ON COLUMN @extschema@.uploaded_files.end_time IS 'when it ended; until then, when the counts last changed';
COMMENT ON COLUMN @extschema@.uploaded_files.file_path IS 'absolute path on the server';
COMMENT ON COLUMN @extschema@.uploaded_files.file_size IS 'size in bytes';
COMMENT ON COLUMN @extschema@.uploaded_files.target IS 'the table that it is loaded into';
COMMENT ON COLUMN @extschema@.uploaded_files.options IS 'the options in force, from the call or the settings';
COMMENT ON COLUMN @extschema@.uploaded_files.owner_oid IS 'the role that called ml_import(), by OID';
COMMENT ON COLUMN @extschema@.uploaded_files.owner_name IS 'the role that called ml_import(), by name; it sees the import when both are its own';
COMMENT ON COLUMN @extschema@.uploaded_files.row_count IS 'data records in the file; null until the file is planned';
COMMENT ON COLUMN @extschema@.uploaded_files.skipped_count IS 'records for which a BEFORE trigger returned null';
COMMENT ON COLUMN @extschema@.uploaded_files.unprocessed_count IS 'records of chunks that are not Completed';
COMMENT ON COLUMN @extschema@.uploaded_files.sqlstate IS 'SQLSTATE of the error that ended it';
COMMENT ON COLUMN @extschema@.uploaded_files.error IS 'the error that ended it';
COMMENT ON COLUMN @extschema@.uploaded_files.plan IS 'what leader and workers need: the file''s identity, its form, its columns';

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

COMMENT ON TABLE @extschema@.rejected_rows IS 'records that could not be loaded, each with its place and its reason';
COMMENT ON COLUMN @extschema@.rejected_rows.id IS 'identifies it among the refused records of all imports';
COMMENT ON COLUMN @extschema@.rejected_rows.uploaded_file_id IS 'its import';
COMMENT ON COLUMN @extschema@.rejected_rows.process_chunk_id IS 'its chunk';
COMMENT ON COLUMN @extschema@.rejected_rows.row_number IS 'data record of the file, counted from 1';
COMMENT ON COLUMN @extschema@.rejected_rows.line_number IS 'line of the file where it starts; the header is line 1';
COMMENT ON COLUMN @extschema@.rejected_rows.byte_offset IS 'offset of its first byte in the file';
COMMENT ON COLUMN @extschema@.rejected_rows.column_name IS 'column of the table that refused it, where there is one';
COMMENT ON COLUMN @extschema@.rejected_rows.sqlstate IS 'SQLSTATE of the reason, as COPY would give it';
COMMENT ON COLUMN @extschema@.rejected_rows.message IS 'the reason, as COPY would word it';
COMMENT ON COLUMN @extschema@.rejected_rows.detail IS 'more about the reason';
COMMENT ON COLUMN @extschema@.rejected_rows.raw_line IS 'the record, without its line end; bytes that are not text as \xHH, clipped to 8192 bytes';
COMMENT ON COLUMN @extschema@.rejected_rows.raw_bytes IS 'the record byte for byte, where raw_line is not';

COMMENT ON TABLE @extschema@._session_settings IS 'internal: settings of the sessions that called ml_import(), for leader and workers';
COMMENT ON COLUMN @extschema@._session_settings.uploaded_file_id IS 'the import';
COMMENT ON COLUMN @extschema@._session_settings.name IS 'name of the setting';
COMMENT ON COLUMN @extschema@._session_settings.value IS 'its value in the session';
COMMENT ON COLUMN @extschema@._session_settings.context IS 'with what right it was set (GucContext)';
COMMENT ON COLUMN @extschema@._session_settings.role IS 'who set it';

COMMENT ON INDEX @extschema@.uploaded_files_file_size_idx IS 'finds earlier imports of a file';
COMMENT ON INDEX @extschema@.rejected_rows_process_chunk_id_idx IS 'finds the refused records of a chunk';
COMMENT ON SEQUENCE @extschema@.uploaded_files_id_seq IS 'ids of uploaded_files';
COMMENT ON SEQUENCE @extschema@.process_chunks_id_seq IS 'ids of process_chunks';
COMMENT ON SEQUENCE @extschema@.rejected_rows_id_seq IS 'ids of rejected_rows';

ALTER TABLE @extschema@.uploaded_files ENABLE ROW LEVEL SECURITY;
ALTER TABLE @extschema@.process_chunks ENABLE ROW LEVEL SECURITY;
ALTER TABLE @extschema@.rejected_rows ENABLE ROW LEVEL SECURITY;
ALTER TABLE @extschema@._session_settings ENABLE ROW LEVEL SECURITY;

CREATE POLICY uploaded_files_read ON @extschema@.uploaded_files FOR SELECT
    USING (pg_catalog.pg_has_role(current_user, 'pg_monitor', 'USAGE')
           OR owner_name = current_user
              AND owner_oid = (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = current_user));
CREATE POLICY process_chunks_read ON @extschema@.process_chunks FOR SELECT
    USING (EXISTS (SELECT FROM @extschema@.uploaded_files f WHERE f.id = uploaded_file_id));
CREATE POLICY rejected_rows_read ON @extschema@.rejected_rows FOR SELECT
    USING (EXISTS (SELECT FROM @extschema@.uploaded_files f WHERE f.id = uploaded_file_id));

COMMENT ON POLICY uploaded_files_read ON @extschema@.uploaded_files IS 'a role sees its own imports, pg_monitor sees all';
COMMENT ON POLICY process_chunks_read ON @extschema@.process_chunks IS 'chunks are seen by those who see the import';
COMMENT ON POLICY rejected_rows_read ON @extschema@.rejected_rows IS 'refused records are seen by those who see the import';

-- Row security does not cover TRUNCATE.
CREATE FUNCTION @extschema@._refuse_truncate() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'MEMBER') THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'permission denied to truncate table "%"', TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege', DETAIL = 'Only the extension writes the ledger.';
END
$$;
COMMENT ON FUNCTION @extschema@._refuse_truncate() IS 'internal: keeps TRUNCATE off the ledger';
CREATE TRIGGER uploaded_files_truncate BEFORE TRUNCATE ON @extschema@.uploaded_files
    EXECUTE FUNCTION @extschema@._refuse_truncate();
CREATE TRIGGER process_chunks_truncate BEFORE TRUNCATE ON @extschema@.process_chunks
    EXECUTE FUNCTION @extschema@._refuse_truncate();
CREATE TRIGGER rejected_rows_truncate BEFORE TRUNCATE ON @extschema@.rejected_rows
    EXECUTE FUNCTION @extschema@._refuse_truncate();
CREATE TRIGGER _session_settings_truncate BEFORE TRUNCATE ON @extschema@._session_settings
    EXECUTE FUNCTION @extschema@._refuse_truncate();
COMMENT ON TRIGGER _session_settings_truncate ON @extschema@._session_settings IS 'keeps TRUNCATE off the ledger';
COMMENT ON TRIGGER uploaded_files_truncate ON @extschema@.uploaded_files IS 'keeps TRUNCATE off the ledger';
COMMENT ON TRIGGER process_chunks_truncate ON @extschema@.process_chunks IS 'keeps TRUNCATE off the ledger';
COMMENT ON TRIGGER rejected_rows_truncate ON @extschema@.rejected_rows IS 'keeps TRUNCATE off the ledger';

GRANT SELECT ON @extschema@.uploaded_files, @extschema@.process_chunks, @extschema@.rejected_rows TO PUBLIC;

SELECT pg_catalog.pg_extension_config_dump('@extschema@.uploaded_files', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.process_chunks', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.rejected_rows', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@._session_settings', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.uploaded_files_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.process_chunks_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.rejected_rows_id_seq', '');

/*
 * The tables of MovieLens. They are the user's own, not members of the extension.
 */

CREATE FUNCTION @extschema@._data_table_of_file(file_name text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.name
      FROM (SELECT replace(regexp_replace(lower(file_name), '\.csv$', ''), '-', '_') AS base) f,
           unnest(ARRAY['movies', 'links', 'ratings', 'tags', 'genome_scores', 'genome_tags']) AS t (name)
     -- copies of the data set name their files in the singular too
     WHERE f.base IN (t.name, regexp_replace(t.name, 's$', ''))
$$;
COMMENT ON FUNCTION @extschema@._data_table_of_file(text)
    IS 'internal: the table of MovieLens that a file of this name belongs to, or null';

CREATE FUNCTION @extschema@._create_data_table(table_name text, schema text, movies regclass) RETURNS regclass
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    new_table text := format('%I.%I', schema, table_name);
    movie text := CASE WHEN movies IS NOT NULL
                       THEN format('movieid integer NOT NULL REFERENCES %s ON DELETE CASCADE', movies) END;
    columns text := CASE table_name
        WHEN 'movies' THEN 'movieid integer PRIMARY KEY, title varchar(255), genres varchar(255)'
        WHEN 'links' THEN movie || ', imdbid varchar(100), tmdbid varchar(100)'
        WHEN 'ratings' THEN 'userid integer, ' || movie || ', rating double precision, "timestamp" varchar(100)'
        WHEN 'tags' THEN 'userid integer, ' || movie || ', tag varchar(255), "timestamp" varchar(100)'
        WHEN 'genome_scores' THEN movie || ', tagid integer, relevance double precision'
        WHEN 'genome_tags' THEN 'tagid integer, tag varchar(255)'
    END;
    description text := CASE table_name
        WHEN 'movies' THEN 'movies, from movies.csv of MovieLens'
        WHEN 'links' THEN 'a movie''s ids at IMDb and TMDb, from links.csv of MovieLens; text, for leading zeros are data'
        WHEN 'ratings' THEN 'what users gave to movies, from ratings.csv of MovieLens'
        WHEN 'tags' THEN 'words that users put on movies, from tags.csv of MovieLens'
        WHEN 'genome_scores' THEN 'how well a tag fits a movie, from genome-scores.csv of MovieLens'
        WHEN 'genome_tags' THEN 'the tags of genome_scores, from genome-tags.csv of MovieLens'
    END;
BEGIN
    EXECUTE format('CREATE TABLE %s (%s)', new_table, columns);
    EXECUTE format('COMMENT ON TABLE %s IS %L', new_table, description);
    IF position('REFERENCES' IN columns) > 0 THEN
        EXECUTE format('CREATE INDEX ON %s (movieid)', new_table);
    END IF;
    RETURN new_table::regclass;
END
$$;
COMMENT ON FUNCTION @extschema@._create_data_table(text, text, regclass)
    IS 'internal: makes one table of MovieLens; movies is the table that its foreign key references';

CREATE FUNCTION @extschema@.ml_create_tables(schema text DEFAULT current_schema()) RETURNS SETOF regclass
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    table_name text;
BEGIN
    IF schema IS NULL THEN
        RAISE EXCEPTION 'no schema has been selected to create in' USING ERRCODE = 'invalid_schema_name';
    END IF;
    IF to_regnamespace(quote_ident(schema)) IS NULL THEN
        RAISE EXCEPTION 'schema "%" does not exist', schema USING ERRCODE = 'invalid_schema_name';
    END IF;
    -- movies first: the others reference it
    FOREACH table_name IN ARRAY ARRAY['movies', 'links', 'ratings', 'tags', 'genome_scores', 'genome_tags'] LOOP
        IF to_regclass(format('%I.%I', schema, table_name)) IS NULL THEN
            RETURN NEXT @extschema@._create_data_table(table_name, schema,
                                                       to_regclass(format('%I.movies', schema)));
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION @extschema@.ml_create_tables(text)
    IS 'makes those tables of MovieLens that are missing in the schema, and returns them';

/*
 * Imports.
 */

CREATE FUNCTION @extschema@.ml_import(
    path        text,
    target      regclass DEFAULT NULL,
    chunk_size  integer DEFAULT NULL,
    min_chunks  integer DEFAULT NULL,
    max_workers integer DEFAULT NULL,
    max_retries integer DEFAULT NULL,
    force       boolean DEFAULT NULL
) RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'ml_import';
COMMENT ON FUNCTION @extschema@.ml_import(text, regclass, integer, integer, integer, integer, boolean)
    IS 'registers a CSV file of the server for loading into a table, which begins when the transaction commits, and returns the id of the import; an option left out is the setting movielens_ingest.<option>';

-- Reading files of the server is for the roles that COPY would let do it.
REVOKE ALL ON FUNCTION @extschema@.ml_import(text, regclass, integer, integer, integer, integer, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.ml_import(text, regclass, integer, integer, integer, integer, boolean)
    TO pg_read_server_files;

CREATE FUNCTION @extschema@.ml_wait(id bigint, timeout interval DEFAULT NULL) RETURNS @extschema@.uploaded_files
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'ml_wait';
COMMENT ON FUNCTION @extschema@.ml_wait(bigint, interval)
    IS 'waits until an import has ended, or for the given time, and returns its row of uploaded_files';
