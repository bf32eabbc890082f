#include "pg/worker.hpp"

#include "pg/background_process.hpp"
#include "pg/cancel_hold.hpp"
#include "pg/chunk_loader.hpp"
#include "pg/pg.hpp"
#include "pg/shared_batch.hpp"

using namespace movielens_ingest::pg;

extern "C" void movielens_ingest_worker_main(Datum) {
    WorkerArguments arguments;
    Loader loader;
    bool found = false;

    begin_process(&arguments, sizeof(arguments));
    connect_as(&arguments.identity);
    hold_permit(&arguments.permit);
    (void)hold_cancels(); /* a worker is cancelled only while it loads a chunk: see try_chunk() */
    memset(&loader, 0, sizeof(loader));
    loader.identity = arguments.identity;
    loader.slot = arguments.slot;
    loader.shared = attach_shared_batch(arguments.segment);
    if (loader.shared != nullptr) {
        begin_transaction(&loader.identity);
        found = reopen_ledger(loader.shared->files, &loader.ledger);
        commit_transaction();
    }
    if (found) {
        load_chunks(&loader);
    }
}
