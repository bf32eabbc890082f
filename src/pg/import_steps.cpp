#include "pg/import_steps.hpp"

#include "pg/background_process.hpp"
#include "pg/boundary.hpp"
#include "pg/cancel_watch.hpp"
#include "pg/chunk_attempt.hpp"
#include "pg/deferred_indexes.hpp"
#include "pg/error_text.hpp"
#include "pg/import_lock.hpp"
#include "pg/pg.hpp"
#include "pg/planner.hpp"
#include "pg/progress.hpp"
#include "pg/risky_step.hpp"
#include "pg/session.hpp"
#include "pg/shared_chunks.hpp"
#include "pg/shared_progress.hpp"
#include "pg/subtransaction.hpp"
#include "pg/target.hpp"
#include "pg/target_storage.hpp"

namespace movielens_ingest::pg {

namespace {

/* Another import has loaded the same. */
struct Twin {
    int64 id; /* 0: there is none */
    bool may_be_seen;
};

Twin admit(const Loader *leader, const Import *import) {
    Twin twin = {0, false};
    VisibleImport seen;

    begin_transaction(&leader->identity);
    twin.id = admit_import(&leader->ledger, import);
    twin.may_be_seen = twin.id != 0 && read_visible_import(&leader->ledger, twin.id, false, &seen);
    commit_transaction();
    return twin;
}

void require_admitted(const Import *import, const Twin *twin) {
    if (twin->id != 0) {
        /* The role reads it in uploaded_files. */
        ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT),
                        twin->may_be_seen ? errmsg("file \"%s\" has the content of import " INT64_FORMAT
                                                   ", which was loaded into the same table",
                                                   show_name(import->path), twin->id)
                                          : errmsg("file \"%s\" has content that was loaded into the same table before",
                                                   show_name(import->path)),
                        errhint("To load it again, call ml_import with force => true.")));
    }
}

/* False: others have to end first, of this batch or of another one with a suspect. */
bool may_load_suspect(SharedBatch *shared) { return hold_lock_now(suspect_lock()) && exclude_others(shared); }

void end_suspicion(SharedBatch *shared) {
    allow_others(shared);
    release_lock(suspect_lock());
}

/* The import was planned to the end before it was interrupted, cancelled or failed. */
void offer_old_plan(Loader *leader, WorkerPool *pool, int index) {
    const Import *import = leader->imports[index];
    int count;

    const Twin twin = admit(leader, import);
    require_admitted(import, &twin);
    begin_transaction(&leader->identity);
    const Progress progress = read_ledger_progress(&leader->ledger, import->id);
    const int64 chunks = progress.chunks;
    const LeftChunk *left = left_chunks(&leader->ledger, import->id, &count);
    const int64 first = count > 0 ? left[0].number : chunks + 1;
    commit_transaction();
    if (count > 0) {
        defer_indexes(leader, import);
    }
    /* It was shown before, but settle_witness() may have found that nothing is left of it. */
    set_shared_progress(leader->shared, index, &progress);
    offer_chunks(leader->shared, index, first, chunks, true);
    start_workers(pool);
}

/* An earlier leader may have planned and loaded a part. */
void show_planning(Loader *leader, int index) {
    begin_transaction(&leader->identity);
    Progress progress = read_ledger_progress(&leader->ledger, leader->imports[index]->id);
    commit_transaction();
    progress.phase = Phase::Planning;
    set_shared_progress(leader->shared, index, &progress);
}

/*
 * Not SKIP_LOCKED, which gives up also when a worker only stands in the queue for SHARE, and of which one who has SHARE
 * never learns that somebody waits. But for a moment only, shorter than one after which a deadlock is looked for:
 * CREATE INDEX CONCURRENTLY may have the lock, and wait for the snapshot of somebody who waits for us.
 */
ErrorData *try_analyze(Loader *leader, const Import *import, int index) {
    constexpr int kMoment = 100; /* milliseconds */
    const MemoryContext context = CurrentMemoryContext;
    const CancelHold hold = current_hold();
    ErrorData *volatile error = nullptr;

    PG_TRY();
    {
        begin_watch(leader->shared, index, 0, WatchEnd::Terminate);
        begin_transaction(&leader->identity);
        const int guc_level = NewGUCNestLevel();
        set_locally("lock_timeout", psprintf("%d", Min(kMoment, Max(DeadlockTimeout / 2, 1))));
        Relation target = open_target(import->target_oid, import->target, import->columns, import->column_count);
        const char *sql = psprintf("ANALYZE %s", qualified_name(target));
        table_close(target, NoLock);
        if (can_be_analyzed(import->target_oid) && may_analyze(import->target_oid)) {
            if (SPI_connect() != SPI_OK_CONNECT || SPI_execute(sql, false, 0) < 0 || SPI_finish() != SPI_OK_FINISH) {
                elog(ERROR, "could not run \"%s\"", sql);
            }
        }
        AtEOXact_GUC(true, guc_level);
        commit_transaction();
    }
    PG_CATCH();
    {
        end_watch();
        error = abort_transaction(context, hold);
    }
    PG_END_TRY();
    end_watch();
    return error;
}

} // namespace

bool plan_import(Loader *leader, WorkerPool *pool, int index) {
    const Import *import = import_of(leader, index);
    const bool planned = import->rows >= 0;
    const int crashes = planned ? 0 : crashes_in_step(leader, RiskyStep::Planning, import->id);
    int64 chunks = 0;
    Twin twin = {0, false};
    bool admitted = false;

    if (crashes >= kMostCrashes) {
        ereport(ERROR, (errcode(ERRCODE_CRASH_SHUTDOWN),
                        errmsg("the server crashed %d times while the import was being planned", crashes)));
    }
    if (crashes >= kCrashesBeforeAlone && !may_load_suspect(leader->shared)) {
        return false;
    }

    begin_transaction(&leader->identity);
    mark_started(&leader->ledger, import->id);
    commit_transaction();
    settle_witness(leader, leader->imports[index]);
    if (planned) {
        offer_old_plan(leader, pool, index);
        return true;
    }
    begin_risky_step(leader, RiskyStep::Planning, import->id);

    report_planning(import);
    set_shared_phase(leader->shared, index, Phase::Planning);
    if (leader->shared->imports[index].ready_chunks == 0) {
        show_planning(leader, index); /* else planning starts again, beside others who load and count */
    }
    core::ChunkPlanner *planner = make_planner(import);
    do {
        chunks = plan_step(leader, import, planner, chunks);
        /* Once it looks like another one, only the whole of it can tell. */
        if (!admitted && chunks > 0 && (twin.id == 0 || planner->done())) {
            twin = admit(leader, import);
            admitted = twin.id == 0;
            if (admitted) {
                defer_indexes(leader, import);
            }
        }
        if (admitted || chunks == 0) {
            offer_chunks(leader->shared, index, 1, chunks, planner->done());
            start_workers(pool);
        }
        require_postmaster();
        leader->look_around(leader);
        CHECK_FOR_INTERRUPTS();
    } while (!planner->done() && !import_is_stopped(leader->shared, index));
    if (!admitted && planner->done()) {
        require_admitted(import, &twin);
    }
    end_risky_step();
    if (crashes >= kCrashesBeforeAlone) {
        end_suspicion(leader->shared);
    }
    return true;
}

bool load_left_chunks(Loader *leader, int index) {
    SharedBatch *shared = leader->shared;
    const Import *import = import_of(leader, index);
    int count;

    begin_transaction(&leader->identity);
    const MemoryContext transaction_context = MemoryContextSwitchTo(TopMemoryContext);
    LeftChunk *left = left_chunks(&leader->ledger, import->id, &count);
    MemoryContextSwitchTo(transaction_context);
    commit_transaction();

    bool all = true;
    for (int i = 0; i < count && all && !import_is_stopped(shared, index); i++) {
        if (left[i].crashes >= kMostCrashes) {
            begin_transaction(&leader->identity);
            fail_crashed_chunk(&leader->ledger, import->id, left[i].number);
            commit_transaction();
        } else if (left[i].crashes >= kCrashesBeforeAlone && !may_load_suspect(shared)) {
            all = false;
        } else {
            take_left_chunk(shared, index, left[i].number);
            load_chunk(leader, index, left[i].number, Company::Alone);
        }
    }
    if (all) {
        end_suspicion(shared);
    }
    pfree(left);
    return all;
}

void analyze_target(Loader *leader, int index) {
    constexpr int kMostTries = 5;
    const Import *import = import_of(leader, index);
    ErrorData *error = nullptr;
    int tries = 0;

    begin_transaction(&leader->identity);
    const bool some_loaded = loaded_records(&leader->ledger, import->id) > 0;
    commit_transaction();
    if (!some_loaded) {
        return;
    }
    /* Statistics are not worth a third crash. */
    const int crashes = crashes_in_step(leader, RiskyStep::Analyzing, import->id);
    if (crashes >= kCrashesBeforeAlone) {
        ereport(WARNING,
                (errcode(ERRCODE_CRASH_SHUTDOWN), errmsg("could not analyze %s after import " INT64_FORMAT
                                                         ": the server crashed %d times while it was being analyzed",
                                                         import->target, import->id, crashes)));
        return;
    }
    if (import_is_cancelled(leader->shared, index)) {
        return; /* all is in, and its end is wanted; autovacuum will do it */
    }
    begin_risky_step(leader, RiskyStep::Analyzing, import->id);
    report_activity("movielens_ingest: analyzing %s for import " INT64_FORMAT, import->target, import->id);
    do {
        error = try_analyze(leader, import, index);
    } while (error != nullptr && error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE && ++tries < kMostTries);
    end_risky_step();
    if (error != nullptr && is_cancel(error)) {
        ReThrowError(error);
    }
    if (error != nullptr) {
        ereport(WARNING,
                (errcode(error->sqlerrcode), errmsg("could not analyze %s after import " INT64_FORMAT ": %s",
                                                    import->target, import->id, show_message(error->message))));
    }
}

} // namespace movielens_ingest::pg
