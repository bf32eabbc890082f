#include "pg/batch_state.hpp"

#include "pg/deferred_indexes.hpp"
#include "pg/referenced_keys.hpp"
#include "pg/subtransaction.hpp"

namespace movielens_ingest::pg {

namespace {

/* By another import of the batch. */
bool target_is_loaded_on(const Batch *batch, int index) {
    for (int i = 0; i < batch->count; i++) {
        if (i != index && !batch->ended[i] && !batch->indexed[i] &&
            batch->members[i].target_oid == batch->members[index].target_oid) {
            return true;
        }
    }
    return false;
}

/* seen: so many cancels of the import do not end it. */
bool index_until_cancelled(Batch *batch, int index, int seen) {
    give_up_referenced_keys(); /* what comes now may wait for others, and take long */
    if (batch->indexed[index]) {
        return true;
    }
    (void)tend_workers(batch->pool); /* the permits of those that have ended are for the build */
    const ErrorData *error =
        build_indexes(&batch->loader, index, &batch->members[index], target_is_loaded_on(batch, index), seen);
    if (error != nullptr && is_cancel(error)) {
        take_cancel(batch);
        if (!import_is_cancelled(batch->loader.shared, index)) {
            return false;
        }
    }
    batch->indexed[index] = true;
    batch->unbuilt[index] = error != nullptr ? keep_error(error) : nullptr;
    return true;
}

} // namespace

bool index_target(Batch *batch, int index) { return index_until_cancelled(batch, index, 0); }

bool index_given_up(Batch *batch, int index) {
    const int seen = cancels_of(batch->loader.shared, index);
    QueryCancelPending = false;
    const CancelHold hold = allow_cancels();
    const bool indexed = index_until_cancelled(batch, index, seen);
    put_back(hold);
    return indexed;
}

const char *last_words(const char *message, const ErrorData *unbuilt) {
    return unbuilt == nullptr ? message : psprintf("%s; %s", message, unbuilt->message);
}

} // namespace movielens_ingest::pg
