/*
 * batch_order.hpp - in which order the files of a batch are loaded, from the foreign keys of their tables.
 */
#pragma once

#include "pg/ledger.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/*
 * Sorts the members: those first whose tables others reference, and small files before big ones. Bit j of references[i]
 * is then set when the table of member i references that of member j, and i must wait for j. Tables that reference each
 * other in a circle wait for the earlier member only.
 */
void order_batch(const Ledger *ledger, BatchMember *members, int count, uint32 *references);

} // namespace movielens_ingest::pg
