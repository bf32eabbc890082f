#include "pg/launcher.hpp"

#include "pg/background_process.hpp"
#include "pg/pg.hpp"
#include "pg/seat.hpp"
#include "pg/settings.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr int kRestartTime = 5;       /* seconds, after an error of the launcher's own */
constexpr long kRetryInterval = 1000; /* milliseconds, while there is no slot for a scout */

/* Databases that can have imports. */
List *databases() {
    List *found = NIL;

    StartTransactionCommand();
    (void)GetTransactionSnapshot();
    Relation catalog = table_open(DatabaseRelationId, AccessShareLock);
    TableScanDesc scan = table_beginscan_catalog(catalog, 0, nullptr);
    for (HeapTuple tuple; (tuple = heap_getnext(scan, ForwardScanDirection)) != nullptr;) {
        const auto *database = reinterpret_cast<Form_pg_database>(GETSTRUCT(tuple));

        if (database->datallowconn && !database->datistemplate) {
            const MemoryContext context = MemoryContextSwitchTo(TopMemoryContext);
            found = lappend_oid(found, database->oid);
            MemoryContextSwitchTo(context);
        }
    }
    table_endscan(scan);
    table_close(catalog, AccessShareLock);
    CommitTransactionCommand();
    return found;
}

} // namespace

void register_launcher() {
    BackgroundWorker worker;

    memset(&worker, 0, sizeof(worker));
    worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
    worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
    worker.bgw_restart_time = kRestartTime;
    strlcpy(worker.bgw_library_name, "movielens_ingest", sizeof(worker.bgw_library_name));
    strlcpy(worker.bgw_function_name, "movielens_ingest_launcher_main", sizeof(worker.bgw_function_name));
    strlcpy(worker.bgw_name, kLauncherType, sizeof(worker.bgw_name));
    strlcpy(worker.bgw_type, kLauncherType, sizeof(worker.bgw_type));
    RegisterBackgroundWorker(&worker);
}

} // namespace movielens_ingest::pg

using namespace movielens_ingest::pg;

extern "C" void movielens_ingest_launcher_main(Datum) {
    List *left;

    begin_process(nullptr, 0);
    BackgroundWorkerInitializeConnection(nullptr, nullptr, 0);
    left = databases();
    for (;;) {
        ListCell *cell;

        /* Switched on later, it does so then. */
        foreach (cell, autoresume_setting() ? left : NIL) {
            if (register_scout(lfirst_oid(cell)) != nullptr) {
                left = foreach_delete_current(left, cell);
            }
        }
        /*
         * Without a slot: until a scout has ended, which sets the latch, or some other process. With every database
         * seen there is nothing more to do until the server starts again.
         */
        const bool wants_slot = left != NIL && autoresume_setting();
        (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (wants_slot ? WL_TIMEOUT : 0), kRetryInterval,
                        PG_WAIT_EXTENSION);
        ResetLatch(MyLatch);
        CHECK_FOR_INTERRUPTS();
        if (ConfigReloadPending) {
            ConfigReloadPending = false;
            ProcessConfigFile(PGC_SIGHUP);
        }
    }
}
