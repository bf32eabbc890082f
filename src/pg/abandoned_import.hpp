/*
 * abandoned_import.hpp - ends imports that nobody leads, in the current transaction: what is put off is built first.
 */
#pragma once

#include "pg/ledger.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/*
 * Gives the import its last status and error. Returns why an index of its target, which the error names too, could not
 * be built; or null.
 */
const char *end_abandoned(const Ledger *ledger, int64 id, Oid target, const char *status, const char *sqlstate,
                          const char *error);

/* Ends every import of a batch that has not ended yet as Failed. */
void fail_abandoned_batch(const Ledger *ledger, int64 batch_id, const char *sqlstate, const char *error);

} // namespace movielens_ingest::pg
