/*
 * data_set.hpp - the files of a MovieLens release in a directory.
 */
#pragma once

#include "pg/pg.hpp"
#include "pg/settings.hpp"

namespace movielens_ingest::pg {

struct DataSetImport {
    int64 id;
    const char *file_name;
    Oid target;
};

/*
 * Registers each file of the directory that a table of MovieLens is known for, as one batch. Files of the release that
 * are missing are named in a NOTICE; strict: in an error. Returns as many as count says, in the current memory context.
 */
DataSetImport *register_data_set(Oid schema, const char *directory, bool strict, const ImportOptions *options,
                                 int *count);

} // namespace movielens_ingest::pg
