#include "pg/worker.hpp"

#include "pg/background_process.hpp"
#include "pg/chunk_loader.hpp"
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
    loader.shared = attach_shared_import(arguments.segment);
    if (loader.shared != nullptr && prepare_loader(&loader, loader.shared->files, loader.shared->import_id)) {
        adopt_session(&loader);
        load_chunks(&loader, nullptr, nullptr);
    }
}
