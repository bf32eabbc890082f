/*
 * batch.hpp - the imports of one leader, from plan to end: in which order, and what becomes of each.
 *
 * An import begins when those whose tables its own references are in; which these are is read from the foreign keys.
 * Among those that may begin small files come first, so that they do not wait behind big ones.
 */
#pragma once

#include "pg/identity.hpp"
#include "pg/ledger.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/*
 * Leads a batch whose imports are Processing, under an identity that this process has connected as, until each has
 * ended. An error that ends an import becomes its last status.
 */
void lead_batch(const Identity *identity, const Ledger *ledger, int64 batch_id);

} // namespace movielens_ingest::pg
