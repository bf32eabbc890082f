/*
 * risky_step.hpp - what a leader, or who comes in its place, does besides loading chunks, and what may crash the server
 * as these may: it is counted before it begins, and taken back when it has ended in any other way. Without that, the
 * launcher would go on with such an import for ever.
 *
 * What else a leader does runs fixed statements of the ledger, and no code of a user's.
 */
#pragma once

#include "pg/chunk_loader.hpp"
#include "pg/identity.hpp"
#include "pg/ledger.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/* In how many crashes of the server the step was going on. of: see RiskyStep. */
int crashes_in_step(Loader *leader, RiskyStep step, int64 of);

/* One at a time. The count is committed, whatever synchronous_commit is. files: OID of uploaded_files. */
void begin_risky_step(const Identity *identity, Oid files, RiskyStep step, int64 of);
inline void begin_risky_step(Loader *leader, RiskyStep step, int64 of) {
    begin_risky_step(&leader->identity, leader->ledger.files, step, of);
}
/* Does nothing when none has begun. */
void end_risky_step();

} // namespace movielens_ingest::pg
