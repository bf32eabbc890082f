#include "pg/queue.hpp"

#include "pg/identity.hpp"
#include "pg/import_lock.hpp"
#include "pg/pg.hpp"
#include "pg/seat.hpp"

namespace movielens_ingest::pg {

bool enqueue_batch(const Ledger *ledger, int64 batch_id) {
    lock_queue(ledger->files);
    if (!lock_is_held(mover_lock(ledger->files))) {
        unlock_queue(ledger->files);
        return false;
    }
    (void)change_status(ledger, batch_id, kProcessing, kQueued);
    return true;
}

Oid queue_interrupted(const Identity *identity) {
    Ledger ledger;
    int count;

    begin_transaction(identity);
    const bool found = find_extension_ledger(&ledger);
    const int64 *batches = found ? batches_with_status(&ledger, kProcessing, &count) : nullptr;
    for (int i = 0; found && i < count; i++) {
        if (!lock_is_held(leader_lock(ledger.files, batches[i]))) {
            (void)change_status(&ledger, batches[i], kProcessing, kQueued);
            ereport(LOG, (errmsg("import " INT64_FORMAT " was interrupted and goes on", batches[i])));
        }
    }
    commit_transaction();
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
