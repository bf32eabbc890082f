/*
 * abandoned_import.hpp - ends imports that nobody leads: what is put off is built first.
 */
#pragma once

#include "pg/identity.hpp"
#include "pg/ledger.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/*
 * In the current transaction: gives the import its last status and error. Returns why an index of its target, which the
 * error names too, could not be built; or null.
 */
const char *end_abandoned(const Ledger *ledger, int64 id, Oid target, const char *status, const char *sqlstate,
                          const char *error);

/* The same for one that was to be cancelled: Cancelled, unless nothing of it is missing. */
const char *end_cancelled(const Ledger *ledger, int64 id, Oid target);

/* Of imports that were to be cancelled, those whose leader has not come to it. In transactions of its own. */
void end_cancelled_imports(Oid files, const Identity *identity);

/*
 * In a background process, outside of a transaction: ends every import of a batch that has not ended yet as Failed.
 * files: OID of uploaded_files.
 */
void fail_abandoned_batch(const Identity *identity, Oid files, int64 batch_id, int sqlerrcode, const char *error);

} // namespace movielens_ingest::pg
