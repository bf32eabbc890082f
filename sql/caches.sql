-- What the server forgets of a table, or learns anew, while it is loaded and from one call to the next. Under
-- debug_discard_caches whatever is kept longer than it may be is overwritten: make test SUITES=discard.
CREATE SCHEMA ingest;
CREATE EXTENSION movielens_ingest SCHEMA ingest;
CREATE SCHEMA lens;
SET search_path = lens, ingest;
\getenv dir PG_ABS_BUILDDIR
\set dir :dir /results/caches
\setenv D :dir
\! mkdir -p "$D"
\! printf 'id,word,price,movie\n1,a,1.5,1\n2,stir,2.25,2\n3,b,,\n4,c,4,1\n5,stir,5.5,2\n6,"d\ne",6,1\n7,f,7,2\n' > "$D/good.csv"
\! printf 'id,word,price,movie\n1,a,1.5,1\n2,stir,cheap,2\n3,bad,3,\n4,stir,4,1\nfive,e,5,2\n6,f,6,3\n' > "$D/mixed.csv"
\set good :dir /good.csv
\set mixed :dir /mixed.csv

-- Reading some words changes what is known of the table that they go into. It calls itself immutable, so that every writer
-- reads them.
CREATE TABLE movies (id integer PRIMARY KEY);
INSERT INTO movies VALUES (1), (2);
CREATE FUNCTION stir() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    ANALYZE lens.words;
    ANALYZE lens.movies;
    RETURN true;
END
$$;
CREATE FUNCTION is_calm(word text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN CASE WHEN word = 'stir' THEN lens.stir() ELSE word <> 'bad' END;
END
$$;
CREATE DOMAIN calm AS text CONSTRAINT is_calm CHECK (lens.is_calm(VALUE));
CREATE TABLE words (id integer, word calm, price numeric, movie integer);

-- An import leaves what COPY leaves.
CREATE PROCEDURE same_as_copy(file text, step text, VARIADIC writers text[] DEFAULT '{pages,multi_insert,spi}')
LANGUAGE plpgsql AS $$
DECLARE
    import bigint;
    file_status text;
    loaded text[];
    copied text[];
BEGIN
    FOR i IN 1 .. cardinality(writers) LOOP
        PERFORM set_config('movielens_ingest.writer', writers[i], false);
        import := ml_import(file, 'words', chunk_size => 3, min_chunks => 2, max_workers => 2, force => true);
        COMMIT;
        SELECT status INTO file_status FROM ml_wait(import);
        SELECT array_agg(w::text ORDER BY id) INTO loaded FROM words w;
        TRUNCATE words;
        EXECUTE format('COPY words (id, word, price, movie) FROM %L (FORMAT csv, HEADER)', file);
        SELECT array_agg(w::text ORDER BY id) INTO copied FROM words w;
        TRUNCATE words;
        COMMIT;
        RAISE NOTICE '%, %: %, % rows, as COPY: %', step, writers[i], file_status, cardinality(loaded), loaded = copied;
    END LOOP;
END
$$;

CALL same_as_copy(:'good', 'as it was made');
ALTER TABLE words ADD later integer DEFAULT 7, ALTER price TYPE numeric(6, 1);
CALL same_as_copy(:'good', 'a column more, a type changed', 'pages');
ALTER TABLE words DROP later, DROP word;
ALTER TABLE words ADD word calm;
CALL same_as_copy(:'good', 'columns gone and back elsewhere', 'multi_insert');
ALTER TABLE words ADD FOREIGN KEY (movie) REFERENCES movies, ADD CHECK (price > 0), ADD PRIMARY KEY (id);
CALL same_as_copy(:'good', 'constraints', 'pages', 'spi');

-- In one session, and one transaction, where ml_validate() keeps what it knows from call to call: the same rejects as an
-- import has, whatever came between.
CREATE PROCEDURE validated(file text) LANGUAGE plpgsql AS $$
DECLARE
    change text;
    reject record;
BEGIN
    FOREACH change IN ARRAY ARRAY['ANALYZE words', 'ALTER TABLE words ALTER price TYPE double precision', 'ALTER TABLE words DROP price; ALTER TABLE words ADD price integer',
        'ALTER TABLE words ALTER price TYPE money', 'ALTER TABLE words RENAME movie TO film; ALTER TABLE words ADD movie integer',
        'ALTER DOMAIN calm DROP CONSTRAINT is_calm', 'DROP TABLE words; CREATE TABLE words (movie text, price date, word text, id integer)']
    LOOP
        EXECUTE change;
        RAISE NOTICE '%:', change;
        FOR reject IN SELECT v.row_number, v.column_name, v.sqlstate FROM ml_validate(file, 'words') v LOOP
            RAISE NOTICE '  record %, column %: %', reject.row_number, reject.column_name, reject.sqlstate;
            ANALYZE words;
        END LOOP;
    END LOOP;
    ROLLBACK;
END
$$;
CALL validated(:'mixed');

-- Rolled back, it is the table of before.
SELECT ml_import(:'mixed', 'words', chunk_size => 3, min_chunks => 2, max_workers => 2, force => true) AS id \gset
SELECT status, success_count, error_count FROM ml_wait(:id);
SELECT row_number AS row, column_name, sqlstate FROM rejected_rows WHERE uploaded_file_id = :id ORDER BY row_number;
SELECT row_number AS row, column_name, sqlstate FROM ml_validate(:'mixed', 'words', max_workers => 3);

\set VERBOSITY terse
\! rm -rf "$D"
SET client_min_messages = warning;
DROP SCHEMA lens CASCADE;
DROP EXTENSION movielens_ingest;
DROP SCHEMA ingest;
