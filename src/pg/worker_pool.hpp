/*
 * worker_pool.hpp - the workers of one leader: started, watched, replaced, ended.
 */
#pragma once

#include "pg/chunk_loader.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

struct WorkerPool;

/* For the life of the process. Should the leader end in any way, its workers are told to end too. */
WorkerPool *make_worker_pool(Loader *leader, dsm_handle segment);

/*
 * Starts workers, so that as many processes load as there are chunks to be taken, the leader counted, or slots, or as
 * there are permits and slots of the server for. To be called again when there are more chunks, or less of them.
 */
void start_workers(WorkerPool *pool);

/*
 * Sees which workers have ended. The chunk of a lost one goes back to Pending, or is Failed when it has had its
 * attempts; while chunks are waiting, another worker takes its place. Returns how many are alive.
 */
int tend_workers(WorkerPool *pool);

/* Has a worker leave at its chunk's end, if others wait for a process that this import's role has more of. */
void make_room(WorkerPool *pool);

/* Tells them that there is no chunk any more, and waits until they have ended. */
void end_workers(WorkerPool *pool);

} // namespace movielens_ingest::pg
