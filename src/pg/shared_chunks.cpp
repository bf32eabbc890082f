#include "pg/shared_chunks.hpp"

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

namespace {

/* These are called under the mutex. */

bool may_begin(const SharedBatch *batch, const SharedImport *import) {
    for (int i = 0; i < batch->import_count; i++) {
        if ((import->prerequisites & (1U << i)) != 0 && !batch->imports[i].loaded) {
            return false;
        }
    }
    return true;
}

bool has_chunk(const SharedBatch *batch, const SharedImport *import) {
    return !batch->stopped && !import->stopped && import->next_chunk <= import->ready_chunks &&
           may_begin(batch, import);
}

/* A chunk may be handed out now or later. */
bool may_have_chunk(const SharedBatch *batch, const SharedImport *import) {
    return !batch->stopped && !import->stopped && (!import->planned || import->next_chunk <= import->ready_chunks);
}

int count_running(const SharedBatch *batch) {
    int running = 0;

    for (int i = 0; i < batch->import_count; i++) {
        running += batch->imports[i].running;
    }
    return running;
}

void clear_slot(SharedSlot *slot) {
    slot->import = -1;
    slot->chunk = 0;
    slot->refused = 0;
    pg_atomic_write_u64(&slot->rows, 0);
}

/* By chunks that are to be handed out only. */
int64 chunks_left(const SharedImport *import) { return import->ready_chunks - import->next_chunk + 1; }

/* Only a tenth at most of its chunks is left to be handed out. */
bool is_nearly_loaded(const SharedImport *import) { return chunks_left(import) <= import->ready_chunks / 10; }

/* Another import has nothing to load any more, and it is for the leader to end it. */
bool other_wants_end(const SharedBatch *batch, const SharedImport *own) {
    for (int i = 0; i < batch->import_count; i++) {
        const SharedImport *import = &batch->imports[i];

        if (import != own && import->running == 0 && !may_have_chunk(batch, import) && may_begin(batch, import) &&
            import->progress.phase != Phase::Ended) {
            return true;
        }
    }
    return false;
}

void fill_slot(SharedBatch *batch, int slot, int index, int64 number, TimestampTz time) {
    SharedImport *import = &batch->imports[index];

    if (import->begun.at == 0) {
        import->begun = import->before = import->last = {time, import->progress.rows, import->progress.bytes};
    }
    import->running++;
    import->progress.phase = Phase::Loading;
    clear_slot(&batch->slot[slot]);
    batch->slot[slot].pid = MyProcPid;
    batch->slot[slot].import = index;
    batch->slot[slot].chunk = number;
}

/* Fills the slot with what it has taken beforehand. */
bool fill_slot_with_own(SharedBatch *batch, int slot, TimestampTz time) {
    SharedSlot *own = &batch->slot[slot];

    if (own->next_chunk == 0) {
        return false;
    }
    batch->imports[own->next_import].running--; /* it counts already */
    fill_slot(batch, slot, own->next_import, own->next_chunk, time);
    own->next_chunk = 0;
    return true;
}

} // namespace

bool import_may_begin(SharedBatch *batch, int import) {
    SpinLockAcquire(&batch->mutex);
    const bool may = may_begin(batch, &batch->imports[import]);
    SpinLockRelease(&batch->mutex);
    return may;
}

bool take_chunk(SharedBatch *batch, int slot, bool wait, int *index, int64 *number) {
    bool taken = false;
    bool later = true;

    if (wait) {
        ConditionVariablePrepareToSleep(&batch->changed);
    }
    for (;;) {
        const TimestampTz time = GetCurrentTimestamp();

        SpinLockAcquire(&batch->mutex);
        later = false;
        if (fill_slot_with_own(batch, slot, time)) {
            taken = true;
            *index = batch->slot[slot].import;
            *number = batch->slot[slot].chunk;
        }
        for (int i = 0; i < batch->import_count && !taken && !batch->slot[slot].leaves; i++) {
            SharedImport *import = &batch->imports[i];

            if (has_chunk(batch, import) && (!batch->exclusive || slot == 0)) {
                taken = true;
                *index = i;
                *number = import->next_chunk++;
                fill_slot(batch, slot, i, *number, time);
            }
            later = later || may_have_chunk(batch, import);
        }
        SpinLockRelease(&batch->mutex);
        if (taken || !wait || !later) {
            break;
        }
        ConditionVariableSleep(&batch->changed, PG_WAIT_EXTENSION);
    }
    if (wait) {
        ConditionVariableCancelSleep();
    }
    return taken;
}

bool take_own_chunk(SharedBatch *batch, int slot, int *index, int64 *number) {
    const TimestampTz time = GetCurrentTimestamp();

    SpinLockAcquire(&batch->mutex);
    const bool taken = fill_slot_with_own(batch, slot, time);
    *index = batch->slot[slot].import;
    *number = batch->slot[slot].chunk;
    SpinLockRelease(&batch->mutex);
    return taken;
}

int64 take_next_chunk(SharedBatch *batch, int slot, int64 left) {
    SharedSlot *own = &batch->slot[slot];

    SpinLockAcquire(&batch->mutex);
    SharedImport *import = &batch->imports[own->import];
    /* A leader has other things to do first: near the end see analyze_early(). */
    if (own->next_chunk == 0 && !own->leaves && has_chunk(batch, import) && !batch->exclusive &&
        chunks_left(import) > left && !is_nearly_loaded(import) && (slot > 0 || !other_wants_end(batch, import))) {
        own->next_import = own->import;
        own->next_chunk = import->next_chunk++;
        import->running++;
    }
    const int64 number = own->next_chunk;
    SpinLockRelease(&batch->mutex);
    return number;
}

void ask_to_leave(SharedBatch *batch, int slot) {
    SpinLockAcquire(&batch->mutex);
    batch->slot[slot].leaves = true;
    SpinLockRelease(&batch->mutex);
    ConditionVariableBroadcast(&batch->changed);
}

bool take_back_request_to_leave(SharedBatch *batch, int slot) {
    SpinLockAcquire(&batch->mutex);
    const bool asked = batch->slot[slot].leaves;
    batch->slot[slot].leaves = false;
    SpinLockRelease(&batch->mutex);
    return asked;
}

void take_left_chunk(SharedBatch *batch, int import, int64 number) {
    const TimestampTz time = GetCurrentTimestamp();

    SpinLockAcquire(&batch->mutex);
    fill_slot(batch, 0, import, number, time);
    SpinLockRelease(&batch->mutex);
}

void forget_refused(SharedBatch *batch, int slot) {
    SpinLockAcquire(&batch->mutex);
    batch->slot[slot].refused = 0;
    SpinLockRelease(&batch->mutex);
}

int64 count_refused(SharedBatch *batch, int slot) {
    SpinLockAcquire(&batch->mutex);
    const int import = batch->slot[slot].import;
    int64 refused = batch->imports[import].progress.rejected;
    batch->slot[slot].refused++;
    for (int i = 0; i < batch->slots; i++) {
        refused += batch->slot[i].import == import ? batch->slot[i].refused : 0;
    }
    SpinLockRelease(&batch->mutex);
    return refused;
}

void finish_chunk(SharedBatch *batch, int slot, const ChunkEnd *end) {
    bool wake = false;

    SpinLockAcquire(&batch->mutex);
    if (batch->slot[slot].import >= 0) {
        SharedImport *import = &batch->imports[batch->slot[slot].import];
        Progress *progress = &import->progress;

        clear_slot(&batch->slot[slot]);
        import->running--;
        progress->retries += end->retries;
        if (end->how == ChunkEnd::How::Completed) {
            progress->rows += end->rows;
            progress->rejected += end->rejected;
            progress->pending += end->pending;
            progress->bytes += end->bytes;
            progress->chunks_done++;
        } else if (end->how == ChunkEnd::How::Failed) {
            progress->chunks_failed++;
        }
        /* Need not wait for the leader, who may have a long chunk of another import in hand. */
        import->loaded = import->planned && progress->chunks_done == import->ready_chunks && progress->pending == 0;
        wake = batch->exclusive || (import->running == 0 && (!may_have_chunk(batch, import) || import->loaded));
    }
    SpinLockRelease(&batch->mutex);
    if (wake) {
        ConditionVariableBroadcast(&batch->changed);
        wake_leader(batch);
    }
}

bool abandoned_chunk(SharedBatch *batch, int slot, int *import, int64 *number) {
    SharedSlot *abandoned = &batch->slot[slot];

    SpinLockAcquire(&batch->mutex);
    const bool at_chunk = abandoned->import >= 0;
    *import = at_chunk ? abandoned->import : -1;
    *number = abandoned->chunk;
    const bool has_next = abandoned->next_chunk != 0;
    if (has_next) {
        batch->imports[abandoned->next_import].running--;
        abandoned->next_chunk = 0;
    }
    if (at_chunk) {
        batch->imports[*import].running--;
    }
    clear_slot(abandoned);
    SpinLockRelease(&batch->mutex);
    return at_chunk || has_next;
}

int64 chunks_available(SharedBatch *batch) {
    int64 available = 0;

    SpinLockAcquire(&batch->mutex);
    for (int i = 0; i < batch->import_count; i++) {
        if (has_chunk(batch, &batch->imports[i])) {
            available += chunks_left(&batch->imports[i]);
        }
    }
    SpinLockRelease(&batch->mutex);
    return available;
}

int nearly_loaded_import(SharedBatch *batch) {
    constexpr int64 kMany = 100;
    int found = -1;

    SpinLockAcquire(&batch->mutex);
    for (int i = 0; i < batch->import_count && found < 0; i++) {
        const SharedImport *import = &batch->imports[i];
        if (import->planned && import->running > 0 && import->ready_chunks >= kMany && is_nearly_loaded(import) &&
            has_chunk(batch, import)) {
            found = i;
        }
    }
    SpinLockRelease(&batch->mutex);
    return found;
}

int processes_loading(SharedBatch *batch) {
    int loading = 0;

    SpinLockAcquire(&batch->mutex);
    for (int i = 0; i < batch->import_count; i++) {
        loading += count_loading(batch, i);
    }
    SpinLockRelease(&batch->mutex);
    return loading;
}

bool chunks_are_waiting(SharedBatch *batch) {
    bool waiting = false;

    SpinLockAcquire(&batch->mutex);
    for (int i = 0; i < batch->import_count && !waiting; i++) {
        waiting = may_have_chunk(batch, &batch->imports[i]);
    }
    SpinLockRelease(&batch->mutex);
    return waiting;
}

bool import_is_drained(SharedBatch *batch, int import) {
    SpinLockAcquire(&batch->mutex);
    const bool drained = batch->imports[import].running == 0 && !may_have_chunk(batch, &batch->imports[import]);
    SpinLockRelease(&batch->mutex);
    return drained;
}

bool exclude_others(SharedBatch *batch) {
    SpinLockAcquire(&batch->mutex);
    batch->exclusive = true;
    const bool alone = count_running(batch) == 0;
    SpinLockRelease(&batch->mutex);
    return alone;
}

void allow_others(SharedBatch *batch) {
    SpinLockAcquire(&batch->mutex);
    batch->exclusive = false;
    SpinLockRelease(&batch->mutex);
    ConditionVariableBroadcast(&batch->changed);
}

} // namespace movielens_ingest::pg
