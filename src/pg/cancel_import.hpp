/*
 * cancel_import.hpp - asks the processes of an import to end it, or ends one that has none.
 */
#pragma once

#include "pg/ledger.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/*
 * For superusers, and, unless one started the import, for the role that did, its members and those of
 * pg_signal_backend, as pg_cancel_backend() has it. Raises 42501 for others, or 42704 if they cannot even see it.
 * False, with a NOTICE: it has ended already.
 */
bool cancel_by_id(const Ledger *ledger, int64 id);

} // namespace movielens_ingest::pg
