/*
 * import_lock.hpp - the locks that tell the living from the dead.
 *
 * A status of Processing is never believed alone: a leader holds the lock of its batch for its whole life, and that of
 * each import until it has ended it. They are heavyweight locks, so that a wait for one shows in pg_locks and takes
 * part in deadlock detection. Their method is that of advisory locks: a session lock of the default method would be
 * released by every abort, and not by the exit of a process that is in no transaction (ProcReleaseLocks,
 * ShutdownPostgres). Their tags are no advisory lock's, so no user can take them.
 *
 * hold_lock() is to be called again after user code has run: a trigger that calls pg_advisory_unlock_all() has released
 * them.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/* Ids are those of imports; that of a batch is its first import's. files: OID of uploaded_files. */
LOCKTAG import_lock(Oid files, int64 import_id);
LOCKTAG leader_lock(Oid files, int64 batch_id);
/*
 * Held from before an attempt at the chunk is counted until the ledger says how it ended. A worker whose leader died
 * may outlive that by a moment, and give an attempt back that it could not end: who takes the chunk over must not have
 * its row by then.
 */
LOCKTAG attempt_lock(Oid files, int64 import_id, int64 chunk_number);
/* Held by every leader that will look at the queue when it ends, beside the others. */
LOCKTAG mover_lock(Oid files);
/* Held by the one process that tends the queue and does nothing else: see queue.hpp. */
LOCKTAG tending_lock(Oid files);
/*
 * One in the server: of chunks that have seen two crashes, it loads but one at a time, of whatever import or database.
 * A crash then has one suspect only, and no chunk is given up that was just beside it.
 */
LOCKTAG suspect_lock();
/* Held by the leaders of imports that load into this table, or will, beside each other: see deferred_indexes.hpp. */
LOCKTAG loading_lock(Oid target);
/* Held by those who have a slot for a leader that is starting, beside the others. */
LOCKTAG starting_lock(Oid files);

/* For the life of the process, or until release_lock(). Waits for another leader's end. */
void hold_lock(LOCKTAG tag);
/* The same without waiting. False: another process has it. */
bool hold_lock_now(LOCKTAG tag);
void release_lock(LOCKTAG tag);

/*
 * A worker takes its import's lock too, in a mode that lets it live beside the others and conflicts with that of a
 * waiter: one who waits for an import while a worker waits for him is then found by the deadlock detector. It never
 * waits for it, though, for it would stand behind a waiter who waits for the leader who waits for the worker; then it
 * does without.
 */
void hold_lock_beside(LOCKTAG tag, bool wait);
void release_lock_beside(LOCKTAG tag);
/* Until the transaction ends. */
void hold_lock_beside_in_transaction(LOCKTAG tag);

/* True while some process other than this one holds it. */
bool lock_is_held(LOCKTAG tag);

/* Sleeps until nobody holds it; obeys lock_timeout and cancellation. */
void wait_for_lock(LOCKTAG tag);

/* One process at a time looks at the queue of this ledger and changes it: until the transaction ends, or it is given
 * up. */
void lock_queue(Oid files);
void unlock_queue(Oid files);

/* One process at a time resumes a batch: until the transaction ends, or it is given up. No row is locked by it. */
void lock_resume(Oid files, int64 batch_id);
void unlock_resume(Oid files, int64 batch_id);

} // namespace movielens_ingest::pg
