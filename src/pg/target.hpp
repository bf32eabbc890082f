/*
 * target.hpp - the table that is loaded into: which one it is, and whether this role may load into it.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

enum class Missing : uint8_t { Create, Error };

/*
 * The table for a file that came without a target: by the file's name, on the search path. A table of MovieLens that is
 * missing is made, with a NOTICE, or is an error. Raises 42P01 for a name that is not known.
 */
Oid find_target(const char *path, Missing missing);

/*
 * Opens the target with the lock that COPY takes, and raises an error unless it is something to load into, and the
 * current user may use its schema and load these columns. Raises 42P01 when it is gone. columns null: some column or
 * the table will do. name: what an error calls it when it is gone; null: by its OID.
 */
Relation open_target(Oid target, const char *name, const char *const *columns, int column_count);

/* The numbers of these columns, as in RangeTblEntry.insertedCols. */
Bitmapset *column_numbers(Relation target, const char *const *columns, int column_count);

/* The range table entry of an INSERT of these columns: what the executor checks, and what an error may show of a tuple.
 */
InsertTarget insert_target(Relation target, const Bitmapset *columns);

/* An INSERT may invoke a rule. */
bool has_insert_rule(Relation target);

/* It is a table of this database. */
bool can_be_analyzed(Oid target);

/* The current user may ANALYZE it, by the rule of vacuum_is_relation_owner. */
bool may_analyze(Oid target);

/* Its name, schema-qualified and quoted. */
const char *qualified_name(Relation target);

} // namespace movielens_ingest::pg
