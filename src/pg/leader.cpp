#include "pg/leader.hpp"

#include "pg/background_process.hpp"
#include "pg/chunk_loader.hpp"
#include "pg/import_lock.hpp"
#include "pg/pg.hpp"
#include "pg/planner.hpp"
#include "pg/progress.hpp"
#include "pg/session.hpp"
#include "pg/shared_import.hpp"
#include "pg/subtransaction.hpp"
#include "pg/target.hpp"
#include "pg/worker_pool.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr long kRefreshInterval = 1000; /* milliseconds between two updates of the counts in uploaded_files */

struct Leader {
    Loader loader; /* first: look_around() finds the leader by it */
    bool found;    /* the import is in the ledger */
    WorkerPool *pool;
    TimestampTz refreshed; /* when the counts were last written */
};

/* Sleeps until the transaction of the call has ended, whatever lock_timeout the role has. */
void wait_for_call(const LeaderArguments *arguments) {
    begin_transaction(&arguments->identity);
    const int guc_level = NewGUCNestLevel();
    set_locally("lock_timeout", "0");
    XactLockTableWait(arguments->xid, nullptr, nullptr, XLTW_None);
    AtEOXact_GUC(true, guc_level);
    commit_transaction();
}

/* Tells the process that registered us, and waits for it, that we are there. */
void notify_launcher() {
    PGPROC *launcher = BackendPidGetProc(MyBgworkerEntry->bgw_notify_pid);

    if (launcher != nullptr) {
        SetLatch(&launcher->procLatch);
    }
}

int loader_count(const ImportOptions *options) {
    if (options->max_workers > 0) {
        return options->max_workers;
    }
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    return static_cast<int>(Max(processors, 1));
}

void refresh(Leader *leader) {
    begin_transaction(&leader->loader.identity);
    refresh_totals(&leader->loader.ledger, leader->loader.import.id);
    commit_transaction();
    leader->refreshed = GetCurrentTimestamp();
}

/* What a leader does besides loading: between its chunks, in its pauses, while it plans. */
void look_around(Loader *loader) {
    auto *leader = reinterpret_cast<Leader *>(loader);

    (void)tend_workers(leader->pool);
    if (TimestampDifferenceExceeds(leader->refreshed, GetCurrentTimestamp(), kRefreshInterval)) {
        refresh(leader);
    }
}

/* 0, or the id of an import that has loaded the same. */
int64 admit(const Leader *leader) {
    begin_transaction(&leader->loader.identity);
    const int64 other = admit_import(&leader->loader.ledger, &leader->loader.import);
    commit_transaction();
    return other;
}

/* Plans the file. Workers start as soon as there are chunks, unless these look like a file that was loaded before. */
void plan(Leader *leader) {
    Loader *loader = &leader->loader;
    core::ChunkPlanner *planner = make_planner(&loader->import);
    int64 chunks = 0;
    int64 other = 0;
    bool admitted = false;

    do {
        chunks = plan_step(loader, planner, chunks);
        /* Once it looks like another one, only the whole of it can tell. */
        if (!admitted && chunks > 0 && (other == 0 || planner->done())) {
            other = admit(leader);
            admitted = other == 0;
        }
        if (admitted || chunks == 0) {
            offer_chunks(loader->shared, chunks, planner->done());
            start_workers(leader->pool, chunks);
        }
        look_around(loader);
    } while (!planner->done());

    if (other != 0 && !admitted) {
        ereport(ERROR,
                (errcode(ERRCODE_DUPLICATE_OBJECT),
                 errmsg("file \"%s\" has the content of import " INT64_FORMAT ", which was loaded into the same table",
                        loader->import.path, other),
                 errhint("To load it again, call ml_import with force => true.")));
    }
}

/* Chunks that were lost or put off, alone: every worker has ended. */
void load_leftovers(Leader *leader) {
    Loader *loader = &leader->loader;

    if (chunks_are_stopped(loader->shared)) {
        return;
    }
    begin_transaction(&loader->identity);
    int count;
    const MemoryContext transaction_context = MemoryContextSwitchTo(TopMemoryContext);
    int64 *numbers = pending_chunks(&loader->ledger, loader->import.id, &count);
    MemoryContextSwitchTo(transaction_context);
    commit_transaction();
    for (int i = 0; i < count && !chunks_are_stopped(loader->shared); i++) {
        load_chunk(loader, numbers[i], true);
    }
    pfree(numbers);
}

void wait_for_workers(Leader *leader) {
    Loader *loader = &leader->loader;

    bool released = false;

    report_activity("movielens_ingest: waiting for the workers of import " INT64_FORMAT, loader->import.id);
    while (tend_workers(leader->pool) > 0) {
        /* The postmaster sets the latch when a worker ends; the time is that of the next update of the counts. */
        const int events =
            WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, kRefreshInterval, PG_WAIT_EXTENSION);
        ResetLatch(MyLatch);
        CHECK_FOR_INTERRUPTS();
        if ((events & WL_TIMEOUT) != 0 && !released) {
            /* A lock that a trigger took for the session here may be what a worker waits for, unseen by the detector.
             */
            LockReleaseAll(USER_LOCKMETHOD, true);
            hold_import_lock(loader->ledger.files, loader->import.id, true);
            released = true;
        }
        look_around(loader);
    }
}

/* An import does not fail for want of statistics: an error here is logged. */
void analyze_target(Leader *leader) {
    const Loader *loader = &leader->loader;
    const MemoryContext context = CurrentMemoryContext;

    report_activity("movielens_ingest: analyzing %s after import " INT64_FORMAT, loader->import.target,
                    loader->import.id);
    /* Or what this process has inserted would be counted again, on top of what ANALYZE finds. */
    pgstat_report_stat(true);
    PG_TRY();
    {
        begin_transaction(&loader->identity);
        Relation target = open_target(loader->import.target_oid, loader->import.target, loader->import.columns,
                                      loader->import.column_count);
        const char *sql = psprintf("ANALYZE (SKIP_LOCKED) %s", qualified_name(target));
        table_close(target, NoLock);
        if (may_analyze(loader->import.target_oid)) {
            if (SPI_connect() != SPI_OK_CONNECT || SPI_execute(sql, false, 0) < 0 || SPI_finish() != SPI_OK_FINISH) {
                elog(ERROR, "could not run \"%s\"", sql);
            }
        }
        commit_transaction();
    }
    PG_CATCH();
    {
        ErrorData *error = abort_transaction(context);
        if (is_cancel(error)) {
            ReThrowError(error);
        }
        ereport(WARNING,
                (errcode(error->sqlerrcode), errmsg("could not analyze %s after import " INT64_FORMAT ": %s",
                                                    loader->import.target, loader->import.id, error->message)));
    }
    PG_END_TRY();
}

bool some_loaded(Leader *leader) {
    begin_transaction(&leader->loader.identity);
    const int64 loaded = loaded_records(&leader->loader.ledger, leader->loader.import.id);
    commit_transaction();
    return loaded > 0;
}

void finish_import(Leader *leader, const char *status, const char *sqlstate, const char *error) {
    Loader *loader = &leader->loader;
    const int64 id = loader->import.id;

    begin_transaction(&loader->identity);
    if (reopen_ledger(loader->ledger.files, &loader->ledger)) {
        end_import(&loader->ledger, id, status, sqlstate, error);
    } else {
        ereport(LOG,
                (errmsg("extension \"movielens_ingest\" was dropped while import " INT64_FORMAT " was running", id)));
    }
    commit_transaction();
}

void prepare_workers(Leader *leader) {
    Loader *loader = &leader->loader;
    dsm_handle segment;

    begin_transaction(&loader->identity);
    mark_started(&loader->ledger, loader->import.id);
    commit_transaction();
    loader->shared =
        create_shared_import(loader_count(&loader->import.options), loader->ledger.files, loader->import.id, &segment);
    leader->pool = make_worker_pool(loader, segment);
    leader->refreshed = GetCurrentTimestamp();
}

/* Does nothing when the call, or its savepoint, was rolled back: there is no row then. */
void run_import(Leader *leader, const LeaderArguments *arguments) {
    Loader *loader = &leader->loader;

    wait_for_call(arguments);
    if (!prepare_loader(loader, arguments->files, arguments->import_id)) {
        return;
    }
    leader->found = true;
    adopt_session(loader);
    prepare_workers(leader);
    plan(leader);
    load_chunks(loader);
    wait_for_workers(leader);
    load_leftovers(leader);
    if (some_loaded(leader)) {
        analyze_target(leader);
    }
}

/* The import runs; whatever error ends it becomes its last status. */
void lead(Leader *leader, const LeaderArguments *arguments) {
    const MemoryContext context = CurrentMemoryContext;
    ErrorData *volatile error = nullptr;

    PG_TRY();
    { run_import(leader, arguments); }
    PG_CATCH();
    { error = abort_transaction(context); }
    PG_END_TRY();

    if (!leader->found) {
        if (error != nullptr) {
            ReThrowError(error);
        }
        return;
    }
    /* A cancel from here on comes too late; it must not leave the import without an end. */
    HOLD_CANCEL_INTERRUPTS();
    if (leader->pool != nullptr) {
        end_workers(leader->pool); /* nobody loads any more when the totals are taken */
    }
    if (error == nullptr) {
        finish_import(leader, nullptr, nullptr, nullptr);
    } else {
        const bool cancelled = is_cancel(error);

        ereport(LOG, (errcode(error->sqlerrcode), errmsg("import " INT64_FORMAT " %s: %s", arguments->import_id,
                                                         cancelled ? "was cancelled" : "failed", error->message)));
        finish_import(leader, cancelled ? "Cancelled" : "Failed", sqlstate_of(error), error->message);
    }
    RESUME_CANCEL_INTERRUPTS();
}

} // namespace

BackgroundWorkerHandle *register_leader(const LeaderArguments *arguments) {
    char name[BGW_MAXLEN];

    snprintf(name, sizeof(name), "movielens_ingest leader for import " INT64_FORMAT, arguments->import_id);
    return register_process("movielens_ingest_leader_main", kLeaderType, name, arguments, sizeof(*arguments));
}

} // namespace movielens_ingest::pg

using namespace movielens_ingest::pg;

extern "C" void movielens_ingest_leader_main(Datum) {
    LeaderArguments arguments;

    begin_process(&arguments, sizeof(arguments));
    connect_as(&arguments.identity);
    begin_transaction(&arguments.identity);
    hold_import_lock(arguments.files, arguments.import_id, true);
    commit_transaction();
    notify_launcher();

    auto *leader = static_cast<Leader *>(MemoryContextAllocZero(TopMemoryContext, sizeof(Leader)));
    leader->loader.identity = arguments.identity;
    leader->loader.look_around = look_around;
    lead(leader, &arguments);
}
