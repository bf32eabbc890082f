#include "pg/process_permit.hpp"

#include "pg/session.hpp"
#include "pg/settings.hpp"

namespace movielens_ingest::pg {

namespace {

/*
 * Permits are held in a mode that lets others hold them too, and are counted by looking, for which nobody needs to be
 * kept away. Their method is the default one, so that no function that user code can call releases them:
 * pg_advisory_unlock_all() and DISCARD ALL do so with locks of the other method. What does release them is the end of a
 * transaction that is aborted, whose process takes them again at once, and the end of the process, if it asks for that.
 * No command locks an extension in no database, so no user can take them either.
 */
constexpr LOCKMODE kHeld = RowExclusiveLock;
constexpr uint16 kMostNumber = 0x7FF0; /* pg_locks shows a smallint */
constexpr uint16 kCounting = 0xFFFE;   /* in the place of a number, with no role */
constexpr uint16 kWaits = 0xFFFF;      /* in the place of a number; with no role: some role does */

LOCKTAG lock_tag(Oid role, uint16 number) {
    LOCKTAG tag;

    SET_LOCKTAG_OBJECT(tag, InvalidOid, ExtensionRelationId, role, number);
    return tag;
}

/* Of all imports. */
int most_processes() {
    const int setting = max_processes_setting();

    return setting > 0 ? setting : Max(max_worker_processes - max_worker_processes / 4, 1);
}

LOCKTAG permit_tag(const ProcessPermit *permit) { return lock_tag(permit->role, permit->number); }

/* What this process holds for itself and others, in TopMemoryContext. */
ProcessPermit *held = nullptr;
int held_count = 0;
int held_size = 0;
/* Somebody may have taken one more while this process had lost its own for a moment, or the limit may be lower now. */
bool may_be_too_many = false;
int last_limit = 0;

void note_held(const ProcessPermit *permit) {
    constexpr int kFirst = 16;

    if (held == nullptr) {
        held = static_cast<ProcessPermit *>(MemoryContextAlloc(TopMemoryContext, sizeof(ProcessPermit) * kFirst));
        held_size = kFirst;
    } else if (held_count == held_size) {
        held = static_cast<ProcessPermit *>(repalloc(held, sizeof(ProcessPermit) * static_cast<Size>(held_size) * 2));
        held_size *= 2;
    }
    held[held_count++] = *permit;
}

void forget_held(const ProcessPermit *permit) {
    for (int i = 0; i < held_count; i++) {
        if (held[i].role == permit->role && held[i].number == permit->number) {
            held[i] = held[--held_count];
            return;
        }
    }
}

bool is_ours(const LOCKTAG *tag) {
    return tag->locktag_type == LOCKTAG_OBJECT && tag->locktag_lockmethodid == DEFAULT_LOCKMETHOD &&
           tag->locktag_field1 == InvalidOid && tag->locktag_field2 == ExtensionRelationId &&
           OidIsValid(tag->locktag_field3);
}

int compare_permits(const void *a, const void *b) {
    const auto *one = static_cast<const ProcessPermit *>(a);
    const auto *other = static_cast<const ProcessPermit *>(b);

    if (one->role != other->role) {
        return one->role < other->role ? -1 : 1;
    }
    return static_cast<int>(one->number) - static_cast<int>(other->number);
}

/* Each once, in order, those that show who waits too. All of the lock table is copied, as for pg_locks. */
ProcessPermit *look_at_locks(int *count) {
    LockData *data = GetLockStatusData();
    auto *found = static_cast<ProcessPermit *>(palloc(sizeof(ProcessPermit) * Max(data->nelements, 1)));
    int last = 0;

    *count = 0;
    for (int i = 0; i < data->nelements; i++) {
        const LockInstanceData *lock = &data->locks[i];

        if (is_ours(&lock->locktag) && (lock->holdMask & LOCKBIT_ON(kHeld)) != 0) {
            found[(*count)++] = {lock->locktag.locktag_field3, lock->locktag.locktag_field4};
        }
    }
    pfree(data->locks);
    pfree(data);
    if (*count > 0) {
        qsort(found, *count, sizeof(ProcessPermit), compare_permits);
        for (int i = 1; i < *count; i++) {
            if (compare_permits(&found[i], &found[last]) != 0) {
                found[++last] = found[i];
            }
        }
        *count = last + 1;
    }
    return found;
}

bool is_taken(const ProcessPermit *permits, int count, const ProcessPermit *permit) {
    return count > 0 && bsearch(permit, permits, count, sizeof(ProcessPermit), compare_permits) != nullptr;
}

/*
 * One that is free. Where the search begins depends on the process: who has lost a permit for a moment is to find the
 * number free still.
 */
ProcessPermit free_permit(const ProcessPermit *permits, int count, Oid role) {
    ProcessPermit permit = {role, static_cast<uint16>(MyProcPid % kMostNumber + 1)};

    while (is_taken(permits, count, &permit)) {
        permit.number = static_cast<uint16>(permit.number % kMostNumber + 1);
    }
    return permit;
}

PermitsTaken sum_up(const ProcessPermit *permits, int count) {
    PermitsTaken taken;

    taken.roles = static_cast<Oid *>(palloc(sizeof(Oid) * static_cast<Size>(Max(count, 1))));
    taken.waiting = static_cast<Oid *>(palloc(sizeof(Oid) * static_cast<Size>(Max(count, 1))));
    taken.count = taken.waiting_count = 0;
    for (int i = 0; i < count; i++) {
        if (permits[i].number == kWaits) {
            taken.waiting[taken.waiting_count++] = permits[i].role;
        } else {
            taken.roles[taken.count++] = permits[i].role;
        }
    }
    return taken;
}

/* One at a time counts and takes, for some microseconds. */
void begin_counting() {
    const LOCKTAG tag = lock_tag(InvalidOid, kCounting);
    const int guc_level = NewGUCNestLevel();

    set_locally("lock_timeout", "0"); /* that of the session is for its statements */
    (void)LockAcquire(&tag, ExclusiveLock, false, false);
    AtEOXact_GUC(true, guc_level);
}

void end_counting() {
    const LOCKTAG tag = lock_tag(InvalidOid, kCounting);

    LockRelease(&tag, ExclusiveLock, false);
}

/* ProcReleaseLocks has left what belongs to the session, and ProcKill wants nothing to be left. */
void give_back_all(int, Datum) {
    /* One that has not connected holds nothing, and has no backend id, which LockReleaseAll() needs. */
    if (OidIsValid(MyDatabaseId)) {
        LockReleaseAll(DEFAULT_LOCKMETHOD, true);
    }
}

void hold_waiting(Oid role) {
    const LOCKTAG tag = lock_tag(role, kWaits);

    if (!lock_held(&tag, kHeld)) {
        (void)LockAcquire(&tag, kHeld, true, true);
    }
}

void release_waiting(Oid role) {
    const LOCKTAG tag = lock_tag(role, kWaits);

    if (lock_held(&tag, kHeld)) {
        (void)LockRelease(&tag, kHeld, true);
    }
}

/* Without looking at all locks. */
bool somebody_waits() {
    const LOCKTAG tag = lock_tag(InvalidOid, kWaits);

    if (lock_held(&tag, kHeld)) {
        return true;
    }
    if (LockAcquire(&tag, ShareLock, true, true) == LOCKACQUIRE_NOT_AVAIL) {
        return true;
    }
    LockRelease(&tag, ShareLock, true);
    return false;
}

} // namespace

PermitsTaken permits_taken() {
    int count;
    const ProcessPermit *permits = look_at_locks(&count);

    return sum_up(permits, count);
}

int permits_of(const PermitsTaken *taken, Oid role) {
    int count = 0;

    for (int i = 0; i < taken->count; i++) {
        count += taken->roles[i] == role ? 1 : 0;
    }
    return count;
}

void add_permit(PermitsTaken *taken, Oid role) {
    taken->roles = static_cast<Oid *>(repalloc(taken->roles, sizeof(Oid) * static_cast<Size>(taken->count + 1)));
    taken->roles[taken->count++] = role;
}

Shortage shortage_of(const PermitsTaken *taken, Oid role, int role_limit) {
    const int own = permits_of(taken, role);

    if (role_limit > 0 && own >= role_limit) {
        return Shortage::Role;
    }
    if (taken->count >= most_processes()) {
        return Shortage::Server;
    }
    for (int i = 0; i < taken->waiting_count; i++) {
        if (permits_of(taken, taken->waiting[i]) < own) {
            return Shortage::Server;
        }
    }
    return Shortage::None;
}

Shortage take_permit(Oid role, int role_limit, PermitLife life, ProcessPermit *permit) {
    int count;

    *permit = {role, 0};
    begin_counting();
    const ProcessPermit *permits = look_at_locks(&count);
    const PermitsTaken taken = sum_up(permits, count);
    const Shortage shortage = shortage_of(&taken, role, role_limit);
    if (shortage == Shortage::None) {
        *permit = free_permit(permits, count, role);
        const LOCKTAG tag = permit_tag(permit);
        (void)LockAcquire(&tag, kHeld, life == PermitLife::Process, true);
        if (life == PermitLife::Process) {
            note_held(permit);
        }
    }
    end_counting();
    return shortage;
}

int take_permits(Oid role, int role_limit, int count, ProcessPermit *permits) {
    int taken = 0;

    while (taken < count && take_permit(role, role_limit, PermitLife::Transaction, &permits[taken]) == Shortage::None) {
        taken++;
    }
    return taken;
}

void give_back_permit(const ProcessPermit *permit, PermitLife life) {
    const LOCKTAG tag = permit_tag(permit);

    if (permit->number == 0) {
        return;
    }
    if (life == PermitLife::Process) {
        forget_held(permit);
    }
    if (lock_held(&tag, kHeld)) {
        (void)LockRelease(&tag, kHeld, life == PermitLife::Process);
    }
}

void hold_permit(const ProcessPermit *permit) {
    const LOCKTAG tag = permit_tag(permit);

    if (permit->number != 0) {
        (void)LockAcquire(&tag, kHeld, true, true);
        note_held(permit);
    }
}

void hold_permits_again() {
    for (int i = 0; i < held_count; i++) {
        const LOCKTAG tag = permit_tag(&held[i]);

        if (!lock_held(&tag, kHeld)) {
            may_be_too_many = true;
            /* No error here, where one is being handled: without memory for the lock, the next abort tries again. */
            acquire_if_there_is_memory(&tag, kHeld);
        }
    }
}

void give_back_permits_at_exit() { before_shmem_exit(give_back_all, Datum(0)); }

void show_waiting(Waiting what, Oid role) {
    static Oid shown[2] = {InvalidOid, InvalidOid};
    bool some = false;

    if (shown[static_cast<int>(what)] != role) {
        release_waiting(shown[static_cast<int>(what)]);
        shown[static_cast<int>(what)] = role;
    }
    /* An abort may have dropped them. */
    for (const Oid waiting : shown) {
        if (OidIsValid(waiting)) {
            hold_waiting(waiting);
            some = true;
        }
    }
    if (some) {
        hold_waiting(InvalidOid);
    } else {
        release_waiting(InvalidOid);
    }
}

bool should_make_room(Oid role, int role_limit) {
    const int limit = most_processes();

    if (!may_be_too_many && limit == last_limit && !somebody_waits()) {
        return false;
    }
    const PermitsTaken taken = permits_taken();
    const int own = permits_of(&taken, role);
    last_limit = limit;
    may_be_too_many = taken.count > limit || (role_limit > 0 && own > role_limit);
    bool wanted = may_be_too_many;
    for (int i = 0; i < taken.waiting_count; i++) {
        wanted = wanted || own > permits_of(&taken, taken.waiting[i]) + 1;
    }
    return wanted;
}

int shortage_message(Shortage shortage, Oid role, int64 import_id) {
    switch (shortage) {
    case Shortage::Role: {
        const char *name = GetUserNameFromId(role, true);
        return errmsg("too many processes of imports for role \"%s\" to start import " INT64_FORMAT,
                      name != nullptr ? name : "", import_id);
    }
    case Shortage::Server:
        return errmsg("too many processes of imports to start import " INT64_FORMAT, import_id);
    default:
        return errmsg("no background worker slot is free for import " INT64_FORMAT, import_id);
    }
}

const char *shortage_hint(Shortage shortage) {
    switch (shortage) {
    case Shortage::Role:
        return "You may need to increase movielens_ingest.max_processes_per_role for the role.";
    case Shortage::Server:
        return max_processes_setting() > 0
                   ? "You may need to increase movielens_ingest.max_processes."
                   : "You may need to increase max_worker_processes or movielens_ingest.max_processes.";
    default:
        return "You may need to increase max_worker_processes.";
    }
}

} // namespace movielens_ingest::pg
