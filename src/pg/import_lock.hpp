/*
 * import_lock.hpp - the lock that tells whether an import is alive.
 *
 * Its leader and its workers hold it for their whole lives, and a status of Processing is never believed without it. It
 * is a heavyweight lock, so that a wait for it shows in pg_locks and takes part in deadlock detection. Its method is
 * that of advisory locks: a session lock of the default method would be released by every abort, and not by the exit of
 * a process that is in no transaction (ProcReleaseLocks, ShutdownPostgres). Its tag is no advisory lock's, so no user
 * can take it.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/*
 * Leader: takes the lock for the life of the process. Worker: takes it too, in a mode that lets it live beside the
 * others and conflicts with that of a waiter: one who waits for an import while a worker waits for him is then found by
 * the deadlock detector. It never waits for it, though, for it would stand behind a waiter who waits for the leader who
 * waits for the worker; then it does without.
 *
 * To be called again after user code has run: a trigger that calls pg_advisory_unlock_all() has released it.
 */
void hold_import_lock(Oid files, int64 import_id, bool leader);

/* True while some process other than this one holds it. */
bool import_lock_is_held(Oid files, int64 import_id);

/* Sleeps until nobody holds it; obeys lock_timeout and cancellation. */
void wait_for_import_lock(Oid files, int64 import_id);

} // namespace movielens_ingest::pg
