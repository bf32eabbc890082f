/*
 * self_references.hpp - which records of a piece wait for which, in a table with a foreign key to itself.
 */
#pragma once

#include "pg/pg.hpp"
#include "pg/tuple_former.hpp"

namespace movielens_ingest::pg {

struct SelfReferences;

/*
 * Of these records of the piece, in the current memory context. It goes by what the file says: a trigger may have
 * changed it, and a key may have columns that the file lacks.
 */
SelfReferences *find_self_references(Relation target, const TupleFormer *former, HeapTuple const *tuples,
                                     const int *records, int count);

/* Adds those of the records that may wait for this one to a list, by their places among the records. */
List *add_waiting(const SelfReferences *references, HeapTuple tuple, List *places);

} // namespace movielens_ingest::pg
