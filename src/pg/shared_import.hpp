/*
 * shared_import.hpp - what the leader and the workers of one import share: who is asked to load which chunk.
 *
 * It only spreads the work. That no chunk is loaded twice never depends on it, but on the row locks of the ledger.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

struct SharedImport {
    uint32 magic;
    int64 import_id;
    Oid files;                 /* OID of uploaded_files */
    ConditionVariable changed; /* of what stands below */
    slock_t mutex;             /* protects what stands below */
    int64 next_chunk;          /* to be handed out next; chunks are numbered from 1 */
    int64 ready_chunks;        /* chunks up to this one may be handed out */
    bool planned;              /* no chunk will be added */
    bool stopped;              /* hand out no chunk any more */
    int slots;
    int64 chunk[FLEXIBLE_ARRAY_MEMBER]; /* number of the chunk that each slot's process loads, 0: none. Slot 0 is the
                                           leader's */
};

/* Leader: a new segment with so many slots, mapped until the process ends. */
SharedImport *create_shared_import(int slots, Oid files, int64 import_id, dsm_handle *handle);

/* Worker: null when the leader and its segment are gone. */
SharedImport *attach_shared_import(dsm_handle handle);

/* Leader: chunks up to this one are in the ledger. */
void offer_chunks(SharedImport *shared, int64 ready_chunks, bool planned);

/* Ends the handing out of chunks, in whatever state. */
void stop_chunks(SharedImport *shared);
bool chunks_are_stopped(SharedImport *shared);

/* Sleeps so many milliseconds. True: it was cut short because the handing out was stopped. */
bool sleep_unless_stopped(SharedImport *shared, long milliseconds);

/* The number of the next chunk for this slot, waiting for the planner if need be. 0: there is none left. */
int64 take_chunk(SharedImport *shared, int slot);

/* The slot's chunk is loaded, or given up. */
void finish_chunk(SharedImport *shared, int slot);

/* The chunk that the slot's process left unfinished. 0: none. */
int64 abandoned_chunk(SharedImport *shared, int slot);

/* True while there are chunks that nobody has taken yet. */
bool chunks_are_waiting(SharedImport *shared);

} // namespace movielens_ingest::pg
