#include "pg/background_process.hpp"

#include "pg/process_permit.hpp"

namespace movielens_ingest::pg {

namespace {

/*
 * A chunk takes some megabytes, and gives them back at its end. The C library would return them to the system, which
 * would have to clear them again for the next chunk: a tenth of the time of loading. What is freed beyond a chunk's
 * worth does go back.
 */
void keep_freed_memory() {
#ifdef M_TRIM_THRESHOLD
    constexpr int kKept = 32 * 1024 * 1024;
    (void)mallopt(M_MMAP_THRESHOLD, kKept);
    (void)mallopt(M_TRIM_THRESHOLD, kKept);
#endif
}

} // namespace

BackgroundWorkerHandle *register_process(const char *function, const char *type, const char *name,
                                         const void *arguments, Size size, int restart_time) {
    BackgroundWorker worker;
    BackgroundWorkerHandle *handle;

    Assert(size <= BGW_EXTRALEN);
    memset(&worker, 0, sizeof(worker));
    worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
    worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
    worker.bgw_restart_time = restart_time;
    worker.bgw_notify_pid = MyProcPid;
    strlcpy(worker.bgw_library_name, "movielens_ingest", sizeof(worker.bgw_library_name));
    strlcpy(worker.bgw_function_name, function, sizeof(worker.bgw_function_name));
    strlcpy(worker.bgw_type, type, sizeof(worker.bgw_type));
    strlcpy(worker.bgw_name, name, sizeof(worker.bgw_name));
    memcpy(worker.bgw_extra, arguments, size);
    return RegisterDynamicBackgroundWorker(&worker, &handle) ? handle : nullptr;
}

void require_postmaster() {
    if (!PostmasterIsAlive()) {
        proc_exit(1); /* as WL_EXIT_ON_PM_DEATH has it */
    }
}

void wake_postmaster() { SendPostmasterSignal(PMSIGNAL_BACKGROUND_WORKER_CHANGE); }

void begin_process(void *arguments, Size size) {
    /* The default ends the process from within the handler (bgworker_die, before PostgreSQL 19). */
    pqsignal(SIGTERM, die);
    pqsignal(SIGHUP, SignalHandlerForConfigReload);
    give_back_permits_at_exit();
    BackgroundWorkerUnblockSignals();
    keep_freed_memory();
    if (size > 0) {
        memcpy(arguments, MyBgworkerEntry->bgw_extra, size);
    }
}

} // namespace movielens_ingest::pg
