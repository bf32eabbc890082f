-- The options that COPY has too: the same file, with the same options, leaves the same rows.
CREATE SCHEMA ingest;
CREATE EXTENSION movielens_ingest SCHEMA ingest;
CREATE SCHEMA lens;
SET search_path = lens, ingest;
SET client_min_messages = warning;
\pset format unaligned
\getenv dir PG_ABS_BUILDDIR
\set dir :dir /results/options
\setenv D :dir
\! mkdir -p "$D"

CREATE TABLE imported (a text, b text, n integer, gone integer, t text DEFAULT 'no t', g text GENERATED ALWAYS AS (a || n) STORED);
ALTER TABLE imported DROP COLUMN gone;
CREATE TABLE copied (LIKE imported INCLUDING ALL);

-- Loads a file twice, by an import and by COPY, and counts the rows that only one of them has.
CREATE PROCEDURE twice(path text, options text, copy_options text, columns text DEFAULT '', INOUT status text DEFAULT NULL,
                       INOUT rows bigint DEFAULT NULL, INOUT different bigint DEFAULT NULL)
LANGUAGE plpgsql AS $$
DECLARE
    id bigint;
BEGIN
    TRUNCATE imported, copied;
    EXECUTE format('COPY copied %s FROM %L (FORMAT csv%s)', columns, path, ', ' || nullif(copy_options, ''));
    EXECUTE format('SELECT ml_import(%L, ''imported'', force => true%s)', path, ', ' || nullif(options, '')) INTO id;
    COMMIT;
    SELECT w.status INTO STRICT status FROM ml_wait(id) w;
    SELECT count(*) INTO rows FROM imported;
    SELECT count(*) INTO different
      FROM ((TABLE imported EXCEPT ALL TABLE copied) UNION ALL (TABLE copied EXCEPT ALL TABLE imported)) d;
END
$$;
\set shown 'SELECT to_json(a) AS a, to_json(b) AS b, n, to_json(t) AS t FROM imported ORDER BY n, imported.a;'

-- The delimiter.
\set file :dir /semicolon.csv
\! printf 'a;b;n\n1,5;"x;""y""";1\n;"";2\n"p\nq";,;3\n' > "$D/semicolon.csv"
CALL twice(:'file', $$delimiter => ';'$$, $$HEADER, DELIMITER ';'$$, '(a, b, n)');
:shown
\set file :dir /tab.csv
\! printf 'a\tb\tn\n1 \t"x\ty"\t1\n' > "$D/tab.csv"
CALL twice(:'file', $$delimiter => E'\t'$$, $$HEADER, DELIMITER E'\t'$$, '(a, b, n)');
:shown
\set file :dir /letter.csv
\! printf 'nxb\n1xy\n2x"x"\n3x\n' > "$D/letter.csv"
CALL twice(:'file', $$delimiter => 'x'$$, $$HEADER, DELIMITER 'x'$$, '(n, b)');
:shown
\set file :dir /backslash.csv
\! printf 'n\\b\n1\\y\n2\\"\\"\n\\.x\n' > "$D/backslash.csv"
CALL twice(:'file', $$delimiter => '\'$$, $$HEADER, DELIMITER '\'$$, '(n, b)');
:shown

-- The quote; the escape is the quote unless it is given.
\set file :dir /quote.csv
\! printf "a,b,n\n'x,y','it''s',1\n\"x\",'a\nb',2\n'',,3\na'b,c'd,x,4\n" > "$D/quote.csv"
CALL twice(:'file', $$quote => ''''$$, $$HEADER, QUOTE ''''$$, '(a, b, n)');
:shown
\set file :dir /escape.csv
\! printf 'a,b,n\n"x\\"y","a\\\\b",1\n"x\\y",p\\"q,r",2\n"\n\\"","x\\\\",3\n"x""y",,4\n' > "$D/escape.csv"
CALL twice(:'file', $$escape => '\'$$, $$HEADER, ESCAPE '\'$$, '(a, b, n)');
:shown
\! printf "n;a;b\n1;'x~'y;';'~~'\n2;x~;''\n;'p~q';''\n" > "$D/escape.csv"
CALL twice(:'file', $$escape => '~', quote => '''', delimiter => ';'$$, $$HEADER, ESCAPE '~', QUOTE '''', DELIMITER ';'$$, '(n, a, b)');
:shown
\set file :dir /delimiter_escape.csv
\! printf 'a,b,n\n"x,"y","p",1\n' > "$D/delimiter_escape.csv"
CALL twice(:'file', $$escape => ','$$, $$HEADER, ESCAPE ','$$, '(a, b, n)');
:shown

-- The null string.
\set file :dir /null.csv
\! printf 'a,b,n\nNULL,"NULL",1\n,"",2\nnull,NULL ,NULL\nNUL,NULLL,4\n' > "$D/null.csv"
CALL twice(:'file', $$null_string => 'NULL'$$, $$HEADER, NULL 'NULL'$$, '(a, b, n)');
:shown
\! printf 'a,b,n\n\\N,"\\N",\\N\n,"",2\n' > "$D/null.csv"
CALL twice(:'file', $$null_string => '\N'$$, $$HEADER, NULL '\N'$$, '(a, b, n)');
:shown
-- ... which may be the name of a column.
\! printf 'a,b,n\na,"a",1\n' > "$D/null.csv"
CALL twice(:'file', $$null_string => 'a'$$, $$HEADER, NULL 'a'$$, '(a, b, n)');
:shown

-- force_null and force_not_null, also of the same column.
\set file :dir /force.csv
\! printf 'a,b,n,t\n"",,1,""\n,"","2",\n"""",x,"",x\n' > "$D/force.csv"
CALL twice(:'file', $$force_null => '{n}'$$, $$HEADER, FORCE_NULL (n)$$, '(a, b, n, t)');
:shown
CALL twice(:'file', $$force_null => '{N, a}', force_not_null => '{b, T}'$$, $$HEADER, FORCE_NULL (n, a), FORCE_NOT_NULL (b, t)$$, '(a, b, n, t)');
:shown
CALL twice(:'file', $$force_null => '{a, n}', force_not_null => '{a}'$$, $$HEADER, FORCE_NULL (a, n), FORCE_NOT_NULL (a)$$, '(a, b, n, t)');
:shown
\! printf 'a,b,n\n"-",-,1\n"","-",2\n-,"-",-\n' > "$D/force.csv"
CALL twice(:'file', $$force_null => '{a}', force_not_null => '{b}', null_string => '-'$$, $$HEADER, FORCE_NULL (a), FORCE_NOT_NULL (b), NULL '-'$$, '(a, b, n)');
:shown

-- Without a header: the columns of the table that can be loaded, or the given ones.
\set file :dir /data.csv
\! printf 'x,y,1,z\nxx,"",2,\n' > "$D/data.csv"
CALL twice(:'file', 'header => false', '');
:shown
\! printf '1,x\n2,"y\n"\n' > "$D/data.csv"
CALL twice(:'file', $$header => false, columns => '{n, a}'$$, '', '(n, a)');
:shown
-- With one: the first line is skipped, whatever it says.
CALL twice(:'file', $$columns => '{n, T}'$$, 'HEADER', '(n, t)');
:shown
\! printf '"any\nthing",",",\n1,x\nwrong,y\n' > "$D/data.csv"
SELECT ml_import(:'file', 'imported', columns => '{n,b}') AS id \gset
SELECT status, success_count, error_count FROM ml_wait(:id);
SELECT row_number, line_number, byte_offset, raw_line FROM rejected_rows WHERE uploaded_file_id = :id;
SELECT ml_import(:'file', 'imported', columns => '{n,b}', header => false, force => true) AS id \gset
SELECT status, success_count, error_count FROM ml_wait(:id);
SELECT row_number, line_number, byte_offset, raw_line FROM rejected_rows WHERE uploaded_file_id = :id ORDER BY row_number;

-- Line ends and the byte order mark of a file without a header.
\! printf 'x,y,1,z\r\n"x\n",y,2,"z\r\n"\r\n' > "$D/data.csv"
CALL twice(:'file', 'header => false', '');
:shown
\! printf '"x\n",y,1,"z\r\n"\rx,y,2,z' > "$D/data.csv"
CALL twice(:'file', 'header => false', '');
:shown
\! printf 'x,y,1,"z\r\n"' > "$D/data.csv"
CALL twice(:'file', 'header => false', '');
:shown
\! printf '\357\273\277"x",y,1,z\n' > "$D/data.csv"
SELECT ml_import(:'file', 'imported', header => false, force => true) AS id \gset
SELECT status, success_count, error_count FROM ml_wait(:id);
SELECT chunk_number, start_byte, end_byte, start_line FROM process_chunks WHERE uploaded_file_id = :id;
-- The first record is longer than what is read at once; and one whose quote never closes is cut at the line end that
-- it has, which is that of the file.
\! (printf '"'; yes 'a line' | head -n 200000; printf '",y,1,z\r\nx,y,2,z\r\n') > "$D/data.csv"
CALL twice(:'file', 'header => false', '');
SELECT n, length(a) FROM imported ORDER BY n;
\! printf '"x,y,1,z\r\nx,y,2,z\r\n' > "$D/data.csv"
SELECT ml_import(:'file', 'imported', header => false, force => true) AS id \gset
SELECT status, success_count, error_count FROM ml_wait(:id);
SELECT line_number, message, raw_line FROM rejected_rows WHERE uploaded_file_id = :id ORDER BY row_number;
\! printf 'x"b\n\246\r\nx,y,1,z\nx,y,2,z\n' > "$D/data.csv"
SELECT ml_import(:'file', 'imported', header => false, force => true) AS id \gset
SELECT status, success_count, error_count FROM ml_wait(:id);
SELECT line_number, sqlstate, replace(raw_line, E'\r', '\r') AS raw_line FROM rejected_rows WHERE uploaded_file_id = :id ORDER BY row_number;

-- A file of no records.
\! : > "$D/data.csv"
CALL twice(:'file', 'header => false', '');
CALL twice(:'file', $$columns => '{a}'$$, 'HEADER', '(a)');
\! printf '\357\273\277' > "$D/data.csv"
SELECT ml_import(:'file', 'imported', header => false) AS id \gset
SELECT status, row_count, success_count, error_count, unprocessed_count FROM ml_wait(:id);
SELECT count(*) FROM process_chunks WHERE uploaded_file_id = :id;
\! printf 'a,n\n' > "$D/data.csv"
CALL twice(:'file', '', 'HEADER', '(a, n)');

-- The encoding.
\set file :dir /latin.csv
\! printf 'a,b,n\n\351t\351,x,1\n"\334",\304,2\n' > "$D/latin.csv"
CALL twice(:'file', $$encoding => 'latin1'$$, $$HEADER, ENCODING 'latin1'$$, '(a, b, n)');
:shown
SELECT options -> 'encoding' FROM uploaded_files ORDER BY id DESC LIMIT 1;
SET client_encoding = LATIN1;
CALL twice(:'file', '', 'HEADER', '(a, b, n)');
RESET client_encoding;
SELECT options -> 'encoding' FROM uploaded_files ORDER BY id DESC LIMIT 1;

-- A call's options go before the settings; an escape that nobody sets is the quote of the call.
\set file :dir /settings.csv
\! printf "n;a;b\n1;'it''s';-\n2;'-';z\n" > "$D/settings.csv"
SET movielens_ingest.delimiter = ';';
SET movielens_ingest.quote = '''';
SET movielens_ingest.null_string = '-';
CALL twice(:'file', '', $$HEADER, DELIMITER ';', QUOTE '''', NULL '-'$$, '(n, a, b)');
:shown
CALL twice(:'file', $$quote => '"', null_string => '', escape => '!'$$, $$HEADER, DELIMITER ';', ESCAPE '!'$$, '(n, a, b)');
:shown
SET movielens_ingest.escape = '!';
SET movielens_ingest.header = off;
SET movielens_ingest.encoding = 'latin1';
SET movielens_ingest.on_error = 'stop';
SET movielens_ingest.reject_limit = 7;
\! printf "\351;'it!'s';1;-\n" > "$D/settings.csv"
CALL twice(:'file', '', $$DELIMITER ';', QUOTE '''', NULL '-', ESCAPE '!', ENCODING 'latin1'$$);
:shown
SELECT jsonb_pretty(options) FROM uploaded_files ORDER BY id DESC LIMIT 1;

-- What was in force at the call holds when an import is resumed.
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'not today'; END$$;
CREATE TRIGGER refuse BEFORE INSERT ON imported FOR EACH STATEMENT EXECUTE FUNCTION refuse();
TRUNCATE imported, copied;
\! printf "1;'it!'s';\351;-\n2;'';'-';-\n" > "$D/settings.csv"
COPY copied (n, a, b, t) FROM :'file' (FORMAT csv, DELIMITER ';', QUOTE '''', NULL '-', ESCAPE '!', ENCODING 'latin1', FORCE_NULL (b), FORCE_NOT_NULL (t));
SELECT ml_import(:'file', 'imported', columns => '{n,a,b,t}', force_null => '{b}', force_not_null => '{t}', on_error => 'reject', reject_limit => 3) AS id \gset
SELECT status, error FROM ml_wait(:id);
DROP TRIGGER refuse ON imported;
RESET movielens_ingest.delimiter;
RESET movielens_ingest.quote;
RESET movielens_ingest.null_string;
RESET movielens_ingest.escape;
RESET movielens_ingest.header;
RESET movielens_ingest.encoding;
RESET movielens_ingest.on_error;
RESET movielens_ingest.reject_limit;
SELECT ml_resume(:id);
SELECT status, error FROM ml_wait(:id);
:shown
(TABLE imported EXCEPT ALL TABLE copied) UNION ALL (TABLE copied EXCEPT ALL TABLE imported);
SELECT jsonb_pretty(options) FROM uploaded_files WHERE id = :id;

-- Each refusal, and below it COPY's where COPY has that option.
CREATE FUNCTION refusal(command text, who text) RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
    message text;
    detail text;
    hint text;
BEGIN
    EXECUTE command;
    RETURN NEXT who || ' begins';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN NEXT format('%s %s: %s', who, sqlstate, regexp_replace(message, '"/[^"]*/', '"'));
    RETURN QUERY SELECT ' detail: ' || detail WHERE detail <> '' UNION ALL SELECT ' hint: ' || hint WHERE hint <> '';
END
$$;
CREATE FUNCTION refusals(path text, options text, copy_options text DEFAULT NULL, columns text DEFAULT '') RETURNS SETOF text
LANGUAGE sql AS $$
    SELECT refusal(format('SELECT ml_import(%L, ''imported'', %s)', path, options), 'import')
    UNION ALL
    -- From 17 on COPY has another SQLSTATE for what may not be in the null string, and another word.
    SELECT regexp_replace(regexp_replace(refusal(format('COPY copied %s FROM %L (FORMAT csv%s)', columns, path,
                                                        ', ' || nullif(copy_options, '')), 'COPY'),
                                         '^COPY 22023(: .* must not appear in the NULL specification)$', 'COPY 0A000\1'),
                          'delimiter character must', 'delimiter must')
     WHERE copy_options IS NOT NULL
$$;
\pset tuples_only on
\set file :dir /errors.csv
\! printf 'a,n\nx,1\n' > "$D/errors.csv"
SELECT refusals(:'file', $$delimiter => ''$$, $$DELIMITER ''$$);
SELECT refusals(:'file', $$delimiter => 'ab'$$, $$DELIMITER 'ab'$$);
SELECT refusals(:'file', $$delimiter => 'é'$$, $$DELIMITER 'é'$$);
SELECT refusals(:'file', $$delimiter => E'\n'$$, $$DELIMITER E'\n'$$);
SELECT refusals(:'file', $$delimiter => E'\r'$$, $$DELIMITER E'\r'$$);
SELECT refusals(:'file', $$delimiter => '"'$$, $$DELIMITER '"'$$);
SELECT refusals(:'file', $$delimiter => 'x', null_string => 'axb'$$, $$DELIMITER 'x', NULL 'axb'$$);
SELECT refusals(:'file', $$null_string => E'a\n'$$, $$NULL E'a\n'$$);
SELECT refusals(:'file', $$null_string => E'\r'$$, $$NULL E'\r'$$);
SELECT refusals(:'file', $$null_string => '""'$$, $$NULL '""'$$);
SELECT refusals(:'file', $$quote => ''$$, $$QUOTE ''$$);
SELECT refusals(:'file', $$quote => '""'$$, $$QUOTE '""'$$);
SELECT refusals(:'file', $$quote => 'ß'$$, $$QUOTE 'ß'$$);
SELECT refusals(:'file', $$quote => ','$$, $$QUOTE ','$$);
SELECT refusals(:'file', $$quote => E'\n'$$);
SELECT refusals(:'file', $$escape => ''$$, $$ESCAPE ''$$);
SELECT refusals(:'file', $$escape => '\\'$$, $$ESCAPE '\\'$$);
SELECT refusals(:'file', $$escape => E'\r'$$);
SELECT refusals(:'file', $$encoding => 'utf-9'$$, $$ENCODING 'utf-9'$$);
SELECT refusals(:'file', $$encoding => ''$$, $$ENCODING ''$$);
SELECT refusals(:'file', $$encoding => 'sjis', quote => '|'$$);
-- It has no conversion, and is no encoding any more from 19 on.
SELECT DISTINCT regexp_replace(regexp_replace(r, '^(import|COPY) ', ''),
                               '^(42883: default conversion function .*|22023: argument to option .*)$', 'refused')
  FROM refusals(:'file', $$encoding => 'mule_internal'$$, $$ENCODING 'mule_internal'$$) r;

SELECT refusals(:'file', $$columns => '{a,x}'$$, '', '(a, x)');
SELECT refusals(:'file', $$columns => '{a,""}'$$);
SELECT refusals(:'file', $$columns => '{a,gone}'$$, '', '(a, gone)');
SELECT refusals(:'file', $$columns => '{ctid}'$$, '', '(ctid)');
SELECT refusals(:'file', $$columns => '{a,b,A}'$$, '', '(a, b, a)');
SELECT refusals(:'file', $$columns => '{a,g}'$$, '', '(a, g)');
SELECT refusals(:'file', $$columns => '{}'$$);
SELECT refusals(:'file', $$columns => '{a,NULL}'$$);
SELECT refusals(:'file', $$columns => '{{a,b},{n,t}}'$$);
SELECT refusals(:'file', $$force_null => '{a,x}'$$, 'HEADER, FORCE_NULL (a, x)', '(a, n)');
SELECT refusals(:'file', $$force_null => '{b}'$$, 'HEADER, FORCE_NULL (b)', '(a, n)');
SELECT refusals(:'file', $$force_null => '{a,a}'$$, 'HEADER, FORCE_NULL (a, a)', '(a, n)');
SELECT refusals(:'file', $$force_null => '{g}'$$, 'HEADER, FORCE_NULL (g)', '(a, n)');
SELECT refusals(:'file', $$force_null => '{NULL}'$$);
SELECT refusals(:'file', $$force_null => '{*}'$$);
SELECT refusals(:'file', $$force_not_null => '{x}'$$, 'HEADER, FORCE_NOT_NULL (x)', '(a, n)');
SELECT refusals(:'file', $$force_not_null => '{t}', columns => '{n,a}'$$, 'HEADER, FORCE_NOT_NULL (t)', '(n, a)');
SELECT refusals(:'file', $$force_not_null => '{n,N}'$$, 'HEADER, FORCE_NOT_NULL (n, n)', '(a, n)');
SELECT refusals(:'file', $$force_not_null => '{}'$$);
SELECT refusals(:'file', $$force_not_null => '{{a},{n}}'$$);

SELECT refusals(:'file', $$on_error => 'ignore'$$);
SELECT refusals(:'file', $$on_error => 'SET_NULL'$$);
SELECT refusals(:'file', $$on_error => ''$$);
SELECT refusals(:'file', $$reject_limit => -1$$);
SELECT refusals(:'file', $$on_error => 'STOP', reject_limit => 1$$);
SET movielens_ingest.on_error = stop;
SELECT refusals(:'file', $$reject_limit => 1$$);
RESET movielens_ingest.on_error;

-- Settings are refused when they are set, but for what they are together with others.
SET movielens_ingest.delimiter = '';
SET movielens_ingest.delimiter = 'ab';
SET movielens_ingest.quote = E'\n';
SET movielens_ingest.escape = '\\\\';
SET movielens_ingest.null_string = E'a\n';
SET movielens_ingest.encoding = 'utf-9';
SET movielens_ingest.on_error = 'ignore';
SET movielens_ingest.reject_limit = -2;
SET movielens_ingest.quote = ',';
SELECT refusals(:'file', 'force => false');
RESET movielens_ingest.quote;

-- A header that is data: only if no name is a column's and all values would load.
\! printf 'x,y,1,z\n' > "$D/errors.csv"
SELECT refusals(:'file', 'force => false');
SELECT refusals(:'file', $$null_string => '1'$$);
\! printf '\357\273\277x,"y","1",z' > "$D/errors.csv"
SELECT refusals(:'file', 'force => false');
\! printf 'x;y;1;z\n' > "$D/errors.csv"
SELECT refusals(:'file', 'force => false');
SELECT refusals(:'file', $$delimiter => ';'$$);
\! printf 'x,y,one,z\n' > "$D/errors.csv"
SELECT refusals(:'file', 'force => false');
\! printf 'x,y,1\n' > "$D/errors.csv"
SELECT refusals(:'file', 'force => false');
\! printf 'x,a,1,z\n' > "$D/errors.csv"
SELECT refusals(:'file', 'force => false');

-- Characters of one byte that are not ASCII: a file that has to be converted has them in another form.
\set home :DBNAME
CREATE DATABASE regress_ingest_latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C';
\c regress_ingest_latin
SET client_encoding = UTF8;
CREATE EXTENSION movielens_ingest;
CREATE TABLE words (a text, b text);
\set file :dir /utf8.csv
\! printf 'a\302\247b\nx,y\302\247"\302\247"\n' > "$D/utf8.csv"
SELECT ml_import(:'file', 'words', delimiter => '§') AS id \gset
SELECT status FROM ml_wait(:id);
SELECT * FROM words ORDER BY b;
\set file :dir /latin.csv
\! printf 'a,b\n\247x,y\247,\247a\266\247b\247\n' > "$D/latin.csv"
SELECT ml_import(:'file', 'words', quote => '§', escape => '¶', encoding => 'latin1') AS id \gset
SELECT status FROM ml_wait(:id);
SELECT * FROM words ORDER BY b;
SELECT options ->> 'quote', options ->> 'escape' FROM uploaded_files WHERE id = :id;
SELECT ml_import(:'file', 'words', quote => '§');
SELECT ml_import(:'file', 'words', escape => '¶');
\c :home
DROP DATABASE regress_ingest_latin;
SET client_min_messages = warning;
SET search_path = lens, ingest;

-- A directory has no list of columns.
\set VERBOSITY default
CALL ml_load(:'dir', columns => '{a}');
CALL ml_load(:'dir', force_null => '{a}');
CALL ml_load(:'dir', force_not_null => '{a}');
CALL ml_load(:'dir', delimiter => 'ab');
SELECT ml_import_dataset(:'dir', quote => '');

\! rm -r "$D"
DROP SCHEMA lens CASCADE;
DROP EXTENSION movielens_ingest;
DROP SCHEMA ingest;
