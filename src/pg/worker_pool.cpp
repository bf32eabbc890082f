#include "pg/worker_pool.hpp"

#include "pg/background_process.hpp"
#include "pg/cancel_hold.hpp"
#include "pg/patience.hpp"
#include "pg/pg.hpp"
#include "pg/process_permit.hpp"
#include "pg/shared_chunks.hpp"
#include "pg/worker.hpp"

namespace movielens_ingest::pg {

/* A slot of the shared memory; 0 is the leader's own. */
struct PoolSlot {
    BackgroundWorkerHandle *handle; /* null: no worker */
    ProcessPermit permit;           /* of the worker */
    bool lost; /* without a chunk: another one would be lost again, and nothing would count how often */
};

struct WorkerPool {
    Loader *leader;
    dsm_handle segment;
    PoolSlot *slot;
    int slots;
    bool short_of_workers;
};

namespace {

/* Runs in any exit of the leader, errors and SIGTERM included. */
void terminate_workers(int, Datum argument) {
    auto *pool = static_cast<WorkerPool *>(reinterpret_cast<void *>(DatumGetPointer(argument)));

    stop_batch(pool->leader->shared);
    for (int slot = 1; slot < pool->slots; slot++) {
        if (pool->slot[slot].handle != nullptr) {
            TerminateBackgroundWorker(pool->slot[slot].handle);
        }
    }
}

Shortage start_worker(WorkerPool *pool, int slot) {
    const Identity *identity = &pool->leader->identity;
    PoolSlot *own = &pool->slot[slot];
    char name[BGW_MAXLEN];

    begin_transaction(identity);
    const Shortage shortage =
        take_permit(identity->authenticated_user, identity->process_limit, PermitLife::Process, &own->permit);
    commit_transaction();
    if (shortage != Shortage::None) {
        return shortage;
    }
    const WorkerArguments arguments = {pool->segment, slot, *identity, own->permit};
    snprintf(name, sizeof(name), "movielens_ingest worker %d for import " INT64_FORMAT, slot, pool->leader->shared->id);
    const MemoryContext context = MemoryContextSwitchTo(TopMemoryContext);
    /* It is for the leader to replace it. */
    own->handle = register_process("movielens_ingest_worker_main", kWorkerType, name, &arguments, sizeof(arguments),
                                   BGW_NEVER_RESTART);
    MemoryContextSwitchTo(context);
    if (own->handle == nullptr) {
        give_back_permit(&own->permit, PermitLife::Process);
        return Shortage::Slots;
    }
    return Shortage::None;
}

int count_workers(const WorkerPool *pool) {
    int count = 0;

    for (int slot = 1; slot < pool->slots; slot++) {
        count += pool->slot[slot].handle != nullptr ? 1 : 0;
    }
    return count;
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
    pool->slot = static_cast<PoolSlot *>(
        MemoryContextAllocZero(TopMemoryContext, sizeof(PoolSlot) * static_cast<Size>(pool->slots)));
    before_shmem_exit(terminate_workers, PointerGetDatum(pool));
    return pool;
}

void start_workers(WorkerPool *pool) {
    SharedBatch *shared = pool->leader->shared;
    /* Workers that are there take theirs, and the leader one. */
    const int64 wanted = chunks_available(shared) + processes_loading(shared);
    const int processes = static_cast<int>(Min(wanted, static_cast<int64>(pool->slots)));
    int missing = processes - 1 - count_workers(pool);
    Shortage shortage = Shortage::None;

    for (int slot = 1; slot < pool->slots && missing > 0 && shortage == Shortage::None; slot++) {
        if (pool->slot[slot].handle == nullptr && !pool->slot[slot].lost) {
            shortage = start_worker(pool, slot);
            missing--;
        }
    }
    /* What its role may not have, it does not wait for. */
    show_waiting(Waiting::Workers, shortage == Shortage::Slots || shortage == Shortage::Server
                                       ? pool->leader->identity.authenticated_user
                                       : InvalidOid);
    if (shortage != Shortage::None) {
        ereport(pool->short_of_workers ? DEBUG1 : LOG, (errmsg("import " INT64_FORMAT " goes on with %d of %d workers",
                                                               shared->id, count_workers(pool), pool->slots - 1),
                                                        errhint("%s", shortage_hint(shortage))));
        pool->short_of_workers = true;
    }
}

int tend_workers(WorkerPool *pool) {
    int alive = 0;

    for (int slot = 1; slot < pool->slots; slot++) {
        PoolSlot *own = &pool->slot[slot];
        pid_t pid;

        if (own->handle == nullptr) {
            continue;
        }
        if (GetBackgroundWorkerPid(own->handle, &pid) != BGWH_STOPPED) {
            alive++;
            continue;
        }
        pfree(own->handle);
        own->handle = nullptr;
        give_back_permit(&own->permit, PermitLife::Process);

        int import;
        int64 number;
        const bool asked = take_back_request_to_leave(pool->leader->shared, slot);
        const bool lost = abandoned_chunk(pool->leader->shared, slot, &import, &number);
        if (lost && number > 0) {
            return_chunk(pool, import, number);
        }
        own->lost = !lost && !asked;
        if (lost && chunks_are_waiting(pool->leader->shared) && start_worker(pool, slot) == Shortage::None) {
            alive++;
        }
    }
    return alive;
}

void make_room(WorkerPool *pool) {
    const Identity *identity = &pool->leader->identity;

    if (count_workers(pool) > 0 && should_make_room(identity->authenticated_user, identity->process_limit)) {
        for (int slot = 1; slot < pool->slots; slot++) {
            if (pool->slot[slot].handle != nullptr) {
                ask_to_leave(pool->leader->shared, slot);
                return;
            }
        }
    }
}

void end_workers(WorkerPool *pool) {
    stop_batch(pool->leader->shared);
    for (int slot = 1; slot < pool->slots; slot++) {
        if (pool->slot[slot].handle != nullptr) {
            (void)WaitForBackgroundWorkerShutdown(pool->slot[slot].handle);
        }
    }
}

} // namespace movielens_ingest::pg
