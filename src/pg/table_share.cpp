#include "pg/table_share.hpp"

#include "pg/pg.hpp"
#include "pg/session.hpp"
#include "pg/subtransaction.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr int kMoment = 100;     /* milliseconds */
constexpr int kPatience = 10000; /* milliseconds between two waits that were in vain */

LOCKTAG tag_of(Oid table) {
    LOCKTAG tag;

    SET_LOCKTAG_RELATION(tag, MyDatabaseId, table);
    return tag;
}

bool take_at_once(const LOCKTAG *tag) { return LockAcquire(tag, ShareLock, true, true) != LOCKACQUIRE_NOT_AVAIL; }

void wait_a_moment(void *argument) {
    const int guc_level = NewGUCNestLevel();
    char timeout[16];

    snprintf(timeout, sizeof(timeout), "%d", LockTimeout > 0 ? Min(LockTimeout, kMoment) : kMoment);
    set_locally("lock_timeout", timeout);
    (void)LockAcquire(static_cast<const LOCKTAG *>(argument), ShareLock, true, false);
    AtEOXact_GUC(true, guc_level);
}

bool take_in_a_moment(LOCKTAG *tag) {
    ErrorData *error = try_in_subtransaction(wait_a_moment, tag);

    if (error == nullptr) {
        return true;
    }
    /* The error may come when the lock has just been granted; the rollback of a subtransaction leaves a session's. */
    if (lock_held(tag, ShareLock)) {
        (void)LockRelease(tag, ShareLock, true);
    }
    if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE && error->sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED) {
        ReThrowError(error);
    }
    free_error(error);
    return false;
}

/* The rule of LockTableAclCheck for this mode. */
bool may_lock(Oid table) { return pg_class_aclcheck(table, GetUserId(), kPrivilegesToLock) == ACLCHECK_OK; }

} // namespace

bool take_share(Oid table) {
    static TimestampTz in_vain = 0; /* when it was last waited for, and not had */
    LOCKTAG tag = tag_of(table);

    if (!may_lock(table)) {
        return false;
    }
    if (take_at_once(&tag)) {
        return true;
    }
    if (in_vain != 0 && !TimestampDifferenceExceeds(in_vain, GetCurrentTimestamp(), kPatience)) {
        return false;
    }
    const bool taken = take_in_a_moment(&tag);
    in_vain = taken ? 0 : GetCurrentTimestamp();
    return taken;
}

void release_share(Oid table) {
    const LOCKTAG tag = tag_of(table);

    (void)LockRelease(&tag, ShareLock, true);
}

bool share_is_wanted(Oid table) {
    const LOCKTAG tag = tag_of(table);

    return LockHasWaiters(&tag, ShareLock, true);
}

bool written_here(Oid table) {
    const LOCKTAG tag = tag_of(table);

    return lock_held(&tag, RowExclusiveLock) || lock_held(&tag, ShareRowExclusiveLock) ||
           lock_held(&tag, ExclusiveLock) || lock_held(&tag, AccessExclusiveLock);
}

} // namespace movielens_ingest::pg
