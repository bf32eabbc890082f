/*
 * same_file.hpp - whether a file is the one that was planned, when an import is resumed.
 */
#pragma once

#include "pg/ledger.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/*
 * Returns when the file has the identity that was planned, or is a copy: of the same size, with the same bytes in every
 * chunk that is not Completed. The copy then takes the place of the file in the plan. Else raises 55000.
 */
void require_same_file(const Ledger *ledger, const Import *import);

/* False: only indexes are missing. */
bool needs_file(const Ledger *ledger, const Import *import);

/*
 * Why an import of the batch cannot go on by itself with the file that was planned, in the current memory context.
 * Null: nothing keeps it. Raises no error for a file, whatever it is now.
 */
const char *why_file_is_missing(const Ledger *ledger, int64 batch_id);

} // namespace movielens_ingest::pg
