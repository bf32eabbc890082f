/*
 * reject_buffer.hpp - the records of a chunk that were refused, on their way into rejected_rows: written many at a
 * time.
 */
#pragma once

#include "pg/chunk_loader.hpp"
#include "pg/pg.hpp"
#include "pg/reject.hpp"

namespace movielens_ingest::pg {

/*
 * For one attempt at a chunk, in the current memory context. refuse() raises an error with the record's SQLSTATE when
 * the import is to stop at it, or more of the file's records are refused than its reject_limit.
 */
RejectSink *make_reject_buffer(Loader *loader, const Import *import, const LedgerChunk *chunk);

} // namespace movielens_ingest::pg
