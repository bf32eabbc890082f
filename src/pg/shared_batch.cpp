#include "pg/shared_batch.hpp"

#include "pg/library_build.hpp"

namespace movielens_ingest::pg {

namespace {

SharedBatch *own = nullptr;

/*
 * A process that ends while it sleeps on the condition variable is still in its list. ProcKill would take it out, but
 * only after the segment has been unmapped (shmem_exit), and that would be a crash.
 */
void leave_condition_variable(int, Datum) { ConditionVariableCancelSleep(); }

} // namespace

SharedBatch *create_shared_batch(int slots, Oid files, int64 batch_id, dsm_handle *handle) {
    const Size size = offsetof(SharedBatch, slot) + sizeof(SharedSlot) * static_cast<Size>(slots);

    /* Outside of a transaction there is no resource owner: the mapping lasts as long as the process. */
    Assert(CurrentResourceOwner == nullptr);
    dsm_segment *segment = dsm_create(size, 0);
    auto *batch = static_cast<SharedBatch *>(dsm_segment_address(segment));
    memset(static_cast<void *>(batch), 0, size);
    batch->id = batch_id;
    batch->files = files;
    batch->leader_pid = MyProcPid;
    batch->leader_pgprocno = number_of(MyProc);
    ConditionVariableInit(&batch->changed);
    SpinLockInit(&batch->mutex);
    batch->slots = slots;
    for (int slot = 0; slot < slots; slot++) {
        pg_atomic_init_u64(&batch->slot[slot].rows, 0);
        pg_atomic_init_u64(&batch->slot[slot].all_rows, 0);
        pg_atomic_init_u64(&batch->slot[slot].all_bytes, 0);
        batch->slot[slot].import = -1;
    }
    batch->slot[0].pid = MyProcPid;
    pg_write_barrier(); /* pairs with the one in is_shared_batch() */
    batch->magic = magic_of_build(kSharedBatchMagic);
    *handle = dsm_segment_handle(segment);
    before_shmem_exit(leave_condition_variable, Datum(0));
    own = batch;
    return batch;
}

void add_shared_import(SharedBatch *batch, int64 id, uint32 prerequisites) {
    if (batch->import_count == kMostImports) {
        ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
                        errmsg("a data set cannot have more than %d files", kMostImports)));
    }
    SpinLockAcquire(&batch->mutex);
    SharedImport *import = &batch->imports[batch->import_count++];
    import->id = id;
    import->next_chunk = 1;
    import->prerequisites = prerequisites;
    SpinLockRelease(&batch->mutex);
}

bool is_shared_batch(const SharedBatch *batch) {
    if (batch->magic != magic_of_build(kSharedBatchMagic)) {
        return false;
    }
    pg_read_barrier(); /* pairs with the one in create_shared_batch(): what is read next is what was written before */
    return true;
}

SharedBatch *attach_shared_batch(dsm_handle handle) {
    Assert(CurrentResourceOwner == nullptr);
    dsm_segment *segment = dsm_attach(handle);

    if (segment == nullptr) {
        return nullptr;
    }
    auto *batch = static_cast<SharedBatch *>(dsm_segment_address(segment));
    if (!is_shared_batch(batch)) {
        elog(ERROR, "shared memory of an import has bad magic");
    }
    before_shmem_exit(leave_condition_variable, Datum(0));
    own = batch;
    return batch;
}

bool is_own_batch(Oid files, int64 batch_id) { return own != nullptr && own->files == files && own->id == batch_id; }

bool is_leader(Oid files) { return own != nullptr && own->files == files && own->leader_pid == MyProcPid; }

void offer_chunks(SharedBatch *batch, int index, int64 first_chunk, int64 ready_chunks, bool planned) {
    SharedImport *import = &batch->imports[index];

    SpinLockAcquire(&batch->mutex);
    import->next_chunk = Max(import->next_chunk, first_chunk);
    import->ready_chunks = ready_chunks;
    import->progress.chunks = ready_chunks;
    import->planned = planned;
    if (planned && import->progress.phase == Phase::Planning) {
        import->progress.phase = Phase::Queued; /* until somebody takes a chunk */
    }
    SpinLockRelease(&batch->mutex);
    ConditionVariableBroadcast(&batch->changed);
}

void stop_import(SharedBatch *batch, int import) {
    SpinLockAcquire(&batch->mutex);
    batch->imports[import].stopped = true;
    SpinLockRelease(&batch->mutex);
    ConditionVariableBroadcast(&batch->changed);
    wake_leader(batch);
}

void stop_batch(SharedBatch *batch) {
    SpinLockAcquire(&batch->mutex);
    batch->stopped = true;
    SpinLockRelease(&batch->mutex);
    ConditionVariableBroadcast(&batch->changed);
}

bool import_is_stopped(SharedBatch *batch, int import) {
    SpinLockAcquire(&batch->mutex);
    const bool stopped = batch->stopped || batch->imports[import].stopped;
    SpinLockRelease(&batch->mutex);
    return stopped;
}

void cancel_import(SharedBatch *batch, int index) {
    SpinLockAcquire(&batch->mutex);
    batch->imports[index].stopped = true;
    batch->imports[index].cancels++;
    const Phase phase = batch->imports[index].progress.phase;
    SpinLockRelease(&batch->mutex);
    ConditionVariableBroadcast(&batch->changed);
    wake_leader(batch);
    signal_import(batch, index);
    if ((phase == Phase::Indexing || phase == Phase::Analyzing) && batch->leader_pid != MyProcPid &&
        BackendPidGetProc(batch->leader_pid) != nullptr) {
        (void)kill(batch->leader_pid, SIGINT);
    }
}

void signal_import(SharedBatch *batch, int index) {
    for (int slot = 0; slot < batch->slots; slot++) {
        SpinLockAcquire(&batch->mutex);
        const int pid = batch->slot[slot].import == index ? batch->slot[slot].pid : 0;
        SpinLockRelease(&batch->mutex);
        if (pid > 0 && BackendPidGetProc(pid) != nullptr) {
            (void)kill(pid, SIGINT);
        }
    }
}

void interrupt_leader(SharedBatch *batch, int import) {
    SpinLockAcquire(&batch->mutex);
    /* Once it has ended the import, a cancel would be taken for one by hand, of all imports. */
    const bool elsewhere = batch->slot[0].import >= 0 && batch->slot[0].import != import &&
                           batch->imports[import].progress.phase != Phase::Ended;
    SpinLockRelease(&batch->mutex);
    if (elsewhere && BackendPidGetProc(batch->leader_pid) != nullptr) {
        (void)kill(batch->leader_pid, SIGINT);
    }
}

int cancels_of(SharedBatch *batch, int import) {
    SpinLockAcquire(&batch->mutex);
    const int cancels = batch->imports[import].cancels;
    SpinLockRelease(&batch->mutex);
    return cancels;
}

bool some_import_is_cancelled(SharedBatch *batch) {
    bool some = false;

    SpinLockAcquire(&batch->mutex);
    for (int i = 0; i < batch->import_count; i++) {
        some = some || batch->imports[i].cancels > 0;
    }
    SpinLockRelease(&batch->mutex);
    return some;
}

void set_loaded(SharedBatch *batch, int import) {
    SpinLockAcquire(&batch->mutex);
    batch->imports[import].loaded = true;
    SpinLockRelease(&batch->mutex);
    ConditionVariableBroadcast(&batch->changed);
}

bool import_is_loaded(SharedBatch *batch, int import) {
    SpinLockAcquire(&batch->mutex);
    const bool loaded = batch->imports[import].loaded;
    SpinLockRelease(&batch->mutex);
    return loaded;
}

bool import_is_planned(SharedBatch *batch, int import) {
    SpinLockAcquire(&batch->mutex);
    const bool planned = batch->imports[import].planned;
    SpinLockRelease(&batch->mutex);
    return planned;
}

uint32 imports_behind(SharedBatch *batch, int import) {
    uint32 behind = 1U << import;
    uint32 before = 0;

    SpinLockAcquire(&batch->mutex);
    while (behind != before) {
        before = behind;
        for (int i = 0; i < batch->import_count; i++) {
            if (!batch->imports[i].stopped && (batch->imports[i].prerequisites & behind) != 0) {
                behind |= 1U << i;
            }
        }
    }
    SpinLockRelease(&batch->mutex);
    return behind;
}

bool sleep_unless_stopped(SharedBatch *batch, int import, long milliseconds) {
    const TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), milliseconds);
    bool stopped;

    ConditionVariablePrepareToSleep(&batch->changed);
    while (!(stopped = import_is_stopped(batch, import))) {
        const long rest = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
        if (rest <= 0) {
            break;
        }
        (void)ConditionVariableTimedSleep(&batch->changed, rest, PG_WAIT_EXTENSION);
    }
    ConditionVariableCancelSleep();
    return stopped;
}

} // namespace movielens_ingest::pg
