/*
 * worker.hpp - a worker: loads chunks of one import until there are none left.
 */
#pragma once

#include "pg/background_process.hpp"
#include "pg/identity.hpp"
#include "pg/pg.hpp"
#include "pg/process_permit.hpp"

namespace movielens_ingest::pg {

/* In bgw_extra. */
struct WorkerArguments {
    dsm_handle segment;
    int slot;
    Identity identity;
    ProcessPermit permit;
};

static_assert(std::is_trivially_copyable_v<WorkerArguments> && sizeof(WorkerArguments) <= kMostArguments);

} // namespace movielens_ingest::pg

extern "C" PGDLLEXPORT void movielens_ingest_worker_main(Datum);
