#include "pg/worker_pool.hpp"

#include "pg/background_process.hpp"
#include "pg/cancel_hold.hpp"
#include "pg/patience.hpp"
#include "pg/pg.hpp"
#include "pg/shared_chunks.hpp"
#include "pg/worker.hpp"

namespace movielens_ingest::pg {

struct WorkerPool {
    Loader *leader;
    dsm_handle segment;
    BackgroundWorkerHandle **handles; /* by slot; null: no worker. Slot 0 is the leader's own */
    int slots;
    int next_slot; /* not filled yet */
    bool short_of_slots;
};

namespace {

/* Runs in any exit of the leader, errors and SIGTERM included. */
void terminate_workers(int, Datum argument) {
    auto *pool = static_cast<WorkerPool *>(reinterpret_cast<void *>(DatumGetPointer(argument)));

    stop_batch(pool->leader->shared);
    for (int slot = 1; slot < pool->slots; slot++) {
        if (pool->handles[slot] != nullptr) {
            TerminateBackgroundWorker(pool->handles[slot]);
        }
    }
}

bool start_worker(WorkerPool *pool, int slot) {
    const WorkerArguments arguments = {pool->segment, slot, pool->leader->identity};
    char name[BGW_MAXLEN];

    snprintf(name, sizeof(name), "movielens_ingest worker %d for import " INT64_FORMAT, slot, pool->leader->shared->id);
    const MemoryContext context = MemoryContextSwitchTo(TopMemoryContext);
    /* It is for the leader to replace it. */
    pool->handles[slot] = register_process("movielens_ingest_worker_main", kWorkerType, name, &arguments,
                                           sizeof(arguments), BGW_NEVER_RESTART);
    MemoryContextSwitchTo(context);
    return pool->handles[slot] != nullptr;
}

void return_chunk(WorkerPool *pool, int index, int64 number) {
    Loader *leader = pool->leader;
    const Import *import = import_of(leader, index);
    /* One that did not heed a cancel has ended itself. */
    const int max_retries = import_is_cancelled(leader->shared, index) ? INT_MAX : import->options.max_retries;

    /* When the worker had committed before it was lost, the chunk is not Pending, and this does nothing. */
    const CancelHold hold = hold_cancels(); /* nobody else knows of it any more */
    note_patiently(&leader->identity, "note that a worker was lost", [=]() {
        (void)fail_lost_attempt(&leader->ledger, import->id, number, unpack_sql_state(ERRCODE_ADMIN_SHUTDOWN),
                                "the worker that was loading the chunk was terminated", max_retries);
    });
    put_back(hold);
}

} // namespace

WorkerPool *make_worker_pool(Loader *leader, dsm_handle segment) {
    auto *pool = static_cast<WorkerPool *>(MemoryContextAllocZero(TopMemoryContext, sizeof(WorkerPool)));

    pool->leader = leader;
    pool->segment = segment;
    pool->slots = leader->shared->slots;
    pool->next_slot = 1;
    pool->handles = static_cast<BackgroundWorkerHandle **>(
        MemoryContextAllocZero(TopMemoryContext, sizeof(BackgroundWorkerHandle *) * static_cast<Size>(pool->slots)));
    before_shmem_exit(terminate_workers, PointerGetDatum(pool));
    return pool;
}

void start_workers(WorkerPool *pool) {
    SharedBatch *shared = pool->leader->shared;
    /* Workers that are there take theirs, and the leader one. */
    const int64 wanted = chunks_available(shared) + processes_loading(shared);
    const int slots = static_cast<int>(Min(wanted, static_cast<int64>(pool->slots)));

    for (; pool->next_slot < slots; pool->next_slot++) {
        if (!start_worker(pool, pool->next_slot)) {
            ereport(pool->short_of_slots ? DEBUG1 : LOG,
                    (errmsg("import " INT64_FORMAT " goes on with %d of %d workers", shared->id, pool->next_slot - 1,
                            pool->slots - 1),
                     errhint("You may need to increase max_worker_processes.")));
            pool->short_of_slots = true;
            break;
        }
    }
}

int tend_workers(WorkerPool *pool) {
    int alive = 0;

    for (int slot = 1; slot < pool->slots; slot++) {
        pid_t pid;

        if (pool->handles[slot] == nullptr) {
            continue;
        }
        if (GetBackgroundWorkerPid(pool->handles[slot], &pid) != BGWH_STOPPED) {
            alive++;
            continue;
        }
        pfree(pool->handles[slot]);
        pool->handles[slot] = nullptr;

        int import;
        int64 number;
        const bool lost = abandoned_chunk(pool->leader->shared, slot, &import, &number);
        if (lost && number > 0) {
            return_chunk(pool, import, number);
        }
        /* One that was lost without a chunk would be lost again, and nothing would count how often. */
        if (lost && chunks_are_waiting(pool->leader->shared) && start_worker(pool, slot)) {
            alive++;
        }
    }
    return alive;
}

void end_workers(WorkerPool *pool) {
    stop_batch(pool->leader->shared);
    for (int slot = 1; slot < pool->slots; slot++) {
        if (pool->handles[slot] != nullptr) {
            (void)WaitForBackgroundWorkerShutdown(pool->handles[slot]);
        }
    }
}

} // namespace movielens_ingest::pg
