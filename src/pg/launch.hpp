/*
 * launch.hpp - imports start when the transaction that made them commits, and only then.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/* Notes an import that the current (sub)transaction has made. Its leader is started in the pre-commit callback. */
void launch_at_commit(Oid files, int64 import_id);

/* True for an import that the current transaction has made. */
bool made_by_this_transaction(int64 import_id);

} // namespace movielens_ingest::pg
