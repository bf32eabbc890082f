/*
 * import_steps.hpp - what a leader does for one import of its batch, besides loading chunks as a worker does.
 */
#pragma once

#include "pg/chunk_loader.hpp"
#include "pg/pg.hpp"
#include "pg/worker_pool.hpp"

namespace movielens_ingest::pg {

/*
 * Plans the file, or goes on with the plan that the ledger has, and offers its chunks. Workers start as soon as there
 * are any, unless they look like a file that was loaded before: raises 42710 when it is one. False: it was in crashes
 * of the server, and is to be called again when no other process loads anything.
 */
bool plan_import(Loader *leader, WorkerPool *pool, int import);

/*
 * Loads the chunks that were lost, put off, or met in a crash: when all others have ended, one after the other. False:
 * to be called again when no other process loads anything.
 */
bool load_left_chunks(Loader *leader, int import);

/*
 * Runs ANALYZE if anything was loaded, the role may, and the import is not cancelled: then that raises its error. An
 * import does not fail for want of statistics.
 */
void analyze_target(Loader *leader, int import);

} // namespace movielens_ingest::pg
