/*
 * header.hpp - the first line of a file: the names of its columns, the way its lines end, and where its data begins.
 */
#pragma once

#include "pg/ledger.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/*
 * Reads the beginning of import->path, and finds the columns of its fields: by the option, by the header, or all of the
 * table. Sets columns, column_count, line_end, data_start and data_line. Raises 22P04 for a header that is missing or
 * malformed, or for a file that is of another kind and does not fit, and what column_list.hpp says.
 */
void read_header(Import *import, Relation target);

} // namespace movielens_ingest::pg
