#include "pg/import_wait.hpp"

#include "pg/background_process.hpp"
#include "pg/import_lock.hpp"
#include "pg/launch.hpp"
#include "pg/session.hpp"
#include "pg/subtransaction.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr long kPollInterval = 100;         /* milliseconds, where there is no lock to sleep on */
constexpr long kLongestHandOver = 5 * 1000; /* between two leaders */

struct LockWait {
    LOCKTAG tag;
    int64 timeout; /* milliseconds; 0: none */
};

/* Raises 55P03 after the timeout. The caller's lock_timeout is not ours. */
void wait_for_leader(void *argument) {
    const auto *wait = static_cast<LockWait *>(argument);
    char timeout[32];

    snprintf(timeout, sizeof(timeout), INT64_FORMAT, wait->timeout);
    const int guc_level = NewGUCNestLevel();
    set_locally("lock_timeout", timeout);
    wait_for_lock(wait->tag);
    AtEOXact_GUC(true, guc_level);
}

/* False: it takes longer. */
bool wait_until(LockWait *wait, TimestampTz until) {
    if (until == 0) {
        wait_for_leader(wait);
        return true;
    }
    wait->timeout = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
    if (wait->timeout == 0) {
        return !lock_is_held(wait->tag);
    }
    /* lock_timeout is an integer: 24 days. */
    wait->timeout = Min(wait->timeout, INT_MAX);
    ErrorData *error = try_in_subtransaction(wait_for_leader, wait);

    if (error == nullptr) {
        return true;
    }
    if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE) {
        ReThrowError(error);
    }
    free_error(error);
    return false;
}

bool leader_is_alive(int pid) {
    const char *type = pid == 0 ? nullptr : GetBackgroundWorkerTypeByPid(pid);

    return type != nullptr && strcmp(type, kLeaderType) == 0;
}

bool is_queued(const VisibleImport *import) { return strcmp(import->status, kQueued) == 0; }

} // namespace

bool import_is_alive(const Ledger *ledger, const VisibleImport *import) {
    return lock_is_held(leader_lock(ledger->files, import->batch_id)) ||
           (is_queued(import) && lock_is_held(mover_lock(ledger->files)));
}

WaitEnd wait_for_import(const Ledger *ledger, VisibleImport *import, TimestampTz until) {
    TimestampTz alive = GetCurrentTimestamp();

    while (is_open(import)) {
        LockWait wait = {import_lock(ledger->files, import->id), 0};
        const bool queued = is_queued(import);
        const bool unlocked = queued || wait_until(&wait, until);

        if (!read_visible_import(ledger, import->id, false, import)) {
            raise_unknown_import(import->id);
        }
        if (!is_open(import)) {
            break;
        }
        if (!unlocked) {
            return WaitEnd::TimedOut;
        }
        if (is_queued(import) != queued) {
            continue;
        }
        /*
         * There was nothing to sleep on: it is queued; or its leader, that of a data set, comes to it only now; or a
         * trigger has called pg_advisory_unlock_all().
         */
        if (import_is_alive(ledger, import) || (!queued && leader_is_alive(import->leader))) {
            alive = GetCurrentTimestamp();
        } else if (!queued || TimestampDifferenceExceeds(alive, GetCurrentTimestamp(), kLongestHandOver)) {
            /* Once more: it may have ended since it was read. */
            if (!read_visible_import(ledger, import->id, false, import)) {
                raise_unknown_import(import->id);
            }
            return is_open(import) ? WaitEnd::Interrupted : WaitEnd::Ended;
        } else {
            wake_postmaster(); /* the next leader of the queue is to be started in the slot of the last one */
        }
        if (until != 0 && GetCurrentTimestamp() >= until) {
            return WaitEnd::TimedOut;
        }
        (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, kPollInterval, PG_WAIT_EXTENSION);
        ResetLatch(MyLatch);
        CHECK_FOR_INTERRUPTS();
    }
    return WaitEnd::Ended;
}

void raise_unknown_import(int64 id) {
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("import " INT64_FORMAT " does not exist", id)));
}

void require_committed_import(int64 id) {
    if (made_by_this_transaction(id)) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("import " INT64_FORMAT " does not begin before this transaction commits", id),
                        errhint("Commit, then wait for it.")));
    }
}

} // namespace movielens_ingest::pg
