/*
 * chunk_loader.hpp - one chunk: its attempts, each a transaction, and what becomes of it when they fail.
 */
#pragma once

#include "pg/identity.hpp"
#include "pg/ledger.hpp"
#include "pg/pg.hpp"
#include "pg/shared_import.hpp"

namespace movielens_ingest::pg {

/* A process that loads chunks of an import: the leader or a worker. */
struct Loader {
    Identity identity;
    Ledger ledger;
    Import import;
    SharedImport *shared;
    int slot;                      /* 0: the leader */
    void (*look_around)(Loader *); /* the leader's other duties, done between chunks and in pauses; or null */
};

/* Reads what a loader needs from the ledger, for the life of the process. False: the import is not there. */
bool prepare_loader(Loader *loader, Oid files, int64 import_id);

/* Takes over the settings of the session that called, for the life of the process. */
void adopt_session(const Loader *loader);

/*
 * Takes chunks until there are none left. A chunk that is not Pending is left alone. After an error that no second try
 * can help, no chunk of the import is handed out any more.
 */
void load_chunks(Loader *loader);

/* Loads one chunk; alone: nothing else of the import runs, so a deadlock is not put off any more. */
void load_chunk(Loader *loader, int64 number, bool alone);

} // namespace movielens_ingest::pg
