#include "pg/worker.hpp"

#include "pg/chunk_loader.hpp"
#include "pg/pg.hpp"
#include "pg/shared_import.hpp"

using namespace movielens_ingest::pg;

extern "C" void movielens_ingest_worker_main(Datum) {
    WorkerArguments arguments;
    Loader loader;

    pqsignal(SIGTERM, die); /* the default ends the process from within the handler (bgworker_die, before PostgreSQL 19) */
    pqsignal(SIGHUP, SignalHandlerForConfigReload);
    BackgroundWorkerUnblockSignals();

    memcpy(&arguments, MyBgworkerEntry->bgw_extra, sizeof(arguments));
    connect_as(&arguments.identity);
    loader.identity = arguments.identity;
    loader.slot = arguments.slot;
    loader.shared = attach_shared_import(arguments.segment);
    if (loader.shared != nullptr && prepare_loader(&loader, loader.shared->files, loader.shared->import_id)) {
        load_chunks(&loader, nullptr, nullptr);
    }
}
