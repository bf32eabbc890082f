/*
 * The pre-commit callback is the last place where an error still rolls the transaction back. Leaders are registered
 * there, and it waits until each holds its import's lock: so once the commit is visible, a free lock means a dead
 * leader. A leader then sleeps until the transaction has ended, and finds its row in the ledger, or none when the
 * transaction was rolled back after all (by a failure later in CommitTransaction).
 */
#include "pg/launch.hpp"

#include "pg/import_lock.hpp"
#include "pg/leader.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr long kStartTimeout = 60 * 1000; /* milliseconds */

struct PendingImport {
    LeaderArguments arguments;
    SubTransactionId subtransaction;
    BackgroundWorkerHandle *handle; /* once its leader is registered */
};

/* Of this transaction, in TopTransactionContext. */
List *pending = NIL;

void register_leaders() {
    const MemoryContext context = MemoryContextSwitchTo(TopTransactionContext); /* for the handles */
    ListCell *cell;

    foreach (cell, pending) {
        auto *import = static_cast<PendingImport *>(lfirst(cell));

        import->arguments.xid = GetTopTransactionId();
        import->handle = register_leader(&import->arguments);
        if (import->handle == nullptr) {
            ereport(ERROR,
                    (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
                     errmsg("no background worker slot is free for import " INT64_FORMAT, import->arguments.import_id),
                     errhint("You may need to increase max_worker_processes.")));
        }
    }
    MemoryContextSwitchTo(context);
}

void wait_for_leader(const PendingImport *import, TimestampTz until) {
    const LeaderArguments *arguments = &import->arguments;

    for (;;) {
        pid_t pid;
        const BgwHandleStatus status = GetBackgroundWorkerPid(import->handle, &pid);

        if (status == BGWH_STARTED && import_lock_is_held(arguments->files, arguments->import_id)) {
            return;
        }
        const long rest = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
        if ((status != BGWH_STARTED && status != BGWH_NOT_YET_STARTED) || rest <= 0) {
            ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_RESOURCES),
                            errmsg("the leader of import " INT64_FORMAT " could not be started", arguments->import_id),
                            errhint("More details may be available in the server log.")));
        }
        /* Set by the postmaster when the leader starts or ends, and by the leader when it holds the lock. */
        (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, rest, WAIT_EVENT_BGWORKER_STARTUP);
        ResetLatch(MyLatch);
        CHECK_FOR_INTERRUPTS();
    }
}

void launch_pending() {
    ListCell *cell;

    register_leaders();
    const TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), kStartTimeout);
    foreach (cell, pending) {
        wait_for_leader(static_cast<PendingImport *>(lfirst(cell)), until);
    }
}

void terminate_leaders() {
    ListCell *cell;

    foreach (cell, pending) {
        const auto *import = static_cast<PendingImport *>(lfirst(cell));

        if (import->handle != nullptr) {
            TerminateBackgroundWorker(import->handle);
        }
    }
}

void at_transaction_event(XactEvent event, void *) {
    if (pending == NIL) {
        return;
    }
    switch (event) {
    case XACT_EVENT_PRE_COMMIT:
        launch_pending();
        break;
    case XACT_EVENT_PRE_PREPARE:
        /* The leader would sleep on its slot until COMMIT PREPARED. */
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("cannot PREPARE a transaction that has started an import")));
        break;
    case XACT_EVENT_ABORT:
        terminate_leaders();
        pending = NIL;
        break;
    case XACT_EVENT_COMMIT:
        pending = NIL;
        break;
    default:
        break;
    }
}

void at_subtransaction_event(SubXactEvent event, SubTransactionId subtransaction, SubTransactionId parent, void *) {
    ListCell *cell;

    foreach (cell, pending) {
        auto *import = static_cast<PendingImport *>(lfirst(cell));

        if (import->subtransaction != subtransaction) {
            continue;
        }
        if (event == SUBXACT_EVENT_COMMIT_SUB) {
            import->subtransaction = parent;
        } else if (event == SUBXACT_EVENT_ABORT_SUB) {
            pending = foreach_delete_current(pending, cell);
        }
    }
}

} // namespace

void launch_at_commit(Oid files, int64 import_id) {
    static bool registered = false;

    if (!registered) {
        RegisterXactCallback(at_transaction_event, nullptr);
        RegisterSubXactCallback(at_subtransaction_event, nullptr);
        registered = true;
    }

    const MemoryContext context = MemoryContextSwitchTo(TopTransactionContext);
    auto *import = static_cast<PendingImport *>(palloc0(sizeof(PendingImport)));
    import->arguments.import_id = import_id;
    import->arguments.files = files;
    import->arguments.identity = current_identity();
    import->subtransaction = GetCurrentSubTransactionId();
    pending = lappend(pending, import);
    MemoryContextSwitchTo(context);
}

bool made_by_this_transaction(int64 import_id) {
    ListCell *cell;

    foreach (cell, pending) {
        if (static_cast<PendingImport *>(lfirst(cell))->arguments.import_id == import_id) {
            return true;
        }
    }
    return false;
}

} // namespace movielens_ingest::pg
