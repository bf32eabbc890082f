/*
 * identity.hpp - as whom the transactions of leader and workers run.
 *
 * A process of an import connects as the user whom the caller's session authenticated: a role that could log in. In
 * each of its transactions it is the caller, with SECURITY_LOCAL_USERID_CHANGE, so that user code (triggers, defaults,
 * input functions) can change neither role nor session; it stays so until the commit has returned, for deferred
 * triggers run there. For the fixed statements of the ledger, and for nothing else, it is the owner of the ledger.
 */
#pragma once

#include "pg/cancel_hold.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/* Plain data: it travels to the leader in bgw_extra, and to workers in shared memory. */
struct Identity {
    Oid database;
    Oid authenticated_user; /* who connects; InvalidOid: the bootstrap superuser, for fixed statements only */
    Oid session_user;       /* differs after SET SESSION AUTHORIZATION */
    Oid user;               /* the caller: the current user of the call */
    int process_limit;      /* how many processes the imports of the authenticated user may have; 0: any number */
};

/* The identity of this session, for the processes that it starts. */
Identity current_identity();

/* In a background worker, once, before its first transaction: connects to the database. */
void connect_as(const Identity *identity);

/*
 * A transaction of an import, READ COMMITTED and read-write whatever the defaults are, with an active snapshot.
 * commit_transaction() returns with the user that the process had before begin_transaction().
 *
 * SERIALIZABLE would take the snapshot before the chunk's row in the ledger is locked, and before the keys that it
 * references are: both must be seen as they are then. And a trigger that reads the table would conflict with every
 * other chunk that writes it at the same time (CheckForSerializableConflictIn), so that they ran one by one in the end.
 */
void begin_transaction(const Identity *identity);
void commit_transaction();

/*
 * In a PG_CATCH: aborts the transaction, if one is open, and returns the error, copied into the given memory context,
 * which is then the current one. hold: that of cancels, from before the PG_TRY.
 */
ErrorData *abort_transaction(MemoryContext context, CancelHold hold);

} // namespace movielens_ingest::pg
