/*
 * constraint_checker.hpp - generated columns, NOT NULL and CHECK of a tuple that will not be inserted.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

struct ConstraintChecker;

/*
 * For one chunk, in the current memory context and transaction. columns: those that the file loads; left_out: those
 * whose values are not known, so that what depends on them is not checked (both as in RangeTblEntry.insertedCols).
 * Null: nothing can be said of a tuple before it is inserted, or there is nothing to check.
 */
ConstraintChecker *make_constraint_checker(Relation target, const Bitmapset *columns, const Bitmapset *left_out);

/* Raises the error that an INSERT of the tuple would raise. The tuple has to live until the next call. */
void check_constraints(ConstraintChecker *checker, HeapTuple tuple);

} // namespace movielens_ingest::pg
