/*
 * header.hpp - the first line of a file: the names of its columns, the way its lines end, and where its data begins.
 */
#pragma once

#include "pg/ledger.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/*
 * Reads the header of import->path and matches it with the columns of the target, in any letter case and any order.
 * Sets columns, column_count, line_end, data_start and data_line. Raises 22P04 for an empty file or a malformed header,
 * and 42703, 42701 or 42P10 for a header that does not fit the table.
 */
void read_header(Import *import, Relation target);

} // namespace movielens_ingest::pg
