#include "pg/shared_progress.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr long kSampleInterval = 2 * 1000; /* milliseconds: a rate is that of the last two to four seconds */

/* --- under the mutex --- */

ProgressSample sample_now(const SharedBatch *batch, int import, TimestampTz now) {
    const Progress *progress = &batch->imports[import].progress;
    ProgressSample sample = {now, progress->rows, progress->bytes};

    for (int slot = 0; slot < batch->slots; slot++) {
        auto *live = const_cast<SharedSlot *>(&batch->slot[slot]);
        if (live->import == import) {
            const uint64 counted = pg_atomic_read_u64(&live->rows);
            pg_read_barrier(); /* pairs with the one in report_live(): what is counted is of that chunk, or none is */
            const uint64 all = Max(pg_atomic_read_u64(&live->all_rows), 1);
            const uint64 rows = Min(counted, all);
            sample.rows += static_cast<int64>(rows);
            /* Bytes are read ahead of the rows that they become: those count. */
            sample.bytes += static_cast<int64>(static_cast<double>(pg_atomic_read_u64(&live->all_bytes)) *
                                               static_cast<double>(rows) / static_cast<double>(all));
        }
    }
    return sample;
}

void keep_sample(SharedImport *import, const ProgressSample *now) {
    if (import->begun.at != 0 && TimestampDifferenceExceeds(import->last.at, now->at, kSampleInterval)) {
        import->before = import->last;
        import->last = *now;
    }
}

/* --- */

double rate(int64 amount, TimestampTz from, TimestampTz to) {
    return to > from ? static_cast<double>(amount) * USECS_PER_SEC / static_cast<double>(to - from) : 0;
}

} // namespace

void set_shared_progress(SharedBatch *batch, int import, const Progress *progress) {
    SpinLockAcquire(&batch->mutex);
    batch->imports[import].progress = *progress;
    SpinLockRelease(&batch->mutex);
}

void settle_shared_pending(SharedBatch *batch, int import) {
    SharedImport *settled = &batch->imports[import];

    SpinLockAcquire(&batch->mutex);
    settled->progress.pending = 0;
    settled->loaded = settled->planned && settled->progress.chunks_done == settled->ready_chunks;
    SpinLockRelease(&batch->mutex);
    ConditionVariableBroadcast(&batch->changed);
}

void set_shared_phase(SharedBatch *batch, int import, Phase phase) {
    SpinLockAcquire(&batch->mutex);
    batch->imports[import].progress.phase = phase;
    SpinLockRelease(&batch->mutex);
}

BatchView open_batch_view(dsm_handle handle, Oid files, int64 batch_id, int leader_pid) {
    BatchView view = {nullptr, nullptr};
    dsm_segment *segment = dsm_find_mapping(handle);

    if (segment == nullptr) {
        segment = view.segment = dsm_attach(handle);
    }
    /* A handle is a number that may have come into other hands since. */
    if (segment != nullptr && dsm_segment_map_length(segment) >= sizeof(SharedBatch)) {
        auto *batch = static_cast<SharedBatch *>(dsm_segment_address(segment));
        if (is_shared_batch(batch) && batch->files == files && batch->id == batch_id &&
            batch->leader_pid == leader_pid && BackendPidGetProc(leader_pid) != nullptr) {
            view.batch = batch;
            return view;
        }
    }
    close_batch_view(&view);
    view.segment = nullptr;
    return view;
}

void close_batch_view(const BatchView *view) {
    if (view->segment != nullptr) {
        dsm_detach(view->segment);
    }
}

int shared_index(SharedBatch *batch, int64 id) {
    int index = -1;

    SpinLockAcquire(&batch->mutex);
    for (int i = 0; i < batch->import_count && index < 0; i++) {
        index = batch->imports[i].id == id ? i : -1;
    }
    SpinLockRelease(&batch->mutex);
    return index;
}

Progress read_progress(SharedBatch *batch, int index) {
    const TimestampTz time = GetCurrentTimestamp();
    SharedImport *import = &batch->imports[index];

    SpinLockAcquire(&batch->mutex);
    const ProgressSample now = sample_now(batch, index, time);
    keep_sample(import, &now);
    Progress progress = import->progress;
    const ProgressSample begun = import->begun;
    const ProgressSample before = import->before;
    progress.workers = count_loading(batch, index);
    SpinLockRelease(&batch->mutex);

    progress.rows = now.rows;
    progress.bytes = now.bytes;
    progress.seconds_left = -1;
    if (begun.at != 0) {
        const double bytes_per_second = rate(now.bytes - begun.bytes, begun.at, now.at);

        progress.rows_per_second = rate(now.rows - before.rows, before.at, now.at);
        progress.rows_per_second_all = rate(now.rows - begun.rows, begun.at, now.at);
        if (bytes_per_second > 0) {
            progress.seconds_left = static_cast<double>(progress.total_bytes - now.bytes) / bytes_per_second;
        }
    }
    return progress;
}

void sample_progress(SharedBatch *batch) {
    const TimestampTz time = GetCurrentTimestamp();

    SpinLockAcquire(&batch->mutex);
    for (int i = 0; i < batch->import_count; i++) {
        const ProgressSample now = sample_now(batch, i, time);
        keep_sample(&batch->imports[i], &now);
    }
    SpinLockRelease(&batch->mutex);
}

} // namespace movielens_ingest::pg
