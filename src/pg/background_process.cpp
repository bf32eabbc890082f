#include "pg/background_process.hpp"

#include "pg/library_build.hpp"
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

/* A build cannot know what another one means by its arguments. With exit code 1 the process would be started again. */
void require_own_build() {
    uint32 build;

    memcpy(&build, MyBgworkerEntry->bgw_extra, sizeof(build));
    if (build != library_build()) {
        ereport(LOG, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                      errmsg("\"%s\" ends: it was started by another build of library \"movielens_ingest\"",
                             MyBgworkerEntry->bgw_name),
                      errdetail("The library was replaced while the server was running."),
                      errhint("Reconnect, or restart the server if shared_preload_libraries names the library.")));
        proc_exit(0);
    }
}

/*
 * For good, whatever the server, the database or the role has set: before the process connects, which reads that in a
 * transaction; and as what RESET in a user's function goes back to.
 */
void overrule(const char *name, const char *value) { SetConfigOption(name, value, PGC_SUSET, PGC_S_OVERRIDE); }

void overrule_settings() {
    overrule("exit_on_error", "off"); /* an error is a loader's daily bread, and must not end it */
    if (kHasTransactionTimeout) {
        overrule("transaction_timeout", "0"); /* as AutoVacWorkerMain() has it */
    }
}

} // namespace

BackgroundWorkerHandle *register_process(const char *function, const char *type, const char *name,
                                         const void *arguments, Size size, int restart_time) {
    BackgroundWorker worker;
    BackgroundWorkerHandle *handle;

    const uint32 build = library_build();

    Assert(size <= kMostArguments);
    memset(&worker, 0, sizeof(worker));
    worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
    worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
    worker.bgw_restart_time = restart_time;
    worker.bgw_notify_pid = MyProcPid;
    strlcpy(worker.bgw_library_name, "movielens_ingest", sizeof(worker.bgw_library_name));
    strlcpy(worker.bgw_function_name, function, sizeof(worker.bgw_function_name));
    strlcpy(worker.bgw_type, type, sizeof(worker.bgw_type));
    strlcpy(worker.bgw_name, name, sizeof(worker.bgw_name));
    memcpy(worker.bgw_extra, &build, sizeof(build));
    memcpy(worker.bgw_extra + sizeof(build), arguments, size);
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
    overrule_settings();
    BackgroundWorkerUnblockSignals();
    keep_freed_memory();
    if (size > 0) {
        require_own_build();
        memcpy(arguments, MyBgworkerEntry->bgw_extra + sizeof(uint32), size);
    }
}

} // namespace movielens_ingest::pg
