/*
 * reject_limit.hpp - how many records an import may refuse: on_error and reject_limit.
 */
#pragma once

#include "pg/ledger.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/* Raises the error that ends an import which may not go on when so many records, this one the last, are refused. */
void require_import_goes_on(const Import *import, const Reject *reject, int64 refused);

} // namespace movielens_ingest::pg
