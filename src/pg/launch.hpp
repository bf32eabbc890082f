/*
 * launch.hpp - imports start when the transaction that made them commits, and only then.
 */
#pragma once

#include "pg/identity.hpp"
#include "pg/ledger.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/*
 * Notes an import that the current (sub)transaction has made, or made Processing again, and the batch that it belongs
 * to. The leader of the batch is started in the pre-commit callback, or the batch is queued there.
 */
void launch_at_commit(Oid files, int64 batch_id, int64 import_id, const Identity *identity);

/* True for an import that the current transaction has made or resumed. */
bool made_by_this_transaction(int64 import_id);

} // namespace movielens_ingest::pg
