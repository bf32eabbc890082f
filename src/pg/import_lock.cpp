#include "pg/import_lock.hpp"

namespace movielens_ingest::pg {

namespace {

/* LOCKTAG_OBJECT has 32 + 16 bits for the object: ids are unique up to 2^48. */
LOCKTAG lock_tag(Oid files, int64 import_id) {
    LOCKTAG tag;

    SET_LOCKTAG_OBJECT(tag, MyDatabaseId, files, static_cast<uint32>(import_id),
                       static_cast<uint16>(static_cast<uint64>(import_id) >> 32));
    tag.locktag_lockmethodid = USER_LOCKMETHOD;
    return tag;
}

} // namespace

void hold_import_lock(Oid files, int64 import_id, bool leader) {
    const LOCKTAG tag = lock_tag(files, import_id);
    const LOCKMODE mode = leader ? ShareUpdateExclusiveLock : RowExclusiveLock;

    if (!LockHeldByMe(&tag, mode)) {
        (void)LockAcquire(&tag, mode, true, !leader);
    }
}

bool import_lock_is_held(Oid files, int64 import_id) {
    const LOCKTAG tag = lock_tag(files, import_id);

    if (LockAcquire(&tag, ShareLock, false, true) == LOCKACQUIRE_NOT_AVAIL) {
        return true;
    }
    LockRelease(&tag, ShareLock, false);
    return false;
}

void wait_for_import_lock(Oid files, int64 import_id) {
    const LOCKTAG tag = lock_tag(files, import_id);

    (void)LockAcquire(&tag, ShareLock, false, false);
    LockRelease(&tag, ShareLock, false);
}

} // namespace movielens_ingest::pg
