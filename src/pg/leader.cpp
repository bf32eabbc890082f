#include "pg/leader.hpp"

#include "pg/background_process.hpp"
#include "pg/chunk_loader.hpp"
#include "pg/import_lock.hpp"
#include "pg/pg.hpp"
#include "pg/planner.hpp"
#include "pg/progress.hpp"
#include "pg/shared_import.hpp"
#include "pg/subtransaction.hpp"
#include "pg/target.hpp"
#include "pg/worker_pool.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr long kRefreshInterval = 1000; /* milliseconds between two updates of the counts in uploaded_files */

struct Leader {
    Loader loader;
    WorkerPool *pool;
    TimestampTz refreshed; /* when the counts were last written */
};

/* Sleeps until the transaction of the call has ended, whatever lock_timeout the role has. */
void wait_for_call(const LeaderArguments *arguments) {
    begin_transaction(&arguments->identity);
    const int guc_level = NewGUCNestLevel();
    (void)set_config_option("lock_timeout", "0", PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
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

/* After each chunk of the leader's own. */
void look_around(void *argument) {
    auto *leader = static_cast<Leader *>(argument);

    hold_import_lock(leader->loader.shared->files, leader->loader.import.id);
    (void)tend_workers(leader->pool);
    if (TimestampDifferenceExceeds(leader->refreshed, GetCurrentTimestamp(), kRefreshInterval)) {
        refresh(leader);
    }
}

/* The id of an import that has loaded the same content before; 0 when there is none, or it does not matter. */
int64 find_earlier_import(const Leader *leader) {
    if (leader->loader.import.options.force) {
        return 0;
    }
    begin_transaction(&leader->loader.identity);
    const int64 earlier = find_import_of_content(&leader->loader.ledger, leader->loader.import.id);
    commit_transaction();
    return earlier;
}

/* Plans the file. Workers start as soon as there are chunks, unless these look like a file that was loaded before. */
void plan(Leader *leader) {
    Loader *loader = &leader->loader;
    core::ChunkPlanner *planner = make_planner(&loader->import);
    int64 chunks = 0;
    int64 earlier = 0;
    bool looked = false;
    bool started = false;

    do {
        chunks = plan_step(loader, planner, chunks);
        if (chunks > 0 && (!looked || (earlier != 0 && planner->done()))) {
            earlier = find_earlier_import(leader);
            looked = true;
        }
        if (earlier == 0) {
            offer_chunks(loader->shared, chunks, planner->done());
            if (!started && chunks > 0) {
                start_workers(leader->pool, chunks); /* no more processes than chunks */
                started = true;
            }
        }
    } while (!planner->done());

    if (earlier != 0) {
        ereport(ERROR,
                (errcode(ERRCODE_DUPLICATE_OBJECT),
                 errmsg("file \"%s\" has the content of import " INT64_FORMAT ", which was loaded into the same table",
                        loader->import.path, earlier),
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
    while (tend_workers(leader->pool) > 0) {
        /* The postmaster sets the latch when a worker ends; the time is that of the next update of the counts. */
        const int events =
            WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, kRefreshInterval, PG_WAIT_EXTENSION);
        ResetLatch(MyLatch);
        CHECK_FOR_INTERRUPTS();
        if ((events & WL_TIMEOUT) != 0) {
            refresh(leader);
        }
    }
}

/* An import does not fail for want of statistics: an error here is logged. */
void analyze_target(Leader *leader) {
    const Loader *loader = &leader->loader;
    const MemoryContext context = CurrentMemoryContext;

    report_activity("movielens_ingest: analyzing %s after import " INT64_FORMAT, loader->import.target,
                    loader->import.id);
    PG_TRY();
    {
        begin_transaction(&loader->identity);
        Relation target = open_target(loader->import.target_oid, loader->import.columns, loader->import.column_count);
        const char *sql = psprintf("ANALYZE %s", qualified_name(target));
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
        if (error->sqlerrcode == ERRCODE_QUERY_CANCELED) {
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
    loader->shared = create_shared_import(loader_count(&loader->import.options), &loader->identity,
                                          loader->ledger.files, loader->import.id, &segment);
    leader->pool = make_worker_pool(loader, segment);
    leader->refreshed = GetCurrentTimestamp();
}

void run_import(Leader *leader) {
    prepare_workers(leader);
    plan(leader);
    load_chunks(&leader->loader, look_around, leader);
    wait_for_workers(leader);
    load_leftovers(leader);
    if (some_loaded(leader)) {
        analyze_target(leader);
    }
}

/* The import runs; whatever error ends it becomes its last status. */
void lead(Leader *leader) {
    const MemoryContext context = CurrentMemoryContext;
    ErrorData *volatile error = nullptr;

    PG_TRY();
    {
        adopt_session(&leader->loader);
        run_import(leader);
    }
    PG_CATCH();
    { error = abort_transaction(context); }
    PG_END_TRY();

    /* Nobody loads any more when the totals are taken. */
    if (leader->pool != nullptr) {
        end_workers(leader->pool);
    }
    if (error == nullptr) {
        finish_import(leader, nullptr, nullptr, nullptr);
        return;
    }
    const bool cancelled = error->sqlerrcode == ERRCODE_QUERY_CANCELED;
    ereport(LOG, (errcode(error->sqlerrcode), errmsg("import " INT64_FORMAT " %s: %s", leader->loader.import.id,
                                                     cancelled ? "was cancelled" : "failed", error->message)));
    finish_import(leader, cancelled ? "Cancelled" : "Failed", sqlstate_of(error), error->message);
}

} // namespace

BackgroundWorkerHandle *register_leader(const LeaderArguments *arguments) {
    char name[BGW_MAXLEN];

    snprintf(name, sizeof(name), "movielens_ingest leader for import " INT64_FORMAT, arguments->import_id);
    return register_process("movielens_ingest_leader_main", "movielens_ingest leader", name, arguments,
                            sizeof(*arguments));
}

} // namespace movielens_ingest::pg

using namespace movielens_ingest::pg;

extern "C" void movielens_ingest_leader_main(Datum) {
    LeaderArguments arguments;

    begin_process(&arguments, sizeof(arguments));
    connect_as(&arguments.identity);
    begin_transaction(&arguments.identity);
    hold_import_lock(arguments.files, arguments.import_id);
    commit_transaction();
    notify_launcher();
    wait_for_call(&arguments);

    auto *leader = static_cast<Leader *>(MemoryContextAllocZero(TopMemoryContext, sizeof(Leader)));
    leader->loader.identity = arguments.identity;
    /* No row: the call, or its savepoint, was rolled back. */
    if (prepare_loader(&leader->loader, arguments.files, arguments.import_id)) {
        lead(leader);
    }
}
