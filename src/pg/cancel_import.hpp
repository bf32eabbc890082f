/*
 * cancel_import.hpp - asks the processes of an import to end it, or ends one that has none.
 */
#pragma once

#include "pg/ledger.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/*
 * For the role that started the import, superusers, and members of pg_signal_backend unless a superuser started it, as
 * pg_cancel_backend() has it. Raises 42501 for others, or 42704 if they cannot even see it. False, with a NOTICE: it
 * has ended already.
 */
bool cancel_by_id(const Ledger *ledger, int64 id);

} // namespace movielens_ingest::pg
