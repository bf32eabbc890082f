/*
 * target_storage.hpp - where the rows of the target go, and whether the ledger can promise that they are there exactly
 * once.
 *
 * A foreign table commits before we do. An unlogged table is empty after a crash while the ledger is not: so each
 * import into one has a row in an unlogged table of the ledger, its witness, which a crash takes along.
 */
#pragma once

#include "pg/chunk_loader.hpp"
#include "pg/ledger.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/*
 * Raises 0A000 for a target that is foreign in part at least, unless the import is at_least_once, and for a partitioned
 * one of which a part is unlogged only. Returns whether it is unlogged.
 */
bool require_storage(Relation target, const ImportOptions *options);

/* The same, and raises 55000 when the target has been made logged or unlogged since the import began. */
void require_same_storage(Relation target, const Import *import);

/*
 * Leader, before a chunk is handed out: writes the witness of an import that has an unlogged target. When a crash has
 * taken it, what was loaded is lost, and all chunks are Pending again. Raises 55000 when that cannot be told any more,
 * because the target was made logged or unlogged meanwhile.
 */
void settle_witness(Loader *leader, Import *import);

} // namespace movielens_ingest::pg
