/*
 * pending_writer.hpp - records that were refused because they reference rows of their own table that were not there:
 * once more into the target, many at a time.
 */
#pragma once

#include "pg/chunk_loader.hpp"
#include "pg/ledger.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/* Some of them. */
struct PendingPart {
    int64 before; /* in: those before this record of the file; out: before these */
    int count;    /* out: how many were tried; 0: there are none */
    int64 gone;   /* out: how many of them are pending no more */
};

/*
 * Tries them in the current transaction, as the current user, as one piece: those that go in, together or one after the
 * other, are rows, and rejects no more.
 */
void write_pending(Loader *loader, const Import *import, PendingPart *part);

} // namespace movielens_ingest::pg
