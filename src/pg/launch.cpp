/*
 * The pre-commit callback is the last place where an error still rolls the transaction back. Leaders are registered
 * there, and it waits until each holds its batch's lock: so once the commit is visible, a free lock means a dead
 * leader. A leader then sleeps until the transaction has ended, and does nothing when it was rolled back after all (by
 * a failure later in CommitTransaction).
 */
#include "pg/launch.hpp"

#include "pg/background_process.hpp"
#include "pg/import_lock.hpp"
#include "pg/pg.hpp"
#include "pg/queue.hpp"
#include "pg/seat.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr long kStartTimeout = 60 * 1000;  /* milliseconds */
constexpr int kHandOverTimeout = 5 * 1000; /* for a slot that goes from one leader to the next */
constexpr int kEndTimeout = 500;           /* for that of a leader which has left the queue, and is about to end */
constexpr long kHandOverInterval = 20;

struct PendingBatch {
    LeaderArguments arguments;
    int64 imports[kMostImports];
    int import_count;
    SubTransactionId subtransaction;
    BackgroundWorkerHandle *handle; /* once its leader is registered */
};

/* Of this transaction, in TopTransactionContext. */
List *pending = NIL;

/* Sleeps until the latch is set, or so many milliseconds. */
void sleep_on_latch(long milliseconds) {
    (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, milliseconds,
                    WAIT_EVENT_BGWORKER_STARTUP);
    ResetLatch(MyLatch);
    CHECK_FOR_INTERRUPTS();
}

void wait_for_leader(const PendingBatch *batch) {
    const LeaderArguments *arguments = &batch->arguments;
    const TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), kStartTimeout);

    for (;;) {
        pid_t pid;
        const BgwHandleStatus status = GetBackgroundWorkerPid(batch->handle, &pid);

        if (status == BGWH_STARTED && lock_is_held(leader_lock(arguments->files, arguments->batch_id))) {
            return;
        }
        const long rest = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
        if ((status != BGWH_STARTED && status != BGWH_NOT_YET_STARTED) || rest <= 0) {
            ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_RESOURCES),
                            errmsg("the leader of import " INT64_FORMAT " could not be started", arguments->batch_id),
                            errhint("More details may be available in the server log.")));
        }
        /* Set by the postmaster when the leader starts or ends, and by the leader when it holds the lock. */
        sleep_on_latch(rest);
    }
}

/* The permit is held until this transaction ends: by then the leader holds it too. */
Shortage register_leader(PendingBatch *batch) {
    LeaderArguments *arguments = &batch->arguments;
    const Identity *identity = &arguments->identity;
    const Shortage shortage =
        take_permit(identity->authenticated_user, identity->process_limit, PermitLife::Transaction, &arguments->permit);

    if (shortage != Shortage::None) {
        return shortage;
    }
    const MemoryContext context = MemoryContextSwitchTo(TopTransactionContext); /* for the handle */
    batch->handle = register_seat(arguments, nullptr);
    MemoryContextSwitchTo(context);
    if (batch->handle == nullptr) {
        give_back_permit(&arguments->permit, PermitLife::Transaction);
        return Shortage::Slots;
    }
    return Shortage::None;
}

/* True: its leader lives. False: it is queued. */
bool launch_or_queue(PendingBatch *batch, const Ledger *ledger) {
    TimestampTz begun = GetCurrentTimestamp();

    for (;;) {
        const Shortage shortage = register_leader(batch);
        if (shortage == Shortage::None) {
            hold_lock_beside_in_transaction(starting_lock(ledger->files));
            wait_for_leader(batch);
            return true;
        }
        if (enqueue_batch(ledger, batch->arguments.batch_id)) {
            return false;
        }
        if (lock_is_held(starting_lock(ledger->files))) {
            begun = GetCurrentTimestamp(); /* it will look at the queue, or its slot will be free */
        }
        /* Between two leaders of the queue, which has one at least, there is a moment without one. */
        if (TimestampDifferenceExceeds(begun, GetCurrentTimestamp(),
                                       has_queued_batches(ledger) ? kHandOverTimeout : kEndTimeout)) {
            ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
                            shortage_message(shortage, batch->arguments.identity.authenticated_user,
                                             batch->arguments.batch_id),
                            errhint("%s", shortage_hint(shortage))));
        }
        wake_postmaster();
        sleep_on_latch(kHandOverInterval);
    }
}

void launch_pending() {
    ListCell *cell;

    PushActiveSnapshot(GetTransactionSnapshot());
    foreach (cell, pending) {
        auto *batch = static_cast<PendingBatch *>(lfirst(cell));
        Ledger ledger;

        if (!reopen_ledger(batch->arguments.files, &ledger)) {
            continue; /* the same transaction has dropped the extension */
        }
        batch->arguments.xid = GetTopTransactionId();
        const bool launched = launch_or_queue(batch, &ledger);
        for (int i = 0; launched && i < batch->import_count; i++) {
            notify_state(&ledger, batch->imports[i], kProcessing);
        }
    }
    PopActiveSnapshot();
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
    case XACT_EVENT_ABORT: /* leaders that live see it, and end */
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
        auto *batch = static_cast<PendingBatch *>(lfirst(cell));

        if (batch->subtransaction != subtransaction) {
            continue;
        }
        if (event == SUBXACT_EVENT_COMMIT_SUB) {
            batch->subtransaction = parent;
        } else if (event == SUBXACT_EVENT_ABORT_SUB) {
            pending = foreach_delete_current(pending, cell);
        }
    }
}

PendingBatch *find_pending(int64 batch_id) {
    ListCell *cell;

    foreach (cell, pending) {
        auto *batch = static_cast<PendingBatch *>(lfirst(cell));

        if (batch->arguments.batch_id == batch_id) {
            return batch;
        }
    }
    return nullptr;
}

} // namespace

void launch_at_commit(Oid files, int64 batch_id, int64 import_id, const Identity *identity) {
    static bool registered = false;

    if (!registered) {
        RegisterXactCallback(at_transaction_event, nullptr);
        RegisterSubXactCallback(at_subtransaction_event, nullptr);
        registered = true;
    }

    PendingBatch *batch = find_pending(batch_id);
    if (batch == nullptr) {
        const MemoryContext context = MemoryContextSwitchTo(TopTransactionContext);
        batch = static_cast<PendingBatch *>(palloc0(sizeof(PendingBatch)));
        batch->arguments.batch_id = batch_id;
        batch->arguments.files = files;
        batch->arguments.identity = *identity;
        batch->subtransaction = GetCurrentSubTransactionId();
        pending = lappend(pending, batch);
        MemoryContextSwitchTo(context);
    }
    if (batch->import_count == kMostImports) {
        ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
                        errmsg("a data set cannot have more than %d files", kMostImports)));
    }
    batch->imports[batch->import_count++] = import_id;
}

bool made_by_this_transaction(int64 import_id) {
    ListCell *cell;

    foreach (cell, pending) {
        const auto *batch = static_cast<PendingBatch *>(lfirst(cell));

        for (int i = 0; i < batch->import_count; i++) {
            if (batch->imports[i] == import_id) {
                return true;
            }
        }
    }
    return false;
}

} // namespace movielens_ingest::pg
