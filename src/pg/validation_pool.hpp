/*
 * validation_pool.hpp - the workers of a session that validates a file: what they are given to do, and what they say.
 *
 * Any of them may be lost, or give up, and there may be none: the session validates what is left, and so meets itself
 * what made a worker fail. Then rows of a chunk may come twice.
 */
#pragma once

#include "core/chunk_planner.hpp"
#include "pg/ledger.hpp"
#include "pg/pg.hpp"
#include "pg/refused_rows.hpp"

namespace movielens_ingest::pg {

struct ValidationPool;

/*
 * For chunks of this import, planned as they are needed; rows come from workers. At most so many workers; none is
 * started before there is a chunk for it. An error or the end of the session ends them.
 */
ValidationPool *make_validation_pool(const Import *import, int workers, TupleDesc desc, RefusedRows *rows);

/* A chunk for the session itself. False: none is left. */
bool take_chunk(ValidationPool *pool, core::Chunk *chunk);
/* Takes the rows that have come, and gives out chunks. Does not wait. */
void tend_validation_pool(ValidationPool *pool);
/* False: all is done. Sleeps until something happens, unless chunks are left for the session. */
bool wait_for_validation_pool(ValidationPool *pool);
/* All is done: waits until the workers have ended. */
void end_validation_pool(ValidationPool *pool);

} // namespace movielens_ingest::pg
