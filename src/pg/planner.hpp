/*
 * planner.hpp - the leader's pass over the file, which writes the chunks into the ledger.
 */
#pragma once

#include "core/chunk_planner.hpp"
#include "pg/chunk_loader.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/* Makes the planner of an import, in the current memory context. */
core::ChunkPlanner *make_planner(const Import *import);

/* Reads on in the current transaction until the next chunk is cut. False: there is no more. */
bool plan_chunk(const Import *import, core::ChunkPlanner *planner, core::Chunk *chunk);

/* Shows in pg_stat_activity that this process plans the file. */
void report_planning(const Import *import);

/*
 * Reads on for a while and commits the chunks that are cut, as Pending; with the last of them the import's row_count.
 * Returns how many chunks are in the ledger then. planner->done() tells whether it was the last step.
 */
int64 plan_step(const Loader *loader, const Import *import, core::ChunkPlanner *planner, int64 planned_chunks);

} // namespace movielens_ingest::pg
