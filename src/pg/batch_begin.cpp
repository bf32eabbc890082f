/*
 * batch_begin.cpp - what a leader does before its batch is loaded: it reads the imports, makes the shared memory, and
 * takes the locks that tell others that it lives.
 */
#include "pg/batch_state.hpp"

#include "pg/abandoned_import.hpp"
#include "pg/batch_order.hpp"
#include "pg/error_text.hpp"
#include "pg/import_lock.hpp"
#include "pg/patience.hpp"
#include "pg/pg.hpp"
#include "pg/shared_progress.hpp"
#include "pg/subtransaction.hpp"

namespace movielens_ingest::pg {

namespace {

/* Processes that load, the leader counted. */
int slot_count(const Batch *batch) {
    /* One call has made them all, so they have the same options. */
    return process_count(batch->members[0].max_workers);
}

/* How far an import came before. */
void show_old_progress(Loader *loader, int index) {
    const Import *import = import_of(loader, index);
    Progress progress;

    memset(&progress, 0, sizeof(progress));
    if (import->rows >= 0) {
        begin_transaction(&loader->identity);
        progress = read_ledger_progress(&loader->ledger, import->id);
        commit_transaction();
    }
    progress.total_bytes = import->file.size - import->data_start;
    set_shared_progress(loader->shared, index, &progress);
}

/* Members have been brought into their order meanwhile. */
void read_statuses(Batch *batch, int64 batch_id) {
    int count;
    const BatchMember *members = read_batch(&batch->loader.ledger, batch_id, &count);

    for (int i = 0; i < batch->count; i++) {
        batch->ended[i] = true; /* should it have left the ledger */
        for (int j = 0; j < count; j++) {
            if (members[j].id == batch->members[i].id) {
                batch->members[i].status = MemoryContextStrdup(TopMemoryContext, members[j].status);
                batch->members[i].processing = members[j].processing;
                batch->members[i].completed = members[j].completed;
                batch->ended[i] = !members[j].processing;
            }
        }
    }
}

/* Zeroes; size: of one member's. */
void *for_each_member(const Batch *batch, Size size) { return palloc0(size * Max(batch->count, 1)); }

void read_members(Batch *batch, int64 batch_id) {
    const MemoryContext transaction_context = MemoryContextSwitchTo(TopMemoryContext);

    reopen_lost(&batch->loader.ledger, batch_id);
    batch->members = read_batch(&batch->loader.ledger, batch_id, &batch->count);
    batch->references = static_cast<uint32 *>(for_each_member(batch, sizeof(uint32)));
    batch->ended = static_cast<bool *>(for_each_member(batch, sizeof(bool)));
    batch->analyzed = static_cast<bool *>(for_each_member(batch, sizeof(bool)));
    batch->cancel_seen = static_cast<bool *>(for_each_member(batch, sizeof(bool)));
    batch->failures = static_cast<const ErrorData **>(for_each_member(batch, sizeof(void *)));
    batch->indexed = static_cast<bool *>(for_each_member(batch, sizeof(bool)));
    batch->unbuilt = static_cast<const ErrorData **>(for_each_member(batch, sizeof(void *)));
    batch->tries = static_cast<int *>(for_each_member(batch, sizeof(int)));
    batch->later = static_cast<TimestampTz *>(for_each_member(batch, sizeof(TimestampTz)));
    order_batch(&batch->loader.ledger, batch->members, batch->count, batch->references);
    MemoryContextSwitchTo(transaction_context);
}

/* In one transaction, so that who has one of the rows locked and finds no segment there can cancel the import. */
void take_over(Batch *batch, int64 batch_id, dsm_handle segment) {
    const Ledger *ledger = &batch->loader.ledger;

    lock_batch(ledger, batch_id);
    (void)change_status(ledger, batch_id, kQueued, kProcessing);
    mark_led(ledger, batch_id, segment);
    read_statuses(batch, batch_id);
    take_requests(batch);
    hold_loading_locks(batch);
}

void show_members(Batch *batch) {
    Loader *loader = &batch->loader;

    for (int i = 0; i < batch->count; i++) {
        if (batch->members[i].completed) {
            set_loaded(loader->shared, i);
        }
        if (batch->ended[i]) {
            set_shared_phase(loader->shared, i, Phase::Ended);
        } else {
            show_old_progress(loader, i);
        }
    }
}

/* Members in their order, and the shared memory with what is known of them. */
void prepare(Batch *batch, int64 batch_id) {
    Loader *loader = &batch->loader;
    dsm_handle segment;

    note_patiently(&loader->identity, "read an import", [=]() { read_members(batch, batch_id); });
    patiently("make the shared memory of an import", [&]() {
        loader->shared = create_shared_batch(slot_count(batch), loader->ledger.files, batch_id, &segment);
    });
    for (int i = 0; i < batch->count; i++) {
        add_shared_import(loader->shared, batch->members[i].id, batch->references[i]);
    }
    loader->leave = int64{kPlanAhead} * loader->shared->slots;
    batch->pool = make_worker_pool(loader, segment);
    hold_import_locks(batch);
    note_patiently(&loader->identity, "begin an import", [=]() { take_over(batch, batch_id, segment); });
    patiently("read how far imports are", [=]() { show_members(batch); });
    batch->refreshed = GetCurrentTimestamp();
}

ErrorData *try_prepare(Batch *batch, int64 batch_id) {
    const MemoryContext context = CurrentMemoryContext;
    const CancelHold hold = current_hold();
    ErrorData *volatile error = nullptr;

    PG_TRY();
    { prepare(batch, batch_id); }
    PG_CATCH();
    { error = abort_transaction(context, hold); }
    PG_END_TRY();
    return error;
}

/* The batch could not even begin: a setting of its session may not exist any more. */
void end_unbegun(Batch *batch, int64 batch_id, const ErrorData *error) {
    Loader *loader = &batch->loader;

    ereport(LOG, (errcode(error->sqlerrcode),
                  errmsg("import " INT64_FORMAT " could not begin: %s", batch_id, show_message(error->message))));
    fail_abandoned_batch(&loader->identity, loader->ledger.files, batch_id, error->sqlerrcode, error->message);
}

} // namespace

void hold_import_locks(Batch *batch) {
    const Oid files = batch->loader.ledger.files;

    hold_lock(leader_lock(files, batch->loader.shared->id));
    hold_lock_beside(mover_lock(files), true);
    for (int i = 0; i < batch->count; i++) {
        if (!batch->ended[i]) {
            hold_lock(import_lock(files, batch->members[i].id));
        }
    }
}

void hold_loading_locks(Batch *batch) {
    for (int i = 0; i < batch->count; i++) {
        if (!batch->ended[i] && !batch->indexed[i]) {
            hold_lock_beside(loading_lock(batch->members[i].target_oid), true);
        }
    }
}

bool begin_batch(Batch *batch, int64 batch_id) {
    const ErrorData *error = try_prepare(batch, batch_id);

    if (error != nullptr) {
        end_unbegun(batch, batch_id, error);
    }
    return error == nullptr;
}

} // namespace movielens_ingest::pg
