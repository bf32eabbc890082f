-- Refused records are written out, corrected, and loaded: then all of the file is in.
CREATE SCHEMA ingest;
CREATE EXTENSION movielens_ingest SCHEMA ingest;
CREATE SCHEMA lens;
SET search_path = lens, ingest;
\getenv dir PG_ABS_BUILDDIR
\set dir :dir /results/way_back
\setenv D :dir
\! mkdir -p -m 777 "$D"
\set ended 'SELECT status, row_count, success_count, error_count FROM ml_wait(:id);'

CREATE TABLE films (id integer PRIMARY KEY);
INSERT INTO films VALUES (1), (2), (3);
CREATE TABLE views ("film;id" integer NOT NULL REFERENCES films, "the ""note""" text, score numeric);
CREATE TABLE copied (LIKE views);

-- What the file should have been, and what it is: a number that is none, a film that is missing, a field too many.
\! printf '"film;id";"the ""note""";score\n1;"fine; all of it";1.5\n2;"two\nlines";2.5\n9;"nine, \\ and ""more""";3.5\n3;Z\303\274rich;4.5\n3;;5\n' > "$D/right.csv"
\! sed -e 's/2\.5/2,5/' -e 's/;4\.5/;4.5;6/' "$D/right.csv" > "$D/wrong.csv"
\set file :dir /wrong.csv
SELECT ml_import(:'file', 'views', delimiter => ';', min_chunks => 2) AS id \gset
:ended
SELECT line_number, sqlstate, message FROM rejected_rows WHERE uploaded_file_id = :id ORDER BY line_number;

-- Out, as they stand in the file, under a line that names the columns.
\set again :dir /again.csv
\pset format unaligned
\pset tuples_only on
SELECT ml_rejected_lines(:id) \g :again
\pset tuples_only off
\pset format aligned
\! cat "$D/again.csv"

-- The film is added, the rest is corrected with an editor, and in they go.
INSERT INTO films VALUES (9);
\! sed -i -e 's/2,5/2.5/' -e 's/4\.5;6/4.5/' "$D/again.csv"
SELECT ml_import(:'again', 'views', delimiter => ';') AS id \gset
:ended
\set right :dir /right.csv
COPY copied FROM :'right' (FORMAT csv, HEADER, DELIMITER ';');
(TABLE copied EXCEPT ALL TABLE views) UNION ALL (TABLE views EXCEPT ALL TABLE copied);
SELECT count(*) FROM views;

-- Another quote, escape and encoding; the file had no header. What is clipped in raw_line comes out whole.
\! printf "1;'a|'b';1\n2;'\374ber|'||';x\n3;%09000d;y\n" 7 > "$D/latin.csv"
\set file :dir /latin.csv
SELECT ml_import(:'file', 'views', delimiter => ';', quote => '''', escape => '|', header => false, encoding => 'LATIN1') AS id \gset
:ended
SELECT CASE WHEN length(line) < 100 THEN line ELSE left(line, 5) || '... ' || length(line) END AS line
  FROM ml_rejected_lines(:id) AS line;

-- Bytes that are no text cannot be written as text.
\! printf '"film;id"\nx\377\ny\n' > "$D/bytes.csv"
\set file :dir /bytes.csv
SELECT ml_import(:'file', 'views') AS id \gset
:ended
SELECT * FROM ml_rejected_lines(:id);
-- No such import, or none that may be seen.
SELECT * FROM ml_rejected_lines(0);
DROP SCHEMA ingest, lens CASCADE;
