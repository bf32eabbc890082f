/*
 * deferred_indexes.hpp - indexes of an empty table that nobody maintains while it is loaded: they are built once, when
 * the last import into the table ends.
 *
 * The catalog says so (indisvalid and indisready are false, as for CREATE INDEX CONCURRENTLY that has just begun), and
 * every session obeys the catalog: loaders, INSERTs of others, the planner, VACUUM. Nothing here decides for a chunk;
 * one that comes too early or too late finds an index to maintain or finds none. The ledger notes which indexes these
 * are, so that whoever is last builds them, also after a crash.
 */
#pragma once

#include "pg/chunk_loader.hpp"
#include "pg/ledger.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/*
 * Leader, before a chunk of the import is handed out: puts off the indexes of its target that can refuse no row, if the
 * target is an empty table without triggers, the role owns it, nobody uses it at the moment, and the file is worth it.
 */
void defer_indexes(Loader *leader, const Import *import);

/*
 * Leader, when no process loads the import any more, in no transaction: builds what is put off on its target, unless
 * another import loads into it, which then does so. same_batch: one of this batch does. seen: so many cancels do not
 * end it. Null: done, as far as it is for this import. Else the first error, or a cancel at once, in the current memory
 * context; its message names the index, which stays put off.
 */
ErrorData *build_indexes(Loader *leader, int index, const BatchMember *import, bool same_batch, int seen);

/*
 * The same for an import that has no leader, in the transaction of a session that ends it. Returns the message of an
 * error, or null.
 */
const char *build_abandoned_indexes(const Ledger *ledger, Oid target);

} // namespace movielens_ingest::pg
