#include "pg/shared_import.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr uint32 kMagic = 0x6d6c6931; /* "mli1" */

/*
 * A process that ends while it sleeps on the condition variable is still in its list. ProcKill would take it out, but
 * only after the segment has been unmapped (shmem_exit), and that would be a crash.
 */
void leave_condition_variable(int, Datum) { ConditionVariableCancelSleep(); }

} // namespace

SharedImport *create_shared_import(int slots, Oid files, int64 import_id, dsm_handle *handle) {
    const Size size = offsetof(SharedImport, chunk) + sizeof(int64) * static_cast<Size>(slots);

    /* Outside of a transaction there is no resource owner: the mapping lasts as long as the process. */
    Assert(CurrentResourceOwner == nullptr);
    dsm_segment *segment = dsm_create(size, 0);
    auto *shared = static_cast<SharedImport *>(dsm_segment_address(segment));
    memset(shared, 0, size);
    shared->import_id = import_id;
    shared->files = files;
    ConditionVariableInit(&shared->changed);
    SpinLockInit(&shared->mutex);
    shared->next_chunk = 1;
    shared->slots = slots;
    shared->magic = kMagic;
    *handle = dsm_segment_handle(segment);
    before_shmem_exit(leave_condition_variable, Datum(0));
    return shared;
}

SharedImport *attach_shared_import(dsm_handle handle) {
    Assert(CurrentResourceOwner == nullptr);
    dsm_segment *segment = dsm_attach(handle);

    if (segment == nullptr) {
        return nullptr;
    }
    auto *shared = static_cast<SharedImport *>(dsm_segment_address(segment));
    if (shared->magic != kMagic) {
        elog(ERROR, "shared memory of an import has bad magic");
    }
    before_shmem_exit(leave_condition_variable, Datum(0));
    return shared;
}

void offer_chunks(SharedImport *shared, int64 ready_chunks, bool planned) {
    SpinLockAcquire(&shared->mutex);
    shared->ready_chunks = ready_chunks;
    shared->planned = planned;
    SpinLockRelease(&shared->mutex);
    ConditionVariableBroadcast(&shared->changed);
}

void stop_chunks(SharedImport *shared) {
    SpinLockAcquire(&shared->mutex);
    shared->stopped = true;
    SpinLockRelease(&shared->mutex);
    ConditionVariableBroadcast(&shared->changed);
}

bool chunks_are_stopped(SharedImport *shared) {
    SpinLockAcquire(&shared->mutex);
    const bool stopped = shared->stopped;
    SpinLockRelease(&shared->mutex);
    return stopped;
}

bool sleep_unless_stopped(SharedImport *shared, long milliseconds) {
    const TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), milliseconds);
    bool stopped;

    ConditionVariablePrepareToSleep(&shared->changed);
    while (!(stopped = chunks_are_stopped(shared))) {
        const long rest = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
        if (rest <= 0) {
            break;
        }
        (void)ConditionVariableTimedSleep(&shared->changed, rest, PG_WAIT_EXTENSION);
    }
    ConditionVariableCancelSleep();
    return stopped;
}

int64 take_chunk(SharedImport *shared, int slot) {
    int64 taken = 0;
    bool wait = true;

    ConditionVariablePrepareToSleep(&shared->changed);
    while (wait) {
        SpinLockAcquire(&shared->mutex);
        if (!shared->stopped && shared->next_chunk <= shared->ready_chunks) {
            taken = shared->next_chunk++;
            shared->chunk[slot] = taken;
            wait = false;
        } else if (shared->stopped || shared->planned) {
            wait = false;
        }
        SpinLockRelease(&shared->mutex);
        if (wait) {
            ConditionVariableSleep(&shared->changed, PG_WAIT_EXTENSION);
        }
    }
    ConditionVariableCancelSleep();
    return taken;
}

void finish_chunk(SharedImport *shared, int slot) {
    SpinLockAcquire(&shared->mutex);
    shared->chunk[slot] = 0;
    SpinLockRelease(&shared->mutex);
}

int64 abandoned_chunk(SharedImport *shared, int slot) {
    SpinLockAcquire(&shared->mutex);
    const int64 chunk = shared->chunk[slot];
    shared->chunk[slot] = 0;
    SpinLockRelease(&shared->mutex);
    return chunk;
}

bool chunks_are_waiting(SharedImport *shared) {
    SpinLockAcquire(&shared->mutex);
    const bool waiting = !shared->stopped && (!shared->planned || shared->next_chunk <= shared->ready_chunks);
    SpinLockRelease(&shared->mutex);
    return waiting;
}

} // namespace movielens_ingest::pg
