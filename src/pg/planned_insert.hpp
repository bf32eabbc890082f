/*
 * planned_insert.hpp - who inserts into a table, as the server's planner says it, with all its hooks.
 *
 * The catalog calls a table a heap also when an extension keeps its rows elsewhere, in shards on other servers or in
 * chunks of its own: what stands in its heap is then nobody's. Such an extension says so where the statement is
 * planned, or it could not take the rows of an INSERT.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

enum class InsertedBy : uint8_t {
    Heap,     /* core's executor, which puts the row into this very table, and does nothing else */
    Executor, /* core's executor, which does more, for policies say */
    Other     /* whoever it is */
};

struct PlannedInsert {
    InsertedBy by;
    const char *why; /* it is not Heap, for the detail of an error; null: it is */
};

/*
 * Plans an INSERT of one row of parameters, by OIDs alone: no name is looked up. The table is locked by the caller, in
 * whichever mode. Such an INSERT that cannot be planned is by Other, whose error is told in why; but raises a cancel
 * and errors that may pass.
 */
PlannedInsert plan_insert(Relation target, const char *const *columns, int column_count);

/*
 * Others keep its rows. For a table that is not the caller's to insert into: its defaults, which are its owner's code
 * and which planning may run, are left out.
 */
bool is_kept_elsewhere(Relation table);

} // namespace movielens_ingest::pg
