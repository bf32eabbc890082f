/*
 * pending_records.hpp - the leader's rounds over the records that reference rows of their own table, when all chunks
 * are in.
 */
#pragma once

#include "pg/chunk_loader.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/*
 * Tries the import's pending records until none goes in any more; those that are left are refused for good, and now
 * count for on_error and reject_limit, whose errors it raises. False: the import was stopped before that, or is to fail
 * with *error, which would not pass after max_retries; else that is null.
 */
bool load_pending_records(Loader *leader, int import, const ErrorData **error);

} // namespace movielens_ingest::pg
