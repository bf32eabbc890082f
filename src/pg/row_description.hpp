/*
 * row_description.hpp - a row as the detail of an error shows it (ExecBuildSlotValueDescription in execMain.c).
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/*
 * "Failing row contains (...).", in the current memory context, with what the current user may see of it: the columns
 * that it loads, and those that it may SELECT. Null: nothing, or policies apply. columns: by column_numbers().
 */
const char *describe_failing_row(Relation target, const Datum *values, const bool *nulls, const Bitmapset *columns);

struct KeyDescription {
    const char *names;  /* "a, b"; null: the current user may not see all of the columns */
    const char *values; /* "1, 2" */
};

/* As ri_ReportViolation shows a key. */
KeyDescription describe_key(Relation target, const int16 *attnums, int count, const Datum *values, const bool *nulls);

} // namespace movielens_ingest::pg
