/*
 * self_references.hpp - which records reference which, in a table with a foreign key to itself.
 */
#pragma once

#include "pg/pg.hpp"
#include "pg/tuple_former.hpp"

namespace movielens_ingest::pg {

struct SelfReferences;

/*
 * Of these records of a piece, which went in neither together nor alone, in the current memory context. It goes by what
 * the file says: a trigger may have changed it, and a key may have columns that the file lacks.
 */
SelfReferences *find_self_references(Relation target, const TupleFormer *former, HeapTuple const *tuples,
                                     const int *records, int count);

/* add_waiting() finds all of them. It does not where a key compares types that hash in different ways. */
bool knows_all_waiting(const SelfReferences *references);

/* Adds those of the records that may wait for this one to a list, by their places among the records. */
List *add_waiting(const SelfReferences *references, HeapTuple tuple, List *places);

/*
 * Without the records that are out: the most that can go in together, for what each of them references is one of them
 * or in the table (records that reference each other in a circle, and what depends on them). Returns how many.
 */
int find_linked(const SelfReferences *references, const bool *out, bool *linked);

} // namespace movielens_ingest::pg
