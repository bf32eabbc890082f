/*
 * tuple_former.hpp - makes a tuple of the target from a record: NextCopyFrom does it for COPY, and sets the order of
 * the steps and the words of the errors.
 */
#pragma once

#include "pg/ledger.hpp"
#include "pg/pg.hpp"
#include "pg/record_reader.hpp"

namespace movielens_ingest::pg {

struct TupleFormer;

/* Volatile defaults may leave something behind, as nextval() does. */
enum class Defaults : uint8_t { All, WithoutVolatile };

/* For one chunk, in the current memory context and transaction. Raises 42703 when a column has gone. */
TupleFormer *make_tuple_former(const Import *import, Relation target, Defaults defaults);

/* The columns whose defaults are not evaluated, as in RangeTblEntry.insertedCols: they are null in the tuples. */
const Bitmapset *columns_left_out(const TupleFormer *former);

/*
 * Forms the tuple of a record in the current memory context. Null: it cannot be done without raising an error, or
 * without running code that may; may_raise then raises the error that COPY would raise, or forms the tuple.
 */
HeapTuple form_tuple(TupleFormer *former, const char *bytes, const RecordPlace *record, bool may_raise);

/* After an error of form_tuple(): the column to blame, or null; and whether its input function refused the value. */
const char *column_at_fault(const TupleFormer *former);
bool value_was_refused(const TupleFormer *former);

/* True when forming a tuple may change the database, so that each has to be formed in a subtransaction of its own. */
bool forming_has_effects(const TupleFormer *former);

} // namespace movielens_ingest::pg
