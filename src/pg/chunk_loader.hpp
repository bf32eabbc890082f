/*
 * chunk_loader.hpp - one chunk: its attempts, each a transaction, and what becomes of it when they fail.
 */
#pragma once

#include "pg/identity.hpp"
#include "pg/ledger.hpp"
#include "pg/pg.hpp"
#include "pg/shared_batch.hpp"

namespace movielens_ingest::pg {

/* A process that loads chunks of a batch: the leader or a worker. */
struct Loader {
    Identity identity;
    Ledger ledger;
    SharedBatch *shared;
    Import *imports[kMostImports]; /* by their index in shared; null: not read yet */
    uint32 held;                   /* by index: the imports whose locks a worker holds */
    int slot;                      /* 0: the leader */
    int64 leave;                   /* so many chunks are left to others before one is taken beforehand */
    bool next_begun;               /* the attempt at the chunk that was taken beforehand has begun: */
    LedgerChunk next;              /* this one */
    void (*look_around)(Loader *); /* the leader's other duties, done between chunks and in pauses; or null */
};

/*
 * What the loader needs of an import, for the life of the process: read from the ledger when it is asked for first.
 * With the first one the process takes over the settings of the session that called. Raises 55000 when it is gone.
 */
const Import *import_of(Loader *loader, int import);

/*
 * Takes chunks until there are none left. A chunk that is not Pending is left alone. After an error that no second try
 * can help, no chunk of its import is handed out any more.
 */
void load_chunks(Loader *loader);

/* How a chunk is loaded. */
enum class Company {
    Others, /* beside others */
    Alone,  /* nothing else of its import runs: a deadlock is not put off any more */
};

/*
 * Loads a chunk that the loader's slot has taken, and lets go of it. A leader that is cancelled meanwhile raises the
 * error.
 */
void load_chunk(Loader *loader, int import, int64 number, Company company);

/* Sleeps so many milliseconds; the leader looks around meanwhile. False: the import was stopped. */
bool pause(Loader *loader, int import, long milliseconds);
/* Takes the locks again that user code may have dropped. */
void keep_locks(Loader *loader, int import);

} // namespace movielens_ingest::pg
