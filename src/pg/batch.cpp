#include "pg/batch.hpp"

#include "pg/background_process.hpp"
#include "pg/batch_state.hpp"
#include "pg/cancel_watch.hpp"
#include "pg/chunk_attempt.hpp"
#include "pg/chunk_loader.hpp"
#include "pg/error_text.hpp"
#include "pg/import_lock.hpp"
#include "pg/import_steps.hpp"
#include "pg/patience.hpp"
#include "pg/pending_records.hpp"
#include "pg/pg.hpp"
#include "pg/progress.hpp"
#include "pg/queue.hpp"
#include "pg/referenced_keys.hpp"
#include "pg/risky_step.hpp"
#include "pg/shared_chunks.hpp"
#include "pg/shared_progress.hpp"
#include "pg/subtransaction.hpp"
#include "pg/worker_pool.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr long kRefreshInterval = 1000; /* milliseconds between two updates of the counts in uploaded_files */

/* Those that failed get their last counts with their status; and the ledger may be what failed. */
void refresh(Batch *batch) {
    begin_transaction(&batch->loader.identity);
    for (int i = 0; i < batch->count; i++) {
        if (!batch->ended[i] && batch->failures[i] == nullptr) {
            refresh_totals(&batch->loader.ledger, batch->members[i].id);
        }
    }
    commit_transaction();
}

void obey_requests(Batch *batch) {
    begin_transaction(&batch->loader.identity);
    take_requests(batch);
    commit_transaction();
}

/* Once a second. No import fails because of something that may pass: it is done again. */
void attend(Batch *batch) {
    const MemoryContext context = CurrentMemoryContext;
    const CancelHold hold = current_hold();

    give_up_referenced_keys(); /* others may have the rows of the ledger, or the queue, and write to those tables */
    PG_TRY();
    {
        refresh(batch);
        obey_requests(batch);
        move_queue(batch->loader.ledger.files, &batch->loader.identity);
    }
    PG_CATCH();
    {
        ErrorData *error = abort_transaction(context, hold);
        if (!may_pass(error)) {
            ReThrowError(error);
        }
        log_trouble("write how far imports are", error);
    }
    PG_END_TRY();
    /* From its end on: where all this takes longer than the interval, chunks are to be loaded between. */
    batch->refreshed = GetCurrentTimestamp();
}

/* What a leader does besides loading: between its chunks, in its pauses, while it plans. */
void look_around(Loader *loader) {
    auto *batch = reinterpret_cast<Batch *>(loader);

    (void)tend_workers(batch->pool);
    if (TimestampDifferenceExceeds(batch->refreshed, GetCurrentTimestamp(), kRefreshInterval)) {
        attend(batch);
        sample_progress(loader->shared);
        make_room(batch->pool);
        start_workers(batch->pool); /* there may be room now */
    }
    if (ConfigReloadPending) {
        ConfigReloadPending = false;
        ProcessConfigFile(PGC_SIGHUP);
    }
}

void hold_locks(Batch *batch) {
    hold_import_locks(batch);
    hold_loading_locks(batch);
}

/*
 * What may pass ends no import: what the leader was about to note is in memory still, and it is done again. Planning
 * reads the file and writes much: it is tried as often as a chunk.
 */
bool is_tried_again(Batch *batch, const ErrorData *error) {
    const int current = batch->current;

    if (!may_pass(error)) {
        return false;
    }
    if (batch->planning && current >= 0) {
        const int tries = ++batch->tries[current];

        ereport(LOG,
                (errcode(error->sqlerrcode), errmsg("planning import " INT64_FORMAT " failed in attempt %d: %s",
                                                    batch->members[current].id, tries, show_message(error->message))));
        batch->later[current] = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), retry_pause(tries));
        return tries <= import_of(&batch->loader, current)->options.max_retries;
    }
    log_trouble("go on with imports", error);
    return true;
}

/* What is only in memory comes first, for the ledger may be what fails: then the rest is done again. */
void take_error(Batch *batch, const ErrorData *error) {
    const int current = batch->current;
    int chunk_import;
    int64 chunk;

    if (is_cancel(error)) {
        take_cancel(batch);
    } else if (!is_tried_again(batch, error)) {
        for (int i = 0; i < batch->count; i++) {
            if (!batch->ended[i] && (current < 0 || current == i)) {
                fail_import(batch, i, error);
            }
        }
    }
    batch->planning = false;
    (void)abandoned_chunk(batch->loader.shared, 0, &chunk_import, &chunk);
    allow_others(batch->loader.shared);
    release_lock(suspect_lock());
    withdraw_attempt();
    end_risky_step();
}

/* The next import that is to be planned now, -1: none. */
int next_unplanned(const Batch *batch) {
    SharedBatch *shared = batch->loader.shared;

    for (int i = 0; i < batch->count; i++) {
        if (!batch->ended[i] && !import_is_planned(shared, i) && !import_is_stopped(shared, i) &&
            (batch->later[i] == 0 || batch->later[i] <= GetCurrentTimestamp())) {
            return i;
        }
    }
    return -1;
}

/* The workers are busy with the rest. */
void wait_for_workers(Batch *batch) {
    Loader *loader = &batch->loader;

    give_up_referenced_keys();
    report_activity("movielens_ingest: waiting for the workers of import " INT64_FORMAT, loader->shared->id);
    /*
     * The postmaster sets the latch when a worker ends, a worker when an import has no chunk left. The time is that of
     * the next update of the counts.
     */
    const int events =
        WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, kRefreshInterval, PG_WAIT_EXTENSION);
    ResetLatch(MyLatch);
    CHECK_FOR_INTERRUPTS();
    if ((events & WL_TIMEOUT) != 0) {
        /* A lock that a trigger took for the session here may be what a worker waits for, unseen by the detector. */
        LockReleaseAll(USER_LOCKMETHOD, true);
        hold_locks(batch);
    }
}

enum class Next { Again, Done };

/*
 * Statistics of nine tenths of the rows are as good as those of all: autovacuum waits for a tenth more
 * (autovacuum_analyze_scale_factor). So they are gathered beside the workers, which have the rest to load, and not when
 * nobody has anything else to do.
 */
bool analyze_early(Batch *batch) {
    const int import = nearly_loaded_import(batch->loader.shared);

    if (import < 0 || batch->analyzed[import]) {
        return false;
    }
    batch->current = import;
    batch->analyzed[import] = true;
    give_up_referenced_keys();
    analyze_target(&batch->loader, import);
    return true;
}

/* Does one thing that there is to do, or waits for the workers. */
Next advance(Batch *batch) {
    Loader *loader = &batch->loader;
    SharedBatch *shared = loader->shared;
    int import;
    int64 number;
    bool all_ended = true;

    if (take_own_chunk(shared, 0, &import, &number)) {
        batch->current = import;
        load_chunk(loader, import, number, Company::Others);
        return Next::Again;
    }
    for (int i = 0; i < batch->count; i++) {
        all_ended = all_ended && batch->ended[i];
        if (batch->ended[i] || batch->failures[i] != nullptr || !import_is_drained(shared, i) ||
            !import_may_begin(shared, i)) {
            continue;
        }
        batch->current = i;
        if (!load_left_chunks(loader, i)) {
            wait_for_workers(batch);
            return Next::Again;
        }
        const ErrorData *error;
        if (!load_pending_records(loader, i, &error)) {
            if (error != nullptr) {
                fail_import(batch, i, error);
            }
            return Next::Again;
        }
        if (!index_target(batch, i)) {
            return Next::Again;
        }
        if (batch->unbuilt[i] != nullptr) {
            if (!import_is_cancelled(shared, i)) {
                fail_import(batch, i, batch->unbuilt[i]);
                batch->unbuilt[i] = nullptr;
            }
            return Next::Again;
        }
        if (!batch->analyzed[i]) {
            set_shared_phase(shared, i, Phase::Analyzing);
            analyze_target(loader, i);
        }
        if (import_is_loaded(shared, i) || !import_is_cancelled(shared, i)) {
            end_member(batch, i, nullptr, nullptr, nullptr);
        }
        return Next::Again;
    }
    if (all_ended) {
        return Next::Done;
    }

    const int unplanned = next_unplanned(batch);
    if (unplanned >= 0 && chunks_available(shared) < kPlanAhead * shared->slots) {
        batch->current = unplanned;
        give_up_referenced_keys();
        batch->planning = true;
        const bool planned = plan_import(loader, batch->pool, unplanned);
        batch->planning = false;
        batch->tries[unplanned] = 0;
        if (!planned) {
            wait_for_workers(batch);
        }
    } else if (analyze_early(batch)) {
        return Next::Again;
    } else if (take_chunk(shared, 0, false, &import, &number)) {
        batch->current = import;
        load_chunk(loader, import, number, Company::Others);
    } else {
        wait_for_workers(batch);
    }
    return Next::Again;
}

/* What an error of the round before has ended, what others ask for, and a step of the work. */
Next go_round(Batch *batch, const ErrorData *error, CancelHold hold) {
    if (error != nullptr) {
        take_error(batch, error);
    }
    batch->current = -1;
    require_postmaster();
    look_around(&batch->loader);
    /* A cancel that comes now must not put off what one before has asked for. */
    end_given_up(batch);
    /* Here a leader can be cancelled, nowhere else. */
    (void)allow_cancels();
    const Next next = advance(batch);
    put_back(hold);
    return next;
}

void run(Batch *batch) {
    const MemoryContext context =
        AllocSetContextCreate(TopMemoryContext, "movielens_ingest batch", ALLOCSET_DEFAULT_SIZES);
    const MemoryContext error_context =
        AllocSetContextCreate(TopMemoryContext, "movielens_ingest batch error", ALLOCSET_SMALL_SIZES);
    volatile Next next = Next::Again;
    ErrorData *volatile error = nullptr; /* of the round before */
    volatile int errors = 0;             /* one after the other: what cannot be written now, may be later */
    volatile bool dropped = false;
    const CancelHold hold = current_hold();

    do {
        MemoryContextSwitchTo(context);
        MemoryContextReset(context);
        PG_TRY();
        {
            if (errors > 1) {
                rest(kRest);
            }
            dropped = errors > 0 && extension_is_dropped(batch);
            if (!dropped) {
                next = go_round(batch, error, hold);
            }
            error = nullptr;
            errors = 0;
        }
        PG_CATCH();
        {
            end_watch();
            MemoryContextReset(error_context);
            error = abort_transaction(error_context, hold);
            errors += is_cancel(error) ? 0 : 1;
        }
        PG_END_TRY();
        if (errors > 1) {
            log_trouble("go on with imports", error);
        }
    } while (!dropped && (next != Next::Done || error != nullptr));
    MemoryContextSwitchTo(TopMemoryContext);
}

} // namespace

void lead_batch(const Identity *identity, const Ledger *ledger, int64 batch_id) {
    auto *batch = static_cast<Batch *>(MemoryContextAllocZero(TopMemoryContext, sizeof(Batch)));

    batch->loader.identity = *identity;
    batch->loader.ledger = *ledger;
    batch->loader.look_around = look_around;
    if (!begin_batch(batch, batch_id)) {
        return;
    }
    for (int i = 0; i < batch->count; i++) {
        if (batch->ended[i] && !batch->members[i].completed) {
            fail_dependents(batch, i, batch->members[i].status);
        }
    }
    run(batch);
    end_workers(batch->pool);
}

} // namespace movielens_ingest::pg
