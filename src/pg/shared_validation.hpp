/*
 * shared_validation.hpp - what a session that validates a file shares with its workers: what they need to know, and for
 * each worker two queues. Through one it is told which chunks to validate; through the other it sends the rows that it
 * refuses, and behind those of a chunk an empty message.
 */
#pragma once

#include "pg/identity.hpp"
#include "pg/ledger.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

constexpr int kMostChunksGiven = 2; /* to a worker: one that it validates and one that it finds next */

struct SharedValidation {
    uint32 magic;
    int session_pid;
    Identity identity;
    Oid row_type; /* of rejected_rows */
    int workers;
    Size import_offset; /* in the segment */
};

/* Session: a new segment for so many workers, until the current resource owner is released. Null: there is no room. */
dsm_segment *create_shared_validation(const Import *import, Oid row_type, int workers);
/* Worker: attaches it until the process ends. Null: the session is gone. */
dsm_segment *attach_shared_validation(dsm_handle handle);

SharedValidation *shared_validation(dsm_segment *segment);
/* The import with its settings, in the current memory context. */
Import *read_shared_import(const SharedValidation *shared);
/* Of a worker, counted from 0. */
shm_mq *chunk_queue(SharedValidation *shared, int worker);
shm_mq *row_queue(SharedValidation *shared, int worker);

} // namespace movielens_ingest::pg
