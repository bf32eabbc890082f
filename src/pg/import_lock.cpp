#include "pg/import_lock.hpp"

#include "pg/session.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr uint16 kLeader = 0x8000;
constexpr uint16 kAttempt = 0x4000;
constexpr uint16 kResume = 0xFFFE;                     /* as objsubid of a lock on uploaded_files */
constexpr LOCKMODE kLiving = ShareUpdateExclusiveLock; /* one at a time */
constexpr LOCKMODE kBeside = RowExclusiveLock;
constexpr LOCKMODE kWaiting = ShareLock; /* conflicts with both */

/* LOCKTAG_OBJECT has 32 + 16 bits for the object: ids are unique up to 2^46, two bits tell what it is the id of. */
LOCKTAG lock_tag(Oid files, int64 id, uint16 kind) {
    LOCKTAG tag;

    SET_LOCKTAG_OBJECT(tag, MyDatabaseId, files, static_cast<uint32>(id),
                       static_cast<uint16>(static_cast<uint64>(id) >> 32) | kind);
    tag.locktag_lockmethodid = USER_LOCKMETHOD;
    return tag;
}

} // namespace

LOCKTAG import_lock(Oid files, int64 import_id) { return lock_tag(files, import_id, 0); }
LOCKTAG leader_lock(Oid files, int64 batch_id) { return lock_tag(files, batch_id, kLeader); }
LOCKTAG attempt_lock(Oid files, int64 import_id, int64 chunk_number) {
    /* Two that share a tag, of imports that are far apart, only wait for each other. */
    return lock_tag(files, (import_id & (kAttempt - 1)) << 32 | (chunk_number & PG_UINT32_MAX), kAttempt);
}
LOCKTAG mover_lock(Oid files) { return lock_tag(files, 0, 0); }
LOCKTAG starting_lock(Oid files) { return lock_tag(files, 0, kLeader); }

LOCKTAG suspect_lock() {
    LOCKTAG tag;

    SET_LOCKTAG_OBJECT(tag, InvalidOid, ExtensionRelationId, 0, kLeader);
    tag.locktag_lockmethodid = USER_LOCKMETHOD;
    return tag;
}

LOCKTAG loading_lock(Oid target) {
    LOCKTAG tag;

    SET_LOCKTAG_OBJECT(tag, MyDatabaseId, RelationRelationId, target, kLeader);
    tag.locktag_lockmethodid = USER_LOCKMETHOD;
    return tag;
}

LOCKTAG tending_lock(Oid files) {
    LOCKTAG tag;

    SET_LOCKTAG_OBJECT(tag, MyDatabaseId, ExtensionRelationId, files, kLeader);
    tag.locktag_lockmethodid = USER_LOCKMETHOD;
    return tag;
}

void hold_lock(LOCKTAG tag) {
    if (!lock_held(&tag, kLiving)) {
        (void)LockAcquire(&tag, kLiving, true, false);
    }
}

bool hold_lock_now(LOCKTAG tag) {
    return lock_held(&tag, kLiving) || LockAcquire(&tag, kLiving, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

void release_lock(LOCKTAG tag) {
    if (lock_held(&tag, kLiving)) {
        (void)LockRelease(&tag, kLiving, true);
    }
}

void hold_lock_beside(LOCKTAG tag, bool wait) {
    if (!lock_held(&tag, kBeside)) {
        (void)LockAcquire(&tag, kBeside, true, !wait);
    }
}

void release_lock_beside(LOCKTAG tag) {
    if (lock_held(&tag, kBeside)) {
        (void)LockRelease(&tag, kBeside, true);
    }
}

void hold_lock_beside_in_transaction(LOCKTAG tag) {
    const int guc_level = NewGUCNestLevel();
    set_locally("lock_timeout", "0"); /* waits for those only who just look whether it is held */
    (void)LockAcquire(&tag, kBeside, false, false);
    AtEOXact_GUC(true, guc_level);
}

bool lock_is_held(LOCKTAG tag) {
    if (LockAcquire(&tag, kWaiting, false, true) == LOCKACQUIRE_NOT_AVAIL) {
        return true;
    }
    LockRelease(&tag, kWaiting, false);
    return false;
}

void wait_for_lock(LOCKTAG tag) {
    (void)LockAcquire(&tag, kWaiting, false, false);
    LockRelease(&tag, kWaiting, false);
}

void lock_queue(Oid files) {
    const int guc_level = NewGUCNestLevel();
    set_locally("lock_timeout", "0"); /* that of the session is for its statements */
    LockDatabaseObject(files, InvalidOid, 0, ExclusiveLock);
    AtEOXact_GUC(true, guc_level);
}
void lock_resume(Oid files, int64 batch_id) {
    LockDatabaseObject(files, static_cast<Oid>(batch_id), kResume, ExclusiveLock);
}
void unlock_resume(Oid files, int64 batch_id) {
    UnlockDatabaseObject(files, static_cast<Oid>(batch_id), kResume, ExclusiveLock);
}
void unlock_queue(Oid files) { UnlockDatabaseObject(files, InvalidOid, 0, ExclusiveLock); }

} // namespace movielens_ingest::pg
