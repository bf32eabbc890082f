#include "pg/batch_state.hpp"

#include "pg/chunk_attempt.hpp"
#include "pg/error_text.hpp"
#include "pg/import_lock.hpp"
#include "pg/patience.hpp"
#include "pg/pg.hpp"
#include "pg/shared_chunks.hpp"
#include "pg/shared_progress.hpp"
#include "pg/subtransaction.hpp"

namespace movielens_ingest::pg {

const ErrorData *keep_error(const ErrorData *error) {
    auto *copy = static_cast<ErrorData *>(MemoryContextAllocZero(TopMemoryContext, sizeof(ErrorData)));

    copy->sqlerrcode = error->sqlerrcode;
    copy->message = MemoryContextStrdup(TopMemoryContext, error->message);
    return copy;
}

void take_requests(Batch *batch) {
    int count;
    const CancelRequest *requests = cancel_requests_of_batch(&batch->loader.ledger, batch->loader.shared->id, &count);

    for (int i = 0; i < count; i++) {
        const int index = shared_index(batch->loader.shared, requests[i].id);
        if (index >= 0 && !batch->ended[index] && !import_is_cancelled(batch->loader.shared, index)) {
            cancel_import(batch->loader.shared, index);
        }
    }
}

void take_cancel(Batch *batch) {
    SharedBatch *shared = batch->loader.shared;
    bool some = false;

    for (int i = 0; i < batch->count; i++) {
        /* One that ended meanwhile counts once: a second cancel may then come by hand. */
        some = some || (import_is_cancelled(shared, i) && (!batch->ended[i] || !batch->cancel_seen[i]));
        batch->cancel_seen[i] = batch->cancel_seen[i] || import_is_cancelled(shared, i);
    }
    for (int i = 0; !some && i < batch->count; i++) {
        if (!batch->ended[i]) {
            cancel_import(shared, i);
        }
    }
}

void fail_import(Batch *batch, int index, const ErrorData *error) {
    if (batch->failures[index] == nullptr) {
        batch->failures[index] = keep_error(error);
    }
    stop_import(batch->loader.shared, index);
}

void fail_dependents(Batch *batch, int index, const char *status) {
    for (int i = 0; i < batch->count; i++) {
        if (!batch->ended[i] && (batch->references[i] & (1U << index)) != 0) {
            const BatchMember *referenced = &batch->members[index];
            ErrorData error;

            memset(&error, 0, sizeof(error));
            error.sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
            error.message = psprintf("file \"%s\" (import " INT64_FORMAT "), whose table %s is referenced, ended %s",
                                     show_name(referenced->file_name), referenced->id, referenced->target, status);
            fail_import(batch, i, &error);
        }
    }
}

void end_member(Batch *batch, int index, const char *status, const char *sqlstate, const char *error) {
    Loader *loader = &batch->loader;
    const int64 id = batch->members[index].id;
    bool completed = false;

    /* A cancel from here on comes too late; it must not leave the import without an end. */
    const CancelHold hold = hold_cancels();
    note_patiently(&loader->identity, "write the end of an import", [&]() {
        if (reopen_ledger(loader->ledger.files, &loader->ledger)) {
            const char *last = end_import(&loader->ledger, id, status, sqlstate, error);
            completed = is_complete(last);
        } else {
            ereport(LOG, (errmsg("extension \"movielens_ingest\" was dropped while import " INT64_FORMAT " was running",
                                 id)));
        }
    });

    batch->ended[index] = true;
    set_shared_phase(loader->shared, index, Phase::Ended);
    if (completed) {
        set_loaded(loader->shared, index);
    } else {
        stop_import(loader->shared, index);
    }
    release_lock(import_lock(loader->ledger.files, id));
    allow_others(loader->shared); /* should it have wanted to be alone */
    release_lock(suspect_lock());
    /* If nothing but an index is missing, its keys are there to be referenced. */
    if (!completed && !import_is_loaded(loader->shared, index)) {
        fail_dependents(batch, index, status != nullptr ? status : kFailed);
    }
    put_back(hold);
}

void end_given_up(Batch *batch) {
    SharedBatch *shared = batch->loader.shared;

    for (int i = 0; i < batch->count; i++) {
        const ErrorData *failure = batch->failures[i];
        const bool cancelled =
            import_is_cancelled(shared, i) && (!import_is_loaded(shared, i) || batch->unbuilt[i] != nullptr);

        if (batch->ended[i] || (failure == nullptr && !cancelled)) {
            continue;
        }
        if (!import_is_drained(shared, i)) {
            if (cancelled) {
                signal_import(shared, i); /* again: a signal may have come between two chunks */
            }
        } else if (!index_given_up(batch, i)) {
            continue;
        } else if (failure != nullptr) {
            ereport(LOG, (errcode(failure->sqlerrcode), errmsg("import " INT64_FORMAT " failed: %s",
                                                               batch->members[i].id, show_message(failure->message))));
            end_member(batch, i, kFailed, sqlstate_of(failure), last_words(failure->message, batch->unbuilt[i]));
        } else {
            ereport(LOG, (errmsg("import " INT64_FORMAT " was cancelled", batch->members[i].id)));
            end_member(batch, i, kCancelled, unpack_sql_state(ERRCODE_QUERY_CANCELED),
                       last_words(kCancelMessage, batch->unbuilt[i]));
        }
    }
}

bool extension_is_dropped(Batch *batch) {
    bool dropped = false;

    note_patiently(&batch->loader.identity, "look for the ledger", [&]() {
        Ledger ledger;
        dropped = !reopen_ledger(batch->loader.ledger.files, &ledger);
    });
    if (dropped) {
        forget_attempt();
        ereport(LOG, (errmsg("extension \"movielens_ingest\" was dropped while import " INT64_FORMAT " was running",
                             batch->loader.shared->id)));
    }
    return dropped;
}

} // namespace movielens_ingest::pg
