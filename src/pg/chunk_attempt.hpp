/*
 * chunk_attempt.hpp - one attempt at a chunk. It is counted, in a transaction of its own, before the work begins: what
 * a crash of the server takes with it is then known by what is left.
 */
#pragma once

#include "pg/chunk_loader.hpp"
#include "pg/ledger.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

constexpr int kCrashesBeforeAlone = 2; /* then a chunk is loaded while nothing else of the batch is */
constexpr int kMostCrashes = 3;        /* then it is given up */

/*
 * Counts the attempt, if it has not begun with the end of the one before. False: the chunk is not Pending, or only to
 * be loaded in other company.
 */
bool begin_attempt_at(Loader *loader, const Import *import, int64 number, Company company, LedgerChunk *chunk);

/*
 * The chunk's rows, its rejects and its row in the ledger: one transaction. Null, or the error that ended it, in the
 * given memory context. end: what was loaded, if anything.
 */
ErrorData *try_chunk(Loader *loader, const Import *import, const LedgerChunk *chunk, Company company,
                     MemoryContext context, ChunkEnd *end);

/* In this transaction all constraints are immediate, so that each violation has its record. */
void set_constraints_immediate();

/* The attempt has ended, and the ledger says how. */
void forget_attempt();
/*
 * The attempt, if there is one, was ended by none of its own faults: takes the count of a crash back, and that of the
 * attempt if it had only begun to be counted.
 */
void withdraw_attempt();

} // namespace movielens_ingest::pg
