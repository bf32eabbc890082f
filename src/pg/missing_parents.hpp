/*
 * missing_parents.hpp - records of a table that references itself which cannot go in, known before anything is written:
 * what they reference is neither in the table nor among the records that can go in.
 */
#pragma once

#include "pg/foreign_keys.hpp"
#include "pg/pg.hpp"
#include "pg/tuple_former.hpp"

namespace movielens_ingest::pg {

/* The foreign key by which a record has no referenced row. */
struct MissingParent {
    const ForeignKey *key;
    KeyPlaces places;
};

/*
 * By record: null if it may go in, as far as is known here. keys: by find_self_references_by_set(). Null tuples are
 * passed over. A record of which it cannot be told for sure is left to the trigger: one whose key has columns that the
 * file lacks, say. Nothing is locked. In the current memory context.
 */
const MissingParent **find_missing_parents(Relation target, List *keys, const TupleFormer *former,
                                           HeapTuple const *tuples, int count);

} // namespace movielens_ingest::pg
