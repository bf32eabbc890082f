#include "pg/worker.hpp"

#include "pg/background_process.hpp"
#include "pg/chunk_loader.hpp"
#include "pg/import_lock.hpp"
#include "pg/pg.hpp"
#include "pg/shared_import.hpp"

using namespace movielens_ingest::pg;

extern "C" void movielens_ingest_worker_main(Datum) {
    WorkerArguments arguments;
    Loader loader;

    begin_process(&arguments, sizeof(arguments));
    connect_as(&arguments.identity);
    loader.identity = arguments.identity;
    loader.slot = arguments.slot;
    loader.look_around = nullptr;
    loader.shared = attach_shared_import(arguments.segment);
    if (loader.shared != nullptr && prepare_loader(&loader, loader.shared->files, loader.shared->import_id)) {
        hold_import_lock(loader.ledger.files, loader.import.id, false);
        adopt_session(&loader);
        load_chunks(&loader);
    }
}
