/*
 * chunk_writer.hpp - the records of a chunk into the target, and those that cannot be loaded into rejected_rows.
 */
#pragma once

#include "pg/chunk_loader.hpp"
#include "pg/ledger.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/*
 * Loads the chunk in the current transaction, as the current user. What is refused is a record that cannot be loaded
 * even when it is tried alone, with an error that is the record's own; every other error is raised.
 */
ChunkCounts write_chunk(Loader *loader, const Import *import, const LedgerChunk *chunk);

} // namespace movielens_ingest::pg
