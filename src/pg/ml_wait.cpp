/*
 * ml_wait.cpp - the SQL function ml_wait(): sleeps on the lock that the leader of the import holds.
 */
#include "pg/boundary.hpp"
#include "pg/import_lock.hpp"
#include "pg/launch.hpp"
#include "pg/leader.hpp"
#include "pg/ledger.hpp"
#include "pg/ledger_statement.hpp"
#include "pg/pg.hpp"
#include "pg/session.hpp"
#include "pg/subtransaction.hpp"

using namespace movielens_ingest::pg;

namespace {

constexpr long kUnlockedInterval = 100; /* milliseconds */

struct LockWait {
    Oid files;
    int64 import_id;
    int64 timeout; /* milliseconds; 0: none */
};

/* Sleeps until the leader has ended; raises 55P03 after a timeout. The caller's lock_timeout is not ours. */
void wait_for_leader(void *argument) {
    const auto *wait = static_cast<LockWait *>(argument);
    char timeout[32];

    snprintf(timeout, sizeof(timeout), INT64_FORMAT, wait->timeout);
    const int guc_level = NewGUCNestLevel();
    set_locally("lock_timeout", timeout);
    wait_for_import_lock(wait->files, wait->import_id);
    AtEOXact_GUC(true, guc_level);
}

/* False: it takes longer. */
bool wait_until(LockWait *wait, TimestampTz until) {
    wait->timeout = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
    if (wait->timeout == 0) {
        return !import_lock_is_held(wait->files, wait->import_id);
    }
    ErrorData *error = try_in_subtransaction(wait_for_leader, wait);

    if (error == nullptr) {
        return true;
    }
    if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE) {
        ReThrowError(error);
    }
    FreeErrorData(error);
    return false;
}

bool leader_is_alive(int pid) {
    const char *type = pid == 0 ? nullptr : GetBackgroundWorkerTypeByPid(pid);

    return type != nullptr && strcmp(type, kLeaderType) == 0;
}

int64 milliseconds_of(const Interval *interval) {
    const double milliseconds =
        (static_cast<double>(interval->month) * DAYS_PER_MONTH + interval->day) * (SECS_PER_DAY * 1000.0) +
        static_cast<double>(interval->time) / 1000.0;

    if (milliseconds < 0) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("timeout must not be negative")));
    }
    /* lock_timeout is an integer: 24 days. */
    return milliseconds > INT_MAX ? INT_MAX : static_cast<int64>(milliseconds);
}

} // namespace

MOVIELENS_INGEST_FUNCTION(ml_wait) {
    if (PG_ARGISNULL(0)) {
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("id of the import must not be null")));
    }
    const int64 id = PG_GETARG_INT64(0);
    const bool limited = !PG_ARGISNULL(1);
    const Ledger ledger = open_ledger(get_func_namespace(fcinfo->flinfo->fn_oid));
    const TimestampTz until =
        limited ? TimestampTzPlusMilliseconds(GetCurrentTimestamp(), milliseconds_of(PG_GETARG_INTERVAL_P(1))) : 0;
    LockWait wait = {ledger.files, id, 0};
    bool processing;
    int leader;

    if (made_by_this_transaction(id)) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("import " INT64_FORMAT " does not begin before this transaction commits", id),
                        errhint("Commit, then wait for it.")));
    }
    Datum row = read_visible_import(&ledger, id, &processing, &leader);
    if (processing && RecoveryInProgress()) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("cannot wait for import " INT64_FORMAT " during recovery", id)));
    }
    while (processing) {
        const bool unlocked = limited ? wait_until(&wait, until) : (wait_for_leader(&wait), true);

        row = read_visible_import(&ledger, id, &processing, &leader);
        if (!processing || !unlocked) {
            break;
        }
        if (!leader_is_alive(leader)) {
            ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                            errmsg("import " INT64_FORMAT " was interrupted", id),
                            errdetail("Its processes are gone. Its chunks that are Completed in process_chunks are "
                                      "loaded, the others are not.")));
        }
        if (limited && GetCurrentTimestamp() >= until) {
            break;
        }
        /* A trigger has called pg_advisory_unlock_all(): until the leader takes its lock again, there is nothing to
         * sleep on. */
        (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, kUnlockedInterval, PG_WAIT_EXTENSION);
        ResetLatch(MyLatch);
        CHECK_FOR_INTERRUPTS();
    }
    PG_RETURN_DATUM(row);
}
