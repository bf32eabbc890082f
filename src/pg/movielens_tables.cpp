#include "pg/movielens_tables.hpp"

#include "pg/session.hpp"

namespace movielens_ingest::pg {

const DataTable kDataTables[kDataTableCount] = {
    {"movies", "movies.csv", "movieid integer PRIMARY KEY, title varchar(255), genres varchar(255)",
     "movies, from movies.csv of MovieLens", false},
    {"links", "links.csv",
     "movieid integer NOT NULL REFERENCES %s ON DELETE CASCADE, imdbid varchar(100), tmdbid varchar(100)",
     "a movie's ids at IMDb and TMDb, from links.csv of MovieLens; text, for leading zeros are data", true},
    {"ratings", "ratings.csv",
     "userid integer, movieid integer NOT NULL REFERENCES %s ON DELETE CASCADE, rating double precision,"
     " \"timestamp\" varchar(100)",
     "what users gave to movies, from ratings.csv of MovieLens", true},
    {"tags", "tags.csv",
     "userid integer, movieid integer NOT NULL REFERENCES %s ON DELETE CASCADE, tag varchar(255),"
     " \"timestamp\" varchar(100)",
     "words that users put on movies, from tags.csv of MovieLens", true},
    {"genome_scores", "genome-scores.csv",
     "movieid integer NOT NULL REFERENCES %s ON DELETE CASCADE, tagid integer, relevance double precision",
     "how well a tag fits a movie, from genome-scores.csv of MovieLens", true},
    {"genome_tags", "genome-tags.csv", "tagid integer, tag varchar(255)",
     "the tags of genome_scores, from genome-tags.csv of MovieLens", false},
};

namespace {

const char *qualified(Oid schema, const char *name) {
    return quote_qualified_identifier(get_namespace_name(schema), name);
}

void run(const char *statement) {
    if (SPI_connect() != SPI_OK_CONNECT || SPI_execute(statement, false, 0) < 0 || SPI_finish() != SPI_OK_FINISH) {
        elog(ERROR, "could not run \"%s\"", statement);
    }
}

/* This transaction has made it. */
bool is_new(Oid relation) {
    HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
    const bool is_new =
        HeapTupleIsValid(tuple) && TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data));

    if (HeapTupleIsValid(tuple)) {
        ReleaseSysCache(tuple);
    }
    return is_new;
}

bool references(Relation table, Oid movies) {
    const ListCell *cell;

    foreach (cell, RelationGetFKeyList(table)) {
        if (static_cast<ForeignKeyCacheInfo *>(lfirst(cell))->confrelid == movies) {
            return true;
        }
    }
    return false;
}

/*
 * CREATE names its tables, and a schema may be renamed before it looks them up: what was made is looked at by its OID.
 */
bool is_as_meant(Oid made, const DataTable *table, Oid movies) {
    if (!OidIsValid(made) || !is_new(made)) {
        return false;
    }
    Relation relation = table_open(made, AccessShareLock);
    const bool as_meant =
        !table->references_movies || (references(relation, movies) && RelationGetIndexList(relation) != NIL);
    table_close(relation, NoLock);
    return as_meant;
}

} // namespace

const DataTable *data_table_of_file(const char *file_name) {
    char *base = pstrdup(file_name);
    size_t size = strlen(base);

    for (char *c = base; *c != '\0'; c++) {
        *c = *c == '-' ? '_' : static_cast<char>(pg_ascii_tolower(static_cast<unsigned char>(*c)));
    }
    if (size > strlen(".csv") && strcmp(base + size - strlen(".csv"), ".csv") == 0) {
        size -= strlen(".csv");
        base[size] = '\0';
    }
    for (const DataTable &table : kDataTables) {
        const size_t plural = strlen(table.name);

        /* Copies of the data set name their files in the singular too. */
        if ((size == plural || size == plural - 1) && strncmp(base, table.name, size) == 0) {
            return &table;
        }
    }
    return nullptr;
}

Oid create_data_table(const DataTable *table, Oid schema, Oid movies) {
    if (table->references_movies && !OidIsValid(movies)) {
        movies = get_relname_relid("movies", schema);
        if (!OidIsValid(movies)) {
            ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("relation \"movies\" does not exist")));
        }
    }

    const int guc_level = NewGUCNestLevel();
    set_locally("search_path", "pg_catalog, pg_temp");
    const char *name = qualified(schema, table->name);
    const char *columns = table->columns;
    if (table->references_movies) {
        const char *at = strstr(columns, "%s");
        columns = psprintf("%.*s%s%s", static_cast<int>(at - columns), columns,
                           qualified(get_rel_namespace(movies), get_rel_name(movies)), at + strlen("%s"));
    }
    run(psprintf("CREATE TABLE %s (%s)", name, columns));
    if (table->references_movies) {
        run(psprintf("CREATE INDEX ON %s (movieid)", name));
    }
    AtEOXact_GUC(true, guc_level);

    const Oid made = get_relname_relid(table->name, schema);
    if (!is_as_meant(made, table, movies)) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("a schema was renamed while table \"%s\" was being made", table->name)));
    }
    CreateComments(made, RelationRelationId, 0, table->comment);
    CommandCounterIncrement();
    return made;
}

} // namespace movielens_ingest::pg
