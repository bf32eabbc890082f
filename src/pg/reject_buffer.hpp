/*
 * reject_buffer.hpp - the records of a chunk that were refused, on their way into rejected_rows: written many at a
 * time.
 */
#pragma once

#include "pg/chunk_loader.hpp"
#include "pg/pg.hpp"
#include "pg/record_reader.hpp"
#include "pg/refusal.hpp"

namespace movielens_ingest::pg {

struct RejectBuffer;

/* For one attempt at a chunk, in the current memory context. */
RejectBuffer *make_reject_buffer(Loader *loader, const Import *import, const LedgerChunk *chunk);

/*
 * Notes that a record of a piece is refused. Not to be called in a subtransaction that may yet be rolled back. Raises
 * an error with the record's SQLSTATE when the import is to stop at it, or more of the file's records are refused than
 * its reject_limit.
 */
void refuse_record(RejectBuffer *buffer, const Piece *piece, int index, const Refusal *why);

/* Writes those that have not been written yet. */
void flush_rejects(RejectBuffer *buffer);

} // namespace movielens_ingest::pg
