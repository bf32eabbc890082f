/*
 * parallel_safety.hpp - whether what runs for the records of a file may run in another process than the session's.
 */
#pragma once

#include "pg/ledger.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/*
 * True: every function that reads and judges a record of the import is PARALLEL SAFE: those of the types of the
 * columns, of domains, of defaults and generated columns that are computed, of CHECKs and of the bounds of a partition.
 */
bool records_are_parallel_safe(const Import *import);

} // namespace movielens_ingest::pg
