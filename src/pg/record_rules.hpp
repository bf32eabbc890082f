/*
 * record_rules.hpp - what a row must satisfy on its own: generated columns, NOT NULL, CHECK and the bounds of a
 * partition. ExecConstraints does it for COPY, and sets the order and the words.
 */
#pragma once

#include "pg/pg.hpp"
#include "pg/refusal.hpp"

namespace movielens_ingest::pg {

struct RecordRules;

/*
 * In the current memory context. columns: that the file loads, by column_numbers(). left_out, in the same way: that
 * have no value yet, so that what depends on them can neither be generated nor checked.
 */
RecordRules *make_record_rules(Relation target, const Bitmapset *columns, const Bitmapset *left_out, EState *estate);

/* True when apply_rules() runs code that may raise an error. */
bool rules_may_raise(const RecordRules *rules);

/*
 * Sets the generated columns among the values of a row, and checks it. False: it is refused; why, in the current memory
 * context. Values that it sets live until the next row.
 */
bool apply_rules(RecordRules *rules, Datum *values, bool *nulls, Refusal *why);

} // namespace movielens_ingest::pg
