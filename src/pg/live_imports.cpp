/*
 * live_imports.cpp - the internal SQL function _live_imports(), which the view ml_progress stands on: what the shared
 * memory of each import says that has not ended, as far as the caller may see it.
 */
#include "pg/boundary.hpp"
#include "pg/import_wait.hpp"
#include "pg/launch.hpp"
#include "pg/ledger.hpp"
#include "pg/pg.hpp"
#include "pg/script_version.hpp"
#include "pg/settings.hpp"
#include "pg/shared_batch.hpp"
#include "pg/shared_progress.hpp"

using namespace movielens_ingest::pg;

namespace {

const char *const kPhases[] = {"queued", "planning", "loading", "indexing", "analyzing", "ended"}; /* by Phase */

/* Of an import that nobody leads. */
struct Interruption {
    const char *reason; /* why it does not go on by itself, or null */
    bool resumable;
};

Interruption read_interruption(const Ledger *ledger, const VisibleImport *import) {
    const Origin origin = read_origin(ledger, import->batch_id);
    const char *off = autoresume_setting() ? nullptr : "movielens_ingest.autoresume is off";

    return {origin.why_held != nullptr ? origin.why_held : off, origin.where != Origin::Where::Elsewhere};
}

/* interruption: null where it is alive, or has ended. progress: null where no shared memory tells it. */
void put_import(ReturnSetInfo *set, int64 id, const Interruption *interruption, const Progress *progress) {
    Datum values[16];
    bool nulls[lengthof(values)];

    memset(nulls, progress == nullptr, sizeof(nulls));
    values[0] = Int64GetDatum(id);
    values[1] = BoolGetDatum(interruption == nullptr);
    nulls[0] = nulls[1] = false;
    nulls[14] = interruption == nullptr || interruption->reason == nullptr;
    if (!nulls[14]) {
        values[14] = CStringGetTextDatum(interruption->reason);
    }
    nulls[15] = interruption == nullptr;
    if (interruption != nullptr) {
        values[15] = BoolGetDatum(interruption->resumable);
    }
    if (progress != nullptr) {
        values[2] = CStringGetTextDatum(kPhases[static_cast<int>(progress->phase)]);
        values[3] = Int64GetDatum(progress->rows);
        values[4] = Int64GetDatum(progress->rejected);
        values[5] = Int64GetDatum(progress->bytes);
        values[6] = Float8GetDatum(progress->rows_per_second);
        values[7] = Float8GetDatum(progress->rows_per_second_all);
        values[8] = Float8GetDatum(progress->seconds_left);
        nulls[8] = progress->seconds_left < 0;
        values[9] = Int32GetDatum(progress->workers);
        values[10] = Int64GetDatum(progress->chunks_done);
        values[11] = Int64GetDatum(progress->chunks_failed);
        values[12] = Int64GetDatum(progress->chunks);
        values[13] = Int64GetDatum(progress->retries);
    }
    tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
}

} // namespace

MOVIELENS_INGEST_FUNCTION(_live_imports) {
    const Oid schema = schema_of_call(fcinfo);
    const Ledger ledger = open_ledger(schema);
    auto *set = reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo);
    int count;

    InitMaterializedSRF(fcinfo, 0);
    /* A standby has the ledger, but neither the shared memory nor the locks. */
    VisibleImport *imports = RecoveryInProgress() ? nullptr : read_open_imports(&ledger, &count);
    for (int i = 0; imports != nullptr && i < count; i++) {
        VisibleImport *import = &imports[i];
        const BatchView view = open_batch_view(import->segment, ledger.files, import->batch_id, import->leader);
        const int index = view.batch != nullptr ? shared_index(view.batch, import->id) : -1;

        if (index >= 0) {
            const Progress progress = read_progress(view.batch, index);
            put_import(set, import->id, nullptr, &progress);
        } else {
            /* One that this transaction starts has no leader yet. */
            const bool alive = made_by_this_transaction(import->id) || import_is_alive(&ledger, import);
            /* It may have ended since it was read. */
            const bool open = alive || (read_visible_import(&ledger, import->id, false, import) && is_open(import));
            Interruption interruption = {nullptr, false};
            if (!alive && open) {
                interruption = read_interruption(&ledger, import);
            }
            put_import(set, import->id, alive || !open ? nullptr : &interruption, nullptr);
        }
        close_batch_view(&view);
    }
    return Datum(0);
}
