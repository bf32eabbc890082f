/*
 * progress.hpp - what the rest of the server sees of a process of an import: its row in pg_stat_activity, and while it
 * loads a chunk its row in pg_stat_progress_copy.
 */
#pragma once

#include "pg/ledger.hpp"
#include "pg/pg.hpp"
#include "pg/shared_batch.hpp"

namespace movielens_ingest::pg {

/* Shown as the query of the process. */
void report_activity(const char *format, ...) pg_attribute_printf(1, 2);
void report_idle();

/* From now on, tuples are noted in this slot of the batch too, for ml_progress. null: no more. */
void report_live(SharedSlot *slot, const core::Chunk *chunk);

/*
 * Shows the chunk in pg_stat_progress_copy: bytes and tuples of this chunk alone. To be called again whenever a
 * subtransaction was rolled back, for that ends the report (AbortSubTransaction).
 */
void report_chunk(Oid target, uint64 total_bytes, uint64 read_bytes, const ChunkCounts *counts);
void report_chunk_ended();

/* Within a chunk that has been reported: what has been read of it, and how many tuples are in, or refused or skipped.
 */
void report_bytes(uint64 read_bytes);
void report_tuples(int64 tuples, int64 excluded);

} // namespace movielens_ingest::pg
