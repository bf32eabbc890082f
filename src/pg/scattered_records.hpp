/*
 * scattered_records.hpp - reads single records of a file at their places, as one piece.
 */
#pragma once

#include "pg/ledger.hpp"
#include "pg/pg.hpp"
#include "pg/record_reader.hpp"

namespace movielens_ingest::pg {

/*
 * The records, in their order, as far as so many bytes hold them and one at least: so many has the piece. In the
 * current transaction and memory context. Raises 55000 if the file has changed. Offsets in the piece are not those of
 * the file.
 */
Piece read_scattered_records(const Import *import, const PendingRecord *records, int count, size_t most_bytes);

} // namespace movielens_ingest::pg
