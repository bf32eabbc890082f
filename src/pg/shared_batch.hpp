/*
 * shared_batch.hpp - what the leader and the workers of a batch share: who is asked to load which chunk, and how far
 * each import is. How chunks are handed out stands in shared_chunks.hpp.
 *
 * A batch is what one leader loads: the imports of a data set, or one import alone. This memory only spreads the work
 * and shows it; that no chunk is loaded twice never depends on it, but on the row locks of the ledger.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

constexpr int kMostImports = 16;                 /* in a batch */
constexpr uint32 kSharedBatchMagic = 0x6d6c6234; /* "mlb4" */

enum class Phase : int { Queued, Planning, Loading, Indexing, Analyzing, Ended };

/* How far an import is. */
struct Progress {
    Phase phase;
    int64 rows;     /* loaded, refused or skipped, of chunks that are being loaded too */
    int64 rejected; /* without those that are */
    int64 pending;  /* to be tried again when all chunks are in */
    int64 bytes;
    int64 total_bytes;
    int64 chunks_done;
    int64 chunks_failed;
    int64 chunks; /* known so far */
    int64 retries;
    int workers;                /* processes that load it, the leader counted */
    double rows_per_second;     /* in the last seconds */
    double rows_per_second_all; /* since loading began, or went on */
    double seconds_left;        /* by that; negative: not known */
};

/* What of a chunk is counted when its process lets go of it. */
struct ChunkEnd {
    enum class How { Completed, Failed, Left } how; /* Left: for later, or it was not Pending */
    int64 rows;
    int64 rejected;
    int64 pending;
    int64 bytes;
    int retries;
};

/* A moment, for rates. */
struct ProgressSample {
    TimestampTz at;
    int64 rows;
    int64 bytes;
};

struct SharedImport {
    int64 id;
    uint32 prerequisites; /* imports, by index, that must be loaded before a chunk of this one is handed out */
    int64 next_chunk;     /* to be handed out next; chunks are numbered from 1 */
    int64 ready_chunks;   /* chunks up to this one may be handed out */
    bool planned;         /* no chunk will be added */
    bool stopped;         /* hand out no chunk any more */
    int cancels; /* how often somebody has asked for its end; read without the mutex too, by itself: cancel_watch.hpp */
    bool loaded; /* all its chunks are Completed */
    int running; /* chunks that are being loaded, or taken beforehand */
    Progress progress;    /* but for chunks that are being loaded */
    ProgressSample begun; /* when loading began; at 0: not yet */
    ProgressSample before, last;
};

/* A process that loads chunks. */
struct SharedSlot {
    int pid;
    int import;            /* index, -1: it loads none */
    int64 chunk;           /* its number, 0: none */
    int next_import;       /* of the chunk that it has taken beforehand, */
    int64 next_chunk;      /* and its number, 0: none */
    bool leaves;           /* when it has loaded them */
    int64 refused;         /* records of it that were refused in the attempt that is going on */
    pg_atomic_uint64 rows; /* of this chunk, so far */
    pg_atomic_uint64 all_rows;
    pg_atomic_uint64 all_bytes;
};

struct SharedBatch {
    uint32 magic;
    int64 id;  /* that of its first import */
    Oid files; /* OID of uploaded_files */
    int leader_pid;
    int leader_pgprocno;
    ConditionVariable changed; /* of what stands below */
    slock_t mutex;             /* protects what stands below */
    bool exclusive;            /* only the leader may load */
    bool stopped;              /* hand out no chunk of any import */
    int import_count;
    SharedImport imports[kMostImports];
    int slots;
    SharedSlot slot[FLEXIBLE_ARRAY_MEMBER]; /* 0 is the leader's */
};

/* Leader: a new segment with so many slots, mapped until the process ends. Imports are added one by one. */
SharedBatch *create_shared_batch(int slots, Oid files, int64 batch_id, dsm_handle *handle);
void add_shared_import(SharedBatch *batch, int64 id, uint32 prerequisites);
/* Somebody else's memory is a batch of this build, and all that create_shared_batch() has written can be seen. */
bool is_shared_batch(const SharedBatch *batch);
/* Worker: null when the leader and its segment are gone. */
SharedBatch *attach_shared_batch(dsm_handle handle);

/* Under the mutex: the processes that have a chunk of the import in hand. */
inline int count_loading(const SharedBatch *batch, int import) {
    int loading = 0;

    for (int i = 0; i < batch->slots; i++) {
        loading += batch->slot[i].import == import ? 1 : 0;
    }
    return loading;
}

inline void wake_leader(const SharedBatch *batch) { SetLatch(&ProcGlobal->allProcs[batch->leader_pgprocno].procLatch); }

/* Leader: chunks from the first that is Pending up to this one are in the ledger. */
void offer_chunks(SharedBatch *batch, int import, int64 first_chunk, int64 ready_chunks, bool planned);

/* Ends the handing out of chunks of an import, in whatever state, or of all of them. */
void stop_import(SharedBatch *batch, int import);
void stop_batch(SharedBatch *batch);
bool import_is_stopped(SharedBatch *batch, int import);
bool import_is_planned(SharedBatch *batch, int import);
/* This process is the leader of the batch, or one of its workers: its user code makes a call. */
bool is_own_batch(Oid files, int64 batch_id);
/* It leads a batch of this ledger. */
bool is_leader(Oid files);

/*
 * The same, and the leader will end it as Cancelled. Processes that load its chunks are cancelled, and so is the leader
 * when it builds an index for it, or analyzes its table.
 */
void cancel_import(SharedBatch *batch, int import);
/* Cancels these processes once more. */
void signal_import(SharedBatch *batch, int import);
/* The leader is at another import, whose chunk may take long, and only it can end this one: it gives that chunk up. */
void interrupt_leader(SharedBatch *batch, int import);
int cancels_of(SharedBatch *batch, int import);
inline bool import_is_cancelled(SharedBatch *batch, int import) { return cancels_of(batch, import) > 0; }
bool some_import_is_cancelled(SharedBatch *batch);
/* All of it is in: what waits for it may begin. */
void set_loaded(SharedBatch *batch, int import);
bool import_is_loaded(SharedBatch *batch, int import);
/* The import and those that wait for it, by index as bits, without those that were stopped. */
uint32 imports_behind(SharedBatch *batch, int import);

/* Sleeps so many milliseconds. True: it was cut short because the import was stopped. */
bool sleep_unless_stopped(SharedBatch *batch, int import, long milliseconds);

} // namespace movielens_ingest::pg
