/*
 * tuple_former.hpp - makes a tuple from a record: NextCopyFrom does it for COPY, and sets the order of the steps and
 * the words of the errors.
 */
#pragma once

#include "pg/ledger.hpp"
#include "pg/pg.hpp"
#include "pg/record_reader.hpp"
#include "pg/refusal.hpp"

namespace movielens_ingest::pg {

/* What the tuple of a record holds. */
enum class TupleShape : uint8_t {
    Row,    /* the row of the target, with its defaults and generated columns, which satisfies its rules */
    Known,  /* the same, but for volatile defaults (nextval() too), which are null, and for what depends on them */
    Fields, /* columns f1, f2, ... as the file has them, and behind them the record's index in its piece, record int4 */
};

struct TupleFormer;

/* For one chunk, in the current memory context and transaction. Raises 42703 when a column has gone. */
TupleFormer *make_tuple_former(const Import *import, Relation target, TupleShape shape);

TupleDesc formed_desc(const TupleFormer *former);

/* The index of the target's column in a tuple, or -1. */
int column_in_tuple(const TupleFormer *former, AttrNumber attnum);

enum class Formed : uint8_t {
    Tuple,
    Refused,
    NotTried, /* it cannot be done without running code that may raise an error */
};

/*
 * Forms the tuple of a record of a piece in the current memory context, or says why the record is refused, which is
 * valid until the next call. may_raise: where the server's own code has to decide, it does, and raises what COPY would
 * raise.
 */
Formed form_tuple(TupleFormer *former, const Piece *piece, int index, bool may_raise, HeapTuple *tuple, Refusal *why);

/* Memory for tuples, in the current context; it starts as {}, and is to be forgotten when that is reset. */
struct TupleRoom {
    char *next;
    Size left;
};

/*
 * Forms the tuples of the records [from, to) of a piece, without an error and without a call for each, up to the first
 * one that needs form_tuple(). Returns its index, or to.
 */
int form_plain_tuples(const TupleFormer *former, const Piece *piece, int from, int to, TupleRoom *room,
                      HeapTuple *tuples);

/* After an error of form_tuple(): the column to blame, or null; and whether its input function refused the value. */
const char *column_at_fault(const TupleFormer *former);
bool value_was_refused(const TupleFormer *former);

} // namespace movielens_ingest::pg
