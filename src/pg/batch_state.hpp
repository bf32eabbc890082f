/*
 * batch_state.hpp - a batch as its leader sees it, for the files batch*.cpp. Not for others.
 */
#pragma once

#include "pg/chunk_loader.hpp"
#include "pg/ledger.hpp"
#include "pg/pg.hpp"
#include "pg/worker_pool.hpp"

namespace movielens_ingest::pg {

struct Batch {
    Loader loader; /* first: look_around() finds the batch by it */
    int count;
    BatchMember *members; /* by index, as in shared memory */
    uint32 *references;   /* prerequisites by index, ended ones too */
    bool *ended;
    bool *analyzed;             /* its target, for this import */
    bool *cancel_seen;          /* by ml_cancel() */
    const ErrorData **failures; /* by index: what ends an import when nobody loads its chunks any more; null: nothing */
    bool *indexed;              /* its indexes are built, or cannot be, or another import will do it */
    const ErrorData **unbuilt;  /* by index: why one of its indexes is missing that was put off; null: none is */
    int current;                /* the import that an error now would end, -1: all of them */
    WorkerPool *pool;
    bool planning;      /* the file of the current import */
    int *tries;         /* by index: plannings that failed, one after the other, because of something that may pass, */
    TimestampTz *later; /* and until when the next one waits */
    TimestampTz refreshed; /* when the counts were last written */
};

/* --- batch_begin.cpp: what comes before the first chunk --- */

constexpr int kPlanAhead = 4; /* chunks for each slot: the workers have some while the leader loads one */

/*
 * Reads its imports, makes the shared memory, starts no worker yet. False: it could not begin, and its imports have
 * ended.
 */
bool begin_batch(Batch *batch, int64 batch_id);
/* The locks of those imports that have not ended. To be called again after user code has run. */
void hold_import_locks(Batch *batch);
/* Once it is known which imports have ended: others leave the indexes of these tables to us. */
void hold_loading_locks(Batch *batch);

/* --- batch_ends.cpp: how imports end --- */

/* No chunk of the import is handed out any more; it ends when nobody loads one. */
void fail_import(Batch *batch, int index, const ErrorData *error);
/* The files that reference this one's table, which ended like that, cannot be loaded any more. */
void fail_dependents(Batch *batch, int index, const char *status);
/* Writes its end. status: null for what its chunks make of it; sqlstate and error go with a status. */
void end_member(Batch *batch, int index, const char *status, const char *sqlstate, const char *error);
/* Ends the imports that failed or are to be cancelled, once nobody loads their chunks any more. */
void end_given_up(Batch *batch);
/* Then no statement of ours can succeed any more, however often it is tried; what chunks have committed stays. */
bool extension_is_dropped(Batch *batch);

/* SQLSTATE and message of an error, for the life of the process. */
const ErrorData *keep_error(const ErrorData *error);

/*
 * What ml_cancel() has asked for in the ledger: its caller may not have found the shared memory, or an earlier leader
 * died of it. In a transaction.
 */
void take_requests(Batch *batch);
/* The leader was cancelled: by ml_cancel(), which says for which imports, or by hand: then all of them are meant. */
void take_cancel(Batch *batch);

/* --- batch_indexes.cpp: the indexes that were put off --- */

/*
 * Builds those of an import's target before the import ends, in whatever state; what it could not build is in unbuilt.
 * False: a cancel of another import came between; then again.
 */
bool index_target(Batch *batch, int index);
/* The same for an import that failed or was cancelled, where cancels are held; one that came before is forgotten. */
bool index_given_up(Batch *batch, int index);
/* What ended the import, and which index is missing. In the current memory context, or message itself. */
const char *last_words(const char *message, const ErrorData *unbuilt);

} // namespace movielens_ingest::pg
