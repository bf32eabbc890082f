/*
 * subscribed_table.hpp - tables that logical replication writes into.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/*
 * A subscription, also one that is disabled, has the table, or a partitioned one above it: the rows of that are looked
 * for in its partitions. Locks nothing.
 *
 * Where the publisher sends whole rows as their identity (REPLICA IDENTITY FULL), the subscriber looks for them, from
 * PostgreSQL 16 on, by any btree of the table that is live, and does not ask whether it is valid
 * (FindUsableIndexForReplicaIdentityFull): in one that has not all rows it would miss some, and go on.
 */
bool is_subscribed(Relation table);

} // namespace movielens_ingest::pg
