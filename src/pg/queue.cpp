#include "pg/queue.hpp"

#include "pg/error_text.hpp"
#include "pg/identity.hpp"
#include "pg/import_lock.hpp"
#include "pg/patience.hpp"
#include "pg/pg.hpp"
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

void move_queue(Oid files, const Identity *identity, bool leaving) {
    LeaderArguments own;
    LeaderArguments next;
    Ledger ledger;
    bool no_slot = false;

    memset(&own, 0, sizeof(own));
    own.files = files;
    own.identity = *identity;
    memset(&next, 0, sizeof(next));
    begin_transaction(identity);
    if (reopen_ledger(files, &ledger)) {
        int count;

        lock_queue(files);
        const int64 *queued = batches_with_status(&ledger, kQueued, &count);
        for (int i = 0; i < count && !no_slot; i++) {
            /* One whose leader lives is about to leave the queue. */
            if (lock_is_held(leader_lock(files, queued[i])) ||
                !read_batch_identity(&ledger, queued[i], &next.identity)) {
                continue;
            }
            next.batch_id = queued[i];
            next.files = files;
            no_slot = register_seat(&next, &own) == nullptr;
        }
        if (leaving) {
            forget_cancel_requests(&ledger);
        }
        if (leaving && !no_slot) {
            release_lock_beside(mover_lock(files));
        }
    }
    commit_transaction();
    if (leaving && no_slot) {
        hand_over_seat(&next);
    }
}

} // namespace movielens_ingest::pg
