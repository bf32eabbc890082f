#include "pg/validation_pool.hpp"

#include "pg/background_process.hpp"
#include "pg/planner.hpp"
#include "pg/process_permit.hpp"
#include "pg/settings.hpp"
#include "pg/shared_validation.hpp"
#include "pg/validation_worker.hpp"

namespace movielens_ingest::pg {

namespace {

struct Worker {
    BackgroundWorkerHandle *handle;
    ProcessPermit permit;
    shm_mq_handle *chunks; /* null: it is lost */
    shm_mq_handle *rows;
    core::Chunk given[kMostChunksGiven]; /* in the order in which it validates them */
    int given_count;
    bool waits; /* for a lock, when the session looked last */
};

constexpr long kLookInterval = 1000; /* milliseconds */

} // namespace

struct ValidationPool {
    MemoryContext context; /* it lives until the end of the segment, however that comes */
    const Import *import;
    core::ChunkPlanner *planner;
    core::Chunk next; /* planned, not given to anybody */
    bool has_next;
    core::Chunk *left; /* those of lost workers */
    int left_count;
    RefusedRows *rows;
    dsm_segment *segment;
    int most_workers;
    int worker_count; /* started, the lost ones too */
    Worker *workers;
};

namespace {

/* Runs when the segment is detached: at the end, in an error, in the exit of the session. */
void terminate_workers(dsm_segment *, Datum argument) {
    auto *pool = static_cast<ValidationPool *>(reinterpret_cast<void *>(DatumGetPointer(argument)));

    for (int i = 0; i < pool->worker_count; i++) {
        TerminateBackgroundWorker(pool->workers[i].handle);
    }
}

bool plan_next(ValidationPool *pool) {
    if (!pool->has_next) {
        pool->has_next = plan_chunk(pool->import, pool->planner, &pool->next);
    }
    return pool->has_next;
}

Shortage start_worker(ValidationPool *pool) {
    SharedValidation *shared = shared_validation(pool->segment);
    Worker *worker = &pool->workers[pool->worker_count];
    char name[BGW_MAXLEN];

    const Shortage shortage = take_permit(GetAuthenticatedUserId(), max_processes_per_role_setting(),
                                          PermitLife::Transaction, &worker->permit);
    if (shortage != Shortage::None) {
        return shortage;
    }
    const ValidationWorkerArguments arguments = {dsm_segment_handle(pool->segment), pool->worker_count, worker->permit};

    snprintf(name, sizeof(name), "movielens_ingest worker for ml_validate() in process %d", MyProcPid);
    const MemoryContext context = MemoryContextSwitchTo(pool->context);
    worker->handle = register_process("movielens_ingest_validation_worker_main", kWorkerType, name, &arguments,
                                      sizeof(arguments), BGW_NEVER_RESTART);
    if (worker->handle != nullptr) {
        /* With the handle, the end of a worker that never came so far is noticed too. */
        worker->chunks = shm_mq_attach(chunk_queue(shared, arguments.worker), pool->segment, worker->handle);
        worker->rows = shm_mq_attach(row_queue(shared, arguments.worker), pool->segment, worker->handle);
        pool->worker_count++;
    } else {
        give_back_permit(&worker->permit, PermitLife::Transaction);
    }
    MemoryContextSwitchTo(context);
    return worker->handle != nullptr ? Shortage::None : Shortage::Slots;
}

void lose_worker(ValidationPool *pool, Worker *worker) {
    ereport(DEBUG1, (errmsg("a worker of ml_validate() was lost")));
    shm_mq_detach(worker->chunks);
    shm_mq_detach(worker->rows);
    worker->chunks = nullptr;
    while (worker->given_count > 0) {
        pool->left[pool->left_count++] = worker->given[--worker->given_count];
    }
}

/* Gives the next chunk to a worker, unless it is lost. */
void give_chunk(ValidationPool *pool, Worker *worker) {
    if (shm_mq_send(worker->chunks, sizeof(core::Chunk), &pool->next, true, true) == SHM_MQ_SUCCESS) {
        worker->given[worker->given_count++] = pool->next;
        pool->has_next = false;
    } else {
        lose_worker(pool, worker);
    }
}

/* One chunk for each worker before a second one for any. */
void give_chunks(ValidationPool *pool) {
    while (pool->worker_count < pool->most_workers && plan_next(pool)) {
        const Shortage shortage = start_worker(pool);
        if (shortage != Shortage::None) {
            ereport(DEBUG1,
                    (errmsg("ml_validate() goes on with %d of %d workers", pool->worker_count, pool->most_workers),
                     errhint("%s", shortage_hint(shortage))));
            pool->most_workers = pool->worker_count;
            break;
        }
        give_chunk(pool, &pool->workers[pool->worker_count - 1]);
    }
    for (int count = 0; count < kMostChunksGiven; count++) {
        for (int i = 0; i < pool->worker_count; i++) {
            Worker *worker = &pool->workers[i];
            if (worker->chunks != nullptr && worker->given_count == count && plan_next(pool)) {
                give_chunk(pool, worker);
            }
        }
    }
}

void take_rows(ValidationPool *pool, Worker *worker) {
    for (;;) {
        Size size;
        void *data;

        CHECK_FOR_INTERRUPTS();
        const shm_mq_result result = shm_mq_receive(worker->rows, &size, &data, true);
        if (result == SHM_MQ_WOULD_BLOCK) {
            return;
        }
        if (result == SHM_MQ_DETACHED) {
            lose_worker(pool, worker);
            return;
        }
        if (size > 0) {
            add_refused_row(pool->rows, static_cast<MinimalTuple>(data));
        } else {
            worker->given_count--;
            memmove(&worker->given[0], &worker->given[1], sizeof(core::Chunk) * worker->given_count);
        }
    }
}

bool waits_for_lock(const Worker *worker) {
    pid_t pid;

    if (GetBackgroundWorkerPid(worker->handle, &pid) != BGWH_STARTED) {
        return false;
    }
    const PGPROC *process = BackendPidGetProc(pid);
    constexpr uint32 kClass = 0xFF000000U; /* of a wait event */
    return process != nullptr && (process->wait_event_info & kClass) == PG_WAIT_LOCK;
}

/*
 * A worker's own lock_timeout ends its waiting, unless user code has set another one. If it waits for a lock of this
 * session, which waits for the worker, nobody else would notice: the deadlock detector knows nothing of queues. So what
 * waits is done by the session, where it meets that lock itself, or waits for it as any session does.
 */
void end_waiting_workers(ValidationPool *pool) {
    for (int i = 0; i < pool->worker_count; i++) {
        Worker *worker = &pool->workers[i];
        const bool waits = worker->chunks != nullptr && worker->given_count > 0 && waits_for_lock(worker);

        if (waits && worker->waits) {
            TerminateBackgroundWorker(worker->handle); /* take_rows() will find it lost */
        }
        worker->waits = waits;
    }
}

} // namespace

ValidationPool *make_validation_pool(const Import *import, int workers, TupleDesc desc, RefusedRows *rows) {
    const MemoryContext pool_context =
        AllocSetContextCreate(CurTransactionContext, "movielens_ingest validation", ALLOCSET_DEFAULT_SIZES);
    const MemoryContext context = MemoryContextSwitchTo(pool_context);
    auto *pool = static_cast<ValidationPool *>(palloc0(sizeof(ValidationPool)));

    pool->context = pool_context;
    pool->import = import;
    pool->rows = rows;
    pool->planner = make_planner(import);
    pool->most_workers = Min(workers, max_worker_processes);
    if (pool->most_workers > 0) {
        pool->left = static_cast<core::Chunk *>(
            palloc(sizeof(core::Chunk) * kMostChunksGiven * static_cast<Size>(pool->most_workers)));
        pool->workers = static_cast<Worker *>(palloc0(sizeof(Worker) * static_cast<Size>(pool->most_workers)));
        pool->segment = create_shared_validation(import, desc->tdtypeid, pool->most_workers);
    }
    if (pool->segment == nullptr) {
        pool->most_workers = 0;
    } else {
        on_dsm_detach(pool->segment, terminate_workers, PointerGetDatum(pool));
    }
    MemoryContextSwitchTo(context);
    return pool;
}

bool take_chunk(ValidationPool *pool, core::Chunk *chunk) {
    if (pool->left_count > 0) {
        *chunk = pool->left[--pool->left_count];
        return true;
    }
    const bool found = plan_next(pool);
    *chunk = pool->next;
    pool->has_next = false;
    return found;
}

void tend_validation_pool(ValidationPool *pool) {
    for (int i = 0; i < pool->worker_count; i++) {
        if (pool->workers[i].chunks != nullptr) {
            take_rows(pool, &pool->workers[i]);
        }
    }
    give_chunks(pool);
}

bool wait_for_validation_pool(ValidationPool *pool) {
    bool busy = false;

    if (pool->left_count > 0) {
        return true; /* of a worker that was found lost just now */
    }
    for (int i = 0; i < pool->worker_count; i++) {
        busy = busy || pool->workers[i].given_count > 0;
    }
    if (busy) {
        const int events =
            WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, kLookInterval, kWaitForQueue);
        ResetLatch(MyLatch);
        CHECK_FOR_INTERRUPTS();
        if ((events & WL_TIMEOUT) != 0) {
            end_waiting_workers(pool);
        }
    }
    return busy;
}

void end_validation_pool(ValidationPool *pool) {
    for (int i = 0; i < pool->worker_count; i++) {
        if (pool->workers[i].chunks != nullptr) {
            shm_mq_detach(pool->workers[i].chunks); /* it will find no chunk any more */
            shm_mq_detach(pool->workers[i].rows);
        }
    }
    for (int i = 0; i < pool->worker_count; i++) {
        (void)WaitForBackgroundWorkerShutdown(pool->workers[i].handle);
        give_back_permit(&pool->workers[i].permit, PermitLife::Transaction);
    }
    if (pool->segment != nullptr) {
        dsm_detach(pool->segment);
    }
    MemoryContextDelete(pool->context);
}

} // namespace movielens_ingest::pg
