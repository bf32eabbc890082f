#include "pg/import_wait.hpp"

#include "pg/background_process.hpp"
#include "pg/import_lock.hpp"
#include "pg/launch.hpp"
#include "pg/session.hpp"
#include "pg/shared_progress.hpp"
#include "pg/subtransaction.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr long kPollInterval = 100;         /* milliseconds, where there is no lock to sleep on */
constexpr long kLongestHandOver = 5 * 1000; /* between two leaders */
constexpr int64 kProbeTime = 10;            /* milliseconds in the queue of a lock, to look for a deadlock */
constexpr char kNever[] = "2147483647";     /* milliseconds */

/*
 * Who waits for an import in a query has a snapshot, and may have locks. CREATE INDEX CONCURRENTLY on the target waits
 * for the one, others for the other, and the leader waits for them: a deadlock, which must not be the import's. A
 * process looks for deadlocks once in a wait for a lock, deadlock_timeout after its begin (ProcSleep): too late or too
 * early. So a wait is cut into slices that each look soon, and more than one of them passes before anybody else looks.
 */
int64 slice_of_wait() { return Max(DeadlockTimeout / 2, 2 * kProbeTime); }

struct LockWait {
    LOCKTAG tag;
    int64 timeout; /* milliseconds */
    bool look;     /* for a deadlock */
};

/* Raises 55P03 after the timeout, whatever the caller's lock_timeout, and 40P01. */
void wait_for_leader(void *argument) {
    const auto *wait = static_cast<LockWait *>(argument);
    const int guc_level = NewGUCNestLevel();

    set_locally("lock_timeout", psprintf(INT64_FORMAT, wait->timeout));
    set_locally("deadlock_timeout", wait->look ? psprintf(INT64_FORMAT, Max(wait->timeout / 10, 1)) : kNever);
    set_locally("log_lock_waits", "off"); /* it would say so in each slice */
    wait_for_lock(wait->tag);
    AtEOXact_GUC(true, guc_level);
}

/*
 * Where ANALYZE is to be run at the end of an import, its leader stands in the queue for a moment, and then does
 * without it (try_analyze): what looks like a deadlock meanwhile ends by itself.
 */
bool ends_by_itself(const Ledger *ledger, const VisibleImport *import) {
    const BatchView view = open_batch_view(import->segment, ledger->files, import->batch_id, import->leader);
    bool analyzing = false;

    for (int i = 0; view.batch != nullptr && i < view.batch->import_count; i++) {
        analyzing = analyzing || read_progress(view.batch, i).phase == Phase::Analyzing;
    }
    close_batch_view(&view);
    return analyzing;
}

/* Of two that wait for each other in the end, we are the one who gives up: the import goes on. */
[[noreturn]] void raise_deadlock(ErrorData *error) {
    error->hint = pstrdup("The import goes on. Wait for it again in a transaction that has no locks; CALL ml_load() "
                          "waits without a snapshot, which CREATE INDEX CONCURRENTLY would wait for.");
    ReThrowError(error);
}

/*
 * Sleeps until nobody holds the lock that tells of the import. False: it takes longer than so many milliseconds; or it
 * looks like a deadlock, and is none.
 */
bool sleep_on_lock(const Ledger *ledger, const VisibleImport *import, LOCKTAG tag, int64 milliseconds, bool look) {
    LockWait wait = {tag, milliseconds, look};
    ErrorData *error = try_in_subtransaction(wait_for_leader, &wait);

    if (error == nullptr) {
        return true;
    }
    if (error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED) {
        if (!ends_by_itself(ledger, import)) {
            raise_deadlock(error);
        }
    } else if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE) {
        ReThrowError(error);
    }
    free_error(error);
    return false;
}

/* The same until a time; 0: as long as it takes. */
bool sleep_on_lock_until(const Ledger *ledger, const VisibleImport *import, LOCKTAG tag, TimestampTz until) {
    for (;;) {
        const int64 slice = slice_of_wait();
        const int64 rest = until == 0 ? PG_INT64_MAX : TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);

        if (rest == 0) {
            return !lock_is_held(tag);
        }
        /* What ends sooner than anybody else looks is no deadlock. */
        if (sleep_on_lock(ledger, import, tag, Min(slice, rest), rest >= slice)) {
            return true;
        }
    }
}

bool leader_is_alive(int pid) {
    const char *type = pid == 0 ? nullptr : GetBackgroundWorkerTypeByPid(pid);

    return type != nullptr && strcmp(type, kLeaderType) == 0;
}

bool is_queued(const VisibleImport *import) { return strcmp(import->status, kQueued) == 0; }

/* If its leader died of that, the process that comes in its place ends it. */
bool is_to_be_cancelled(const Ledger *ledger, const VisibleImport *import) {
    bool found = false;
    int count;
    const CancelRequest *requests = cancel_requests_of_batch(ledger, import->batch_id, &count);

    for (int i = 0; i < count; i++) {
        found = found || requests[i].id == import->id;
    }
    return found;
}

} // namespace

bool import_is_alive(const Ledger *ledger, const VisibleImport *import) {
    return lock_is_held(leader_lock(ledger->files, import->batch_id)) ||
           (is_queued(import) && lock_is_held(mover_lock(ledger->files)) &&
            read_origin(ledger, import->batch_id).where == Origin::Where::Here);
}

WaitEnd wait_for_import(const Ledger *ledger, VisibleImport *import, TimestampTz until) {
    TimestampTz probed = GetCurrentTimestamp();
    TimestampTz gone = 0; /* when it was first seen without a leader, one after the other */

    while (is_open(import)) {
        const bool queued = is_queued(import);
        const bool unlocked =
            queued || sleep_on_lock_until(ledger, import, import_lock(ledger->files, import->id), until);

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
            gone = 0;
        } else if ((!queued && !is_to_be_cancelled(ledger, import)) ||
                   (gone != 0 && TimestampDifferenceExceeds(gone, GetCurrentTimestamp(), kLongestHandOver))) {
            /* Once more: it may have ended since it was read. */
            if (!read_visible_import(ledger, import->id, false, import)) {
                raise_unknown_import(import->id);
            }
            return is_open(import) ? WaitEnd::Interrupted : WaitEnd::Ended;
        } else {
            gone = gone != 0 ? gone : GetCurrentTimestamp();
            wake_postmaster(); /* the next leader of the queue is to be started in the slot of the last one */
        }
        if (until != 0 && GetCurrentTimestamp() >= until) {
            return WaitEnd::TimedOut;
        }
        (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, kPollInterval, PG_WAIT_EXTENSION);
        ResetLatch(MyLatch);
        CHECK_FOR_INTERRUPTS();
        /* Those whom the queue waits for may wait for us: a moment in the queue of a lock of theirs tells. */
        if (TimestampDifferenceExceeds(probed, GetCurrentTimestamp(), static_cast<int>(slice_of_wait()))) {
            (void)sleep_on_lock(ledger, import,
                                queued ? mover_lock(ledger->files) : leader_lock(ledger->files, import->batch_id),
                                kProbeTime, true);
            probed = GetCurrentTimestamp();
        }
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

void require_other_batch(const Ledger *ledger, const VisibleImport *import) {
    if (is_own_batch(ledger->files, import->batch_id)) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("cannot wait for import " INT64_FORMAT " in a process that loads it", import->id)));
    }
}

} // namespace movielens_ingest::pg
