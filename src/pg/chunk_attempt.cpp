#include "pg/chunk_attempt.hpp"

#include "pg/cancel_watch.hpp"
#include "pg/chunk_writer.hpp"
#include "pg/import_lock.hpp"
#include "pg/patience.hpp"
#include "pg/pg.hpp"
#include "pg/progress.hpp"
#include "pg/session.hpp"
#include "pg/shared_chunks.hpp"
#include "pg/subtransaction.hpp"

namespace movielens_ingest::pg {

namespace {

/* The attempt that is counted for this process. */
Loader *busy = nullptr;
int64 busy_chunk_id;
bool busy_with_it; /* it is more than counted */

struct AttemptLock {
    LOCKTAG tag;
    bool held;
};
AttemptLock in_hand;    /* of the chunk that is being loaded, */
AttemptLock beforehand; /* and of the one whose attempt has begun with that */

/* False: another process is at the chunk, or has not quite ended. wait: until it has. */
bool lock_attempt(AttemptLock *lock, LOCKTAG tag, bool wait) {
    lock->tag = tag;
    if (wait) {
        hold_lock(tag);
    }
    lock->held = wait || hold_lock_now(tag);
    return lock->held;
}

void unlock_attempt(AttemptLock *lock) {
    if (lock->held) {
        release_lock(lock->tag);
        lock->held = false;
    }
}

/* In a transaction. wait: for who has the ledger locked; else the count stays as it is. */
void uncount(bool wait) {
    Ledger ledger;

    if ((wait || can_open_ledger_now(busy->ledger.files)) && reopen_ledger(busy->ledger.files, &ledger)) {
        uncount_attempt(&ledger, busy_chunk_id, busy_with_it);
    }
}

/*
 * In the exit of a process that was told to end within an attempt: that is no crash. Others may hold what it would have
 * to wait for, and nothing could interrupt it here; then the chunk is taken for one that the server crashed in. Core
 * runs a transaction at this point too (RemoveTempRelationsCallback).
 */
void withdraw_at_exit(int, Datum) {
    if (busy == nullptr) {
        return;
    }
    AbortOutOfAnyTransaction();
    /* Nothing could interrupt the wait for a standby either. */
    SetConfigOption("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION);
    begin_transaction(&busy->identity);
    uncount(false);
    commit_transaction();
    busy = nullptr;
}

/* Whatever synchronous_commit is: the count is to be there after a crash that the work brings about. */
bool count_attempt(const Loader *loader, const Import *import, int64 number, Company company, AttemptLock *lock,
                   LedgerChunk *chunk) {
    const bool alone = company == Company::Alone;
    const int most_crashes = alone ? INT_MAX : kCrashesBeforeAlone - 1;

    unlock_attempt(lock); /* an error may have left it */
    if (!lock_attempt(lock, attempt_lock(loader->ledger.files, import->id, number), alone)) {
        return false;
    }
    if (!begin_attempt(&loader->ledger, import->id, number, most_crashes, alone, chunk)) {
        unlock_attempt(lock);
        return false;
    }
    ForceSyncCommit();
    return true;
}

/*
 * The attempt at the next chunk begins in the transaction that ends the one before: that is one flush of WAL less.
 */
void begin_next(Loader *loader, const Import *import) {
    const int64 number = take_next_chunk(loader->shared, loader->slot, loader->leave);

    loader->next_begun =
        number > 0 && count_attempt(loader, import, number, Company::Others, &beforehand, &loader->next);
}

/* The transaction that counts it has been committed. */
void note_begun(Loader *loader, int64 chunk_id) {
    busy_chunk_id = chunk_id;
    busy_with_it = false;
    busy = loader;
}

} // namespace

void set_constraints_immediate() {
    auto *statement = makeNode(ConstraintsSetStmt);

    statement->deferred = false;
    AfterTriggerSetState(statement);
}

bool begin_attempt_at(Loader *loader, const Import *import, int64 number, Company company, LedgerChunk *chunk) {
    static bool registered = false;

    if (!registered) {
        before_shmem_exit(withdraw_at_exit, Datum(0));
        registered = true;
    }
    if (loader->next_begun) {
        Assert(static_cast<int64>(loader->next.chunk.number) == number);
        loader->next_begun = false;
        in_hand = beforehand;
        beforehand.held = false;
        *chunk = loader->next;
        return true;
    }
    bool pending = false;
    note_patiently(&loader->identity, "count an attempt at a chunk",
                   [&]() { pending = count_attempt(loader, import, number, company, &in_hand, chunk); });
    if (pending) {
        note_begun(loader, chunk->id);
    }
    return pending;
}

ErrorData *try_chunk(Loader *loader, const Import *import, const LedgerChunk *chunk, Company company,
                     MemoryContext context, ChunkEnd *end) {
    ErrorData *volatile error = nullptr;
    const CancelHold hold = allow_cancels(); /* here a worker can be cancelled, and in its pauses */

    end->rows = 0;
    busy_with_it = true;
    PG_TRY();
    {
        begin_watch(loader->shared, loader->shared->slot[loader->slot].import, 0, WatchEnd::Terminate);
        begin_transaction(&loader->identity);
        if (claim_chunk(&loader->ledger, chunk->id, company == Company::Alone)) {
            const int guc_level = NewGUCNestLevel();
            obey_lock_timeout();
            set_constraints_immediate();
            const ChunkCounts counts = write_chunk(loader, import, chunk);
            AtEOXact_GUC(true, guc_level);
            obey_watch();
            complete_chunk(&loader->ledger, chunk->id, &counts);
            if (company == Company::Others) {
                begin_next(loader, import);
            }
            end->rows = counts.loaded + counts.rejected + counts.skipped;
            end->rejected = counts.rejected - counts.pending;
            end->pending = counts.pending;
            end->bytes = static_cast<int64>(chunk->chunk.end_byte - chunk->chunk.start_byte);
        }
        commit_transaction();
        report_chunk_ended();
    }
    PG_CATCH();
    {
        end_watch();
        error = abort_transaction(context, hold);
        loader->next_begun = false;
        unlock_attempt(&beforehand);
        forget_refused(loader->shared, loader->slot);
    }
    PG_END_TRY();

    end_watch();
    put_back(hold);
    if (error == nullptr && end->rows > 0) {
        end->how = ChunkEnd::How::Completed;
        forget_attempt();
        if (loader->next_begun) {
            note_begun(loader, loader->next.id);
        }
    } else if (error == nullptr) {
        withdraw_attempt(); /* somebody else has it, or had */
    }
    return error;
}

void forget_attempt() {
    busy = nullptr;
    unlock_attempt(&in_hand);
}

void withdraw_attempt() {
    if (busy == nullptr) {
        unlock_attempt(&in_hand);
        return;
    }
    busy->next_begun = false;
    note_patiently(&busy->identity, "take back the count of an attempt", []() { uncount(true); });
    busy = nullptr;
    unlock_attempt(&in_hand);
    unlock_attempt(&beforehand);
}

} // namespace movielens_ingest::pg
