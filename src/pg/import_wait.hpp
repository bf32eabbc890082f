/*
 * import_wait.hpp - sleeping until an import has ended, on the lock that its leader holds.
 */
#pragma once

#include "pg/ledger.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

enum class WaitEnd { Ended, TimedOut, Interrupted };

/*
 * Sleeps until the import has ended, or until a time; 0: as long as it takes. import: what read_visible_import() said
 * of it, and the newest of that afterwards. Interrupted: its processes are gone, or it is queued and nobody comes.
 */
WaitEnd wait_for_import(const Ledger *ledger, VisibleImport *import, TimestampTz until);

/* Its leader lives, or one that will come to it. Not during recovery. */
bool import_is_alive(const Ledger *ledger, const VisibleImport *import);

/* Raises 42704. */
[[noreturn]] void raise_unknown_import(int64 id);
/* Raises 55000 for an import that the current transaction has made. */
void require_committed_import(int64 id);
/* Raises 55000 in a process that loads a batch itself, for an import of that batch. */
void require_other_batch(const Ledger *ledger, const VisibleImport *import);

} // namespace movielens_ingest::pg
