/*
 * movielens_tables.hpp - the tables of MovieLens: which there are, which file is for which, and making one.
 *
 * They are tables of the user's own, no members of the extension.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

struct DataTable {
    const char *name;
    const char *usual_file;
    const char *columns; /* in CREATE TABLE; %s: the table of movies that they reference */
    const char *comment;
    bool references_movies;
};

/* With movies first: the others reference it. */
constexpr int kDataTableCount = 6;
extern const DataTable kDataTables[kDataTableCount];

/* The table that a file of this name belongs to, or null. */
const DataTable *data_table_of_file(const char *file_name);

/*
 * Makes one in the schema, as the current user, and returns its OID. movies: the table that it references; InvalidOid:
 * that of the schema.
 */
Oid create_data_table(const DataTable *table, Oid schema, Oid movies);

} // namespace movielens_ingest::pg
