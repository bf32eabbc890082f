/*
 * validation_worker.hpp - a background worker that validates chunks for a session.
 */
#pragma once

#include "pg/pg.hpp"
#include "pg/process_permit.hpp"

namespace movielens_ingest::pg {

/* In bgw_extra. */
struct ValidationWorkerArguments {
    dsm_handle segment;
    int worker;
    ProcessPermit permit;
};

} // namespace movielens_ingest::pg

extern "C" PGDLLEXPORT void movielens_ingest_validation_worker_main(Datum);
