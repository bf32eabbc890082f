#include "pg/queue.hpp"

#include "pg/error_text.hpp"
#include "pg/identity.hpp"
#include "pg/import_lock.hpp"
#include "pg/patience.hpp"
#include "pg/pg.hpp"
#include "pg/process_permit.hpp"
#include "pg/progress.hpp"
#include "pg/same_file.hpp"
#include "pg/seat.hpp"

namespace movielens_ingest::pg {

bool enqueue_batch(const Ledger *ledger, int64 batch_id) {
    lock_queue(ledger->files);
    /* User code of a leader may call: then that looks at the queue when it ends. */
    if (!is_leader(ledger->files) && !lock_is_held(mover_lock(ledger->files))) {
        unlock_queue(ledger->files);
        return false;
    }
    (void)change_status(ledger, batch_id, kProcessing, kQueued);
    /* The leaders may all be in user code that does not return. */
    if (!lock_is_held(tending_lock(ledger->files))) {
        (void)register_tender(ledger->files);
    }
    return true;
}

namespace {

/*
 * Only this incarnation's imports go on. That of a batch whose file is not there, or is another one, would fail: the
 * file system may only not be mounted yet. So it is left to ml_resume(), too.
 */
void queue_batch(const Ledger *ledger, int64 batch_id) {
    if (lock_is_held(leader_lock(ledger->files, batch_id))) {
        return;
    }
    const Origin origin = read_origin(ledger, batch_id);
    const char *why = origin.why_held;

    if (origin.where == Origin::Where::Here) {
        why = why_file_is_missing(ledger, batch_id);
        if (why == nullptr) {
            (void)change_status(ledger, batch_id, kProcessing, kQueued);
            ereport(LOG, (errmsg("import " INT64_FORMAT " was interrupted and goes on", batch_id)));
            return;
        }
        hold_back(ledger, batch_id, why);
    }
    ereport(LOG, (errmsg("import " INT64_FORMAT " was interrupted and does not go on by itself", batch_id),
                  errdetail_internal("%s", why), errhint("Call ml_resume() to go on with it.")));
}

/* The ledger's row may be damaged; that keeps no other import back. */
void queue_or_report(const Identity *identity, const Ledger *ledger, int64 batch_id) {
    const MemoryContext context = CurrentMemoryContext;
    const CancelHold hold = current_hold();

    PG_TRY();
    {
        note_patiently(identity, "go on with an interrupted import", [=]() { queue_batch(ledger, batch_id); });
    }
    PG_CATCH();
    {
        const ErrorData *error = abort_transaction(context, hold);
        ereport(LOG, (errcode(error->sqlerrcode), errmsg("could not go on with import " INT64_FORMAT ": %s", batch_id,
                                                         show_message(error->message))));
    }
    PG_END_TRY();
}

} // namespace

Oid queue_interrupted(const Identity *identity) {
    const MemoryContext context = CurrentMemoryContext;
    Ledger ledger;
    int64 *batches = nullptr;
    int count = 0;
    bool found = false;

    patiently("look for interrupted imports", [&]() {
        begin_transaction(identity);
        found = find_extension_ledger(&ledger);
        if (found) {
            const MemoryContext transaction_context = MemoryContextSwitchTo(context);
            batches = open_batches(&ledger, &count);
            MemoryContextSwitchTo(transaction_context);
        }
        commit_transaction();
    });
    for (int i = 0; i < count; i++) {
        queue_or_report(identity, &ledger, batches[i]);
    }
    return found ? ledger.files : InvalidOid;
}

namespace {

constexpr long kTendInterval = 1000; /* milliseconds */

/* What a look at the queue has come to. */
struct Look {
    Shortage shortage;    /* None: all that could begin have been started */
    LeaderArguments next; /* what is to begin first; batch_id 0: nothing but what its role has no process for */
};

/* The oldest of the role that has the fewest processes, of those that have not been looked at. Null: there is none. */
QueuedBatch *next_batch(QueuedBatch *queued, int count, const PermitsTaken *taken) {
    QueuedBatch *next = nullptr;
    int fewest = 0;

    for (int i = 0; i < count; i++) {
        const int processes = permits_of(taken, queued[i].role);

        if (!queued[i].looked_at &&
            (next == nullptr || processes < fewest || (processes == fewest && queued[i].id < next->id))) {
            next = &queued[i];
            fewest = processes;
        }
    }
    return next;
}

/* With the queue locked: starts what can begin. */
Look start_queued(const Ledger *ledger, const LeaderArguments *own) {
    PermitsTaken taken = permits_taken();
    Oid waiting = InvalidOid;
    Look look;
    int count;

    memset(&look, 0, sizeof(look));
    look.shortage = Shortage::None;
    QueuedBatch *queued = queued_batches(ledger, Max(max_worker_processes, 1), &count);
    for (QueuedBatch *batch; (batch = next_batch(queued, count, &taken)) != nullptr;) {
        LeaderArguments next;

        batch->looked_at = true;
        memset(&next, 0, sizeof(next));
        next.batch_id = batch->id;
        next.files = ledger->files;
        /* One whose leader lives is about to leave the queue. */
        if (lock_is_held(leader_lock(ledger->files, batch->id)) ||
            !read_batch_identity(ledger, batch->id, &next.identity)) {
            continue;
        }
        Shortage shortage = shortage_of(&taken, batch->role, batch->process_limit);
        if (shortage == Shortage::Role) {
            look.shortage = shortage;
            continue;
        }
        if (shortage == Shortage::None && register_seat(&next, own) == nullptr) {
            shortage = Shortage::Slots;
        }
        waiting = OidIsValid(waiting) ? waiting : batch->role;
        if (shortage != Shortage::None) {
            look.shortage = shortage;
            look.next = next;
            break;
        }
        add_permit(&taken, batch->role);
    }
    /*
     * One that is starting too: nobody whose role has more is to take the permit before it does so itself. A leader
     * shows that only where nobody tends the queue: in user code that does not return it would show it for ever.
     */
    show_waiting(Waiting::Queue, lock_is_held(tending_lock(ledger->files)) ? InvalidOid : waiting);
    return look;
}

LeaderArguments arguments_of(Oid files, const Identity *identity) {
    LeaderArguments arguments;

    memset(&arguments, 0, sizeof(arguments));
    arguments.files = files;
    arguments.identity = *identity;
    return arguments;
}

/*
 * False: what is queued may not begin yet, and nobody else tends the queue: a leader that loads may never look
 * again. Does not return when this process's slot is the one that it will begin in.
 */
bool try_to_leave(Oid files, const Identity *identity) {
    const LeaderArguments own = arguments_of(files, identity);
    bool leave = true;
    Ledger ledger;
    Look look;

    look.shortage = Shortage::None;
    begin_transaction(identity);
    if (reopen_ledger(files, &ledger)) {
        lock_queue(files);
        look = start_queued(&ledger, &own);
        leave = look.shortage == Shortage::None ||
                (look.shortage != Shortage::Slots && !hold_lock_now(tending_lock(files)));
        forget_cancel_requests(&ledger);
        if (leave) {
            release_lock(tending_lock(files));
            release_lock_beside(mover_lock(files));
        }
    }
    commit_transaction();
    if (look.shortage == Shortage::Slots) {
        hand_over_seat(&look.next);
    }
    return leave;
}

} // namespace

void move_queue(Oid files, const Identity *identity) {
    const LeaderArguments own = arguments_of(files, identity);
    Ledger ledger;

    begin_transaction(identity);
    if (reopen_ledger(files, &ledger)) {
        lock_queue(files);
        (void)start_queued(&ledger, &own);
    }
    commit_transaction();
}

void leave_queue(Oid files, const Identity *identity) {
    while (!try_to_leave(files, identity)) {
        report_activity("movielens_ingest: waiting until a queued import may begin");
        /* Nothing tells that a process of an import in another database has ended. */
        (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, kTendInterval, PG_WAIT_EXTENSION);
        ResetLatch(MyLatch);
        CHECK_FOR_INTERRUPTS();
        if (ConfigReloadPending) {
            ConfigReloadPending = false;
            ProcessConfigFile(PGC_SIGHUP);
        }
    }
}

} // namespace movielens_ingest::pg
