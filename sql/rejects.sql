-- Records that cannot be loaded are refused, each with its place and its reason, and the others are loaded.
CREATE SCHEMA ingest;
CREATE EXTENSION movielens_ingest SCHEMA ingest;
CREATE SCHEMA lens;
SET search_path = lens, ingest;
\getenv dir PG_ABS_BUILDDIR
\set dir :dir /results/rejects
\setenv D :dir
\! mkdir -p -m 777 "$D"

\set ended 'SELECT status, row_count, success_count, error_count, skipped_count, unprocessed_count FROM ml_wait(:id);'
\set rejects 'SELECT row_number AS row, line_number AS line, column_name, sqlstate, message, detail FROM rejected_rows WHERE uploaded_file_id = :id ORDER BY row_number;'

-- The law. R are the records that an import refused: COPY accepts the file without R, and leaves the same rows; and it
-- refuses the file with any single one of R put back, for the same reason. before: a table of the rows that were there.
CREATE TABLE law_report (accepted bigint, same_rows boolean, refused bigint, same_reason bigint);
CREATE PROCEDURE law(import bigint, target regclass, before regclass)
LANGUAGE plpgsql AS $$
DECLARE
    file uploaded_files;
    content bytea;
    directory text;
    report law_report;
    imported text[];
    copied text[];
    reject record;
BEGIN
    SELECT * INTO STRICT file FROM uploaded_files WHERE id = import;
    content := pg_read_binary_file(file.file_path);
    directory := regexp_replace(file.file_path, '[^/]*$', '');

    -- The stretches of the file that are refused, with their line ends.
    CREATE TEMP TABLE refused AS
    SELECT row_number, sqlstate, message, byte_offset::integer AS start_byte, octet_length(record)
           + CASE WHEN substr(content, byte_offset::integer + octet_length(record) + 1, 2) = '\x0d0a' THEN 2
                  WHEN byte_offset + octet_length(record) < file.file_size THEN 1 ELSE 0 END AS size
      FROM rejected_rows, LATERAL (SELECT coalesce(raw_bytes, convert_to(raw_line, 'UTF8')) AS record) r
     WHERE uploaded_file_id = import;

    EXECUTE format('SELECT array_agg(t::text ORDER BY t::text COLLATE "C") FROM %s t', target) INTO imported;
    PERFORM write_file(directory || 'without', without_refused(content, NULL));
    BEGIN
        EXECUTE format('TRUNCATE %s', target);
        EXECUTE format('INSERT INTO %s TABLE %s', target, before);
        EXECUTE format('COPY %s (%s) FROM %L (FORMAT csv, HEADER)', target,
                       (SELECT string_agg(quote_ident(c), ',') FROM jsonb_array_elements_text(file.plan -> 'columns') c),
                       directory || 'without');
        GET DIAGNOSTICS report.accepted = ROW_COUNT;
        EXECUTE format('SELECT array_agg(t::text ORDER BY t::text COLLATE "C") FROM %s t', target) INTO copied;
        RAISE EXCEPTION USING ERRCODE = 'ZZ000';
    EXCEPTION WHEN SQLSTATE 'ZZ000' THEN
        report.same_rows := imported IS NOT DISTINCT FROM copied;
    END;

    report.refused := 0;
    report.same_reason := 0;
    FOR reject IN TABLE refused ORDER BY row_number LOOP
        PERFORM write_file(directory || 'with', without_refused(content, reject.row_number));
        BEGIN
            EXECUTE format('TRUNCATE %s', target);
            EXECUTE format('INSERT INTO %s TABLE %s', target, before);
            EXECUTE format('COPY %s (%s) FROM %L (FORMAT csv, HEADER)', target,
                           (SELECT string_agg(quote_ident(c), ',') FROM jsonb_array_elements_text(file.plan -> 'columns') c),
                           directory || 'with');
            RAISE EXCEPTION USING ERRCODE = 'ZZ000';
        EXCEPTION
            WHEN SQLSTATE 'ZZ000' THEN
                RAISE WARNING 'COPY accepts the file with record %', reject.row_number;
            WHEN OTHERS THEN
                report.refused := report.refused + 1;
                IF sqlstate = reject.sqlstate AND sqlerrm = reject.message THEN
                    report.same_reason := report.same_reason + 1;
                ELSE
                    RAISE WARNING 'record %: COPY says % %, the import says % %', reject.row_number, sqlstate, sqlerrm,
                                  reject.sqlstate, reject.message;
                END IF;
        END;
    END LOOP;
    DROP TABLE refused;
    INSERT INTO law_report VALUES (report.*);
END
$$;
-- The file without the refused records, but for the one that is kept.
CREATE FUNCTION without_refused(content bytea, kept bigint) RETURNS bytea
LANGUAGE plpgsql AS $$
DECLARE
    stretch record;
BEGIN
    FOR stretch IN SELECT * FROM refused WHERE row_number IS DISTINCT FROM kept ORDER BY row_number DESC LOOP
        content := overlay(content PLACING '' FROM stretch.start_byte + 1 FOR stretch.size);
    END LOOP;
    RETURN content;
END
$$;
CREATE FUNCTION write_file(path text, content bytea) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    object oid := lo_from_bytea(0, content);
BEGIN
    PERFORM lo_export(object, path);
    PERFORM lo_unlink(object);
END
$$;
\set law 'TABLE law_report; TRUNCATE law_report;'

-- Wrong number of fields, values that a type refuses, NULL where it is not allowed.
CREATE TABLE items (id integer NOT NULL, name varchar(5), price numeric(5, 2), at date, weight double precision);
CREATE TABLE items_before (LIKE items);
\set file :dir /form.csv
\! printf 'id,name,price,at,weight\n1,ok,1.5,2001-02-03,1\n' > "$D/form.csv"
\! printf '2,few\n3,many,1,2001-02-03,1,7\n\n4,"one field, 2\n3"\n5,ok,1,2001-02-03,1\n' >> "$D/form.csv"
\! printf '6,x,cheap,2001-02-03,1\nseven,x,1,2001-02-03,1\n2147483648,x,1,2001-02-03,1\n9,x,1000,2001-02-03,1\n' >> "$D/form.csv"
\! printf '10,longer,1,2001-02-03,1\n11,x,1,2001-02-30,1\n12,x,1,yesterdayish,1\n13,x,1,2001-02-03,1e400\n14,x,1,2001-02-03,0x\n' >> "$D/form.csv"
\! printf ',x,1,2001-02-03,1\n"",x,1,2001-02-03,1\n17,x,"",2001-02-03,1\n18,ok,1,2001-02-03,1' >> "$D/form.csv"
SELECT ml_import(:'file', 'items') AS id \gset
:ended
SELECT id, name FROM items ORDER BY id;
:rejects
SELECT row_number AS row, byte_offset, to_json(raw_line) AS raw_line, raw_bytes
  FROM rejected_rows WHERE uploaded_file_id = :id ORDER BY row_number;
CALL law(:id, 'items', 'items_before');
:law
-- The same in chunks of all sizes.
TRUNCATE items;
SELECT ml_import(:'file', 'items', min_chunks => 1, force => true) AS id \gset
:ended
CALL law(:id, 'items', 'items_before');
:law
TRUNCATE items;
SELECT ml_import(:'file', 'items', chunk_size => 1, force => true) AS id \gset
:ended
CALL law(:id, 'items', 'items_before');
:law

-- Lines are those of the file: a record may have several. Its chunk does not matter.
CREATE TABLE notes (id integer, note text);
CREATE TABLE notes_before (LIKE notes);
\set file :dir /lines.csv
\! printf 'id,note\r\n1,"a\r\nb"\r\nx,one\r\n2,"\r\n\r\n"\r\ny,"two\r\nlines"\r\nz,three\r\n3,\r\n' > "$D/lines.csv"
SELECT ml_import(:'file', 'notes') AS id \gset
:ended
:rejects
SELECT row_number AS row, byte_offset, to_json(raw_line) AS raw_line FROM rejected_rows WHERE uploaded_file_id = :id ORDER BY row_number;
CALL law(:id, 'notes', 'notes_before');
:law
TRUNCATE notes;
SELECT ml_import(:'file', 'notes', min_chunks => 1, force => true) AS id \gset
:ended
:rejects
CALL law(:id, 'notes', 'notes_before');
:law

-- Keys: the same key twice in the file, and one that is there already. Of two in a chunk the first is loaded.
CREATE TABLE keys (id integer PRIMARY KEY, code text, UNIQUE (code));
INSERT INTO keys VALUES (1, 'one'), (2, 'two');
CREATE TABLE keys_before AS TABLE keys;
\set file :dir /keys.csv
\! printf 'id,code\n3,three\n3,drei\n4,one\n1,uno\n5,\n6,\n7,five\n8,five\n9,nine\n' > "$D/keys.csv"
SELECT ml_import(:'file', 'keys', min_chunks => 1) AS id \gset
:ended
:rejects
TABLE keys ORDER BY id;
CALL law(:id, 'keys', 'keys_before');
:law
-- In other chunks it may be another one.
TRUNCATE keys;
INSERT INTO keys TABLE keys_before;
SELECT ml_import(:'file', 'keys', force => true) AS id \gset
:ended
CALL law(:id, 'keys', 'keys_before');
:law
-- Every record of many.
\set file :dir /manykeys.csv
TRUNCATE keys, keys_before;
COPY (SELECT n % 100 AS id, n AS code FROM generate_series(1, 3000) n) TO STDOUT (FORMAT csv, HEADER) \g :file
SELECT ml_import(:'file', 'keys', chunk_size => 50) AS id \gset
:ended
SELECT count(*), count(DISTINCT row_number), sqlstate, message FROM rejected_rows WHERE uploaded_file_id = :id GROUP BY sqlstate, message;

-- Foreign keys; a row that references a later one of the file.
CREATE TABLE movies (movieid integer PRIMARY KEY);
INSERT INTO movies VALUES (1), (2);
CREATE TABLE seen (userid integer, movieid integer REFERENCES movies);
CREATE TABLE seen_before (LIKE seen);
\set file :dir /seen.csv
\! printf 'userid,movieid\n1,1\n2,3\n3,2\n4,\n5,4\n6,1\n' > "$D/seen.csv"
SELECT ml_import(:'file', 'seen') AS id \gset
:ended
:rejects
CALL law(:id, 'seen', 'seen_before');
:law
TRUNCATE seen;
SELECT ml_import(:'file', 'seen', min_chunks => 1, force => true) AS id \gset
:ended
:rejects
CALL law(:id, 'seen', 'seen_before');
:law
CREATE TABLE tree (id integer PRIMARY KEY, parent integer REFERENCES tree);
CREATE TABLE tree_before (LIKE tree);
\set file :dir /tree.csv
\! printf 'id,parent\n1,2\n2,3\n3,\n4,9\n5,4\n6,6\n' > "$D/tree.csv"
SELECT ml_import(:'file', 'tree', min_chunks => 1) AS id \gset
:ended
:rejects
CALL law(:id, 'tree', 'tree_before');
:law
-- A constraint that is deferred is checked record by record all the same.
CREATE TABLE later (userid integer UNIQUE DEFERRABLE INITIALLY DEFERRED,
                    movieid integer REFERENCES movies DEFERRABLE INITIALLY DEFERRED);
\set file :dir /later.csv
\! printf 'userid,movieid\n1,1\n1,2\n2,3\n3,2\n' > "$D/later.csv"
SELECT ml_import(:'file', 'later', min_chunks => 1) AS id \gset
:ended
:rejects

-- CHECK constraints, domains, exclusion constraints, an index entry that is too long.
CREATE DOMAIN score AS integer NOT NULL CHECK (VALUE BETWEEN 0 AND 100);
CREATE TABLE checks (id integer CHECK (id > 0), score score, span int4range, key text,
                     CONSTRAINT low CHECK (score < 90 OR id < 10), EXCLUDE USING gist (span WITH &&));
CREATE INDEX ON checks (key);
CREATE TABLE checks_before (LIKE checks);
\set file :dir /checks.csv
\! printf 'id,score,span,key\n1,5,"[1,3)",\n-1,5,,\n2,101,,\n3,,,\n11,95,,\n4,100,"[2,5)",\n5,1,"[3,5)",\n,1,,\n6,1,,' > "$D/checks.csv"
\! head -c 300000 /dev/urandom | od -An -tx1 | tr -d ' \n' >> "$D/checks.csv"
\! printf '\n7,1,"[9,8)",\n' >> "$D/checks.csv"
SELECT ml_import(:'file', 'checks', min_chunks => 1) AS id \gset
:ended
SELECT row_number AS row, line_number AS line, column_name, sqlstate, regexp_replace(message, '\d{3,}', 'N', 'g') AS message,
       CASE WHEN length(detail) < 100 THEN detail END AS detail,
       octet_length(raw_line) <= 8192 AS fits, octet_length(raw_bytes)
  FROM rejected_rows WHERE uploaded_file_id = :id ORDER BY row_number;
CALL law(:id, 'checks', 'checks_before');
:law

-- A partition of a table: the rows of the others are not for it.
CREATE TABLE years (year integer, note text) PARTITION BY RANGE (year);
CREATE TABLE years_before (LIKE years);
CREATE TABLE year_2000 PARTITION OF years FOR VALUES FROM (2000) TO (2010);
\set file :dir /years.csv
\! printf 'year,note\n2001,a\n1999,b\n2009,c\n,d\n' > "$D/years.csv"
SELECT ml_import(:'file', 'year_2000') AS id \gset
:ended
:rejects
CALL law(:id, 'year_2000', 'years_before');
:law

-- Triggers: an error is the record's own; NULL from a BEFORE trigger skips it.
CREATE TABLE guarded (id integer PRIMARY KEY, value text);
CREATE TABLE guarded_before (LIKE guarded);
CREATE FUNCTION guard() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.value = 'raise' THEN
        RAISE EXCEPTION 'not this one: %', NEW.id USING DETAIL = 'It says raise.', HINT = 'Say something else.', COLUMN = 'value';
    ELSIF NEW.value = 'state' THEN
        RAISE EXCEPTION 'a state of its own' USING ERRCODE = 'ML001';
    ELSIF NEW.value = 'divide' THEN
        NEW.value := 1 / 0;
    ELSIF NEW.value = 'skip' THEN
        RETURN NULL;
    ELSIF NEW.value = 'change' THEN
        NEW.value := 'changed';
    ELSIF NEW.value = 'after' AND TG_WHEN = 'AFTER' THEN
        RAISE EXCEPTION 'too late';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER guard_before BEFORE INSERT ON guarded FOR EACH ROW EXECUTE FUNCTION guard();
CREATE TRIGGER guard_after AFTER INSERT ON guarded FOR EACH ROW EXECUTE FUNCTION guard();
\set file :dir /guarded.csv
\! printf 'id,value\n1,\n2,raise\n3,skip\n4,change\n5,after\n6,state\n7,divide\n8,skip\n9,fine\n' > "$D/guarded.csv"
SELECT ml_import(:'file', 'guarded') AS id \gset
:ended
:rejects
TABLE guarded ORDER BY id;
CALL law(:id, 'guarded', 'guarded_before');
:law
TRUNCATE guarded;
SELECT ml_import(:'file', 'guarded', min_chunks => 1, force => true) AS id \gset
:ended
CALL law(:id, 'guarded', 'guarded_before');
:law
SELECT sum(success_count) AS loaded, sum(error_count) AS refused, sum(skipped_count) AS skipped
  FROM process_chunks WHERE uploaded_file_id = :id;

-- A quote that does not close is refused up to its line end, and the next record starts there.
\set file :dir /quote.csv
\! printf 'id,note\n1,a\n2,"open\n3,c\n4,d\n' > "$D/quote.csv"
TRUNCATE notes;
SELECT ml_import(:'file', 'notes') AS id \gset
:ended
:rejects
SELECT row_number AS row, byte_offset, raw_line FROM rejected_rows WHERE uploaded_file_id = :id ORDER BY row_number;
TABLE notes ORDER BY id;
CALL law(:id, 'notes', 'notes_before');
:law
-- Before that, COPY's quotes decide: here one goes on to the next line.
\! printf 'id,note\n1,a\n2,"open\n3,"c\n4,d\n' > "$D/quote.csv"
TRUNCATE notes;
SELECT ml_import(:'file', 'notes', min_chunks => 1) AS id \gset
:ended
:rejects
SELECT id, to_json(note) AS note FROM notes ORDER BY id;
CALL law(:id, 'notes', 'notes_before');
:law
-- At the end of the file, without a line end.
\! printf 'id,note\n1,a\n2,"open' > "$D/quote.csv"
TRUNCATE notes;
SELECT ml_import(:'file', 'notes') AS id \gset
:ended
:rejects
CALL law(:id, 'notes', 'notes_before');
:law

-- Line ends that are not those of the first line.
\set file :dir /ends.csv
\! printf 'id,note\n1,a\n2,b\r\n3,c\rd\n4,"e\rf"\n' > "$D/ends.csv"
TRUNCATE notes;
SELECT ml_import(:'file', 'notes') AS id \gset
:ended
:rejects
SELECT row_number AS row, to_json(raw_line) AS raw_line FROM rejected_rows WHERE uploaded_file_id = :id ORDER BY row_number;
CALL law(:id, 'notes', 'notes_before');
:law
\! printf 'id,note\r\n1,a\r\n2,b\n3,c\r\n4,d\re\r\n5,"f\ng"\r\n' > "$D/ends.csv"
TRUNCATE notes;
SELECT ml_import(:'file', 'notes') AS id \gset
:ended
:rejects
SELECT row_number AS row, to_json(raw_line) AS raw_line FROM rejected_rows WHERE uploaded_file_id = :id ORDER BY row_number;
CALL law(:id, 'notes', 'notes_before');
:law

-- Bytes that are not text: shown as \xHH, and kept as they are.
\set file :dir /bytes.csv
\! printf 'id,note\n1,caf\303\251\n2,caf\351 au lait\n3,"\377\000\n"\n4,\355\240\200\n5,\360\237\230\200\n6,\303' > "$D/bytes.csv"
TRUNCATE notes;
SELECT ml_import(:'file', 'notes') AS id \gset
:ended
:rejects
SELECT row_number AS row, to_json(raw_line) AS raw_line, raw_bytes FROM rejected_rows WHERE uploaded_file_id = :id ORDER BY row_number;
TABLE notes ORDER BY id;
CALL law(:id, 'notes', 'notes_before');
:law

-- A record that is longer than what is shown of it is kept whole.
\set file :dir /long.csv
\! printf 'id,note\nx,é' > "$D/long.csv"
\! head -c 20000 /dev/zero | tr '\0' y >> "$D/long.csv"
TRUNCATE notes;
SELECT ml_import(:'file', 'notes') AS id \gset
:ended
:rejects
SELECT octet_length(raw_line) <= 8192 AS clipped, starts_with(raw_line, 'x,éyyy') AS start, octet_length(raw_bytes)
  FROM rejected_rows WHERE uploaded_file_id = :id;
CALL law(:id, 'notes', 'notes_before');
:law

-- What holds for every import: the counts add up, and each refused record has one row, in its chunk.
SELECT count(*) FROM uploaded_files
 WHERE success_count + error_count + skipped_count + unprocessed_count IS DISTINCT FROM row_count
    OR error_count <> (SELECT count(DISTINCT row_number) FROM rejected_rows r WHERE r.uploaded_file_id = uploaded_files.id);
SELECT count(*) FROM rejected_rows r JOIN process_chunks c ON c.id = r.process_chunk_id
 WHERE r.uploaded_file_id <> c.uploaded_file_id OR row_number NOT BETWEEN start_row AND end_row
    OR byte_offset NOT BETWEEN start_byte AND end_byte - 1 OR line_number < start_line;
SELECT count(*) FROM process_chunks c
 WHERE error_count <> (SELECT count(*) FROM rejected_rows r WHERE r.process_chunk_id = c.id);

\! rm -rf "$D"
SET client_min_messages = warning;
DROP SCHEMA lens CASCADE;
DROP EXTENSION movielens_ingest;
DROP SCHEMA ingest;
