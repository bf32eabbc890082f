/*
 * referenced_query.hpp - the queries that look for referenced rows: as the owner of their table, whose policies do not
 * apply to it (ri_PerformCheck), each with a snapshot of its own that sees what this transaction has done so far.
 */
#pragma once

#include "pg/foreign_keys.hpp"
#include "pg/key_set.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

enum class RowLock : uint8_t { None, KeyShare };

/* Which of the records have a referenced row, which is then locked. */
void look_up_keys(Relation target, const ForeignKey *key, const KeyPlaces *places, HeapTuple const *tuples,
                  const int *records, int count, RowLock lock, bool *present);

/* A row that such a record of the target references is there, now. Nothing is locked: the trigger does that. */
bool has_referenced_row(Relation target, const ForeignKeyCacheInfo *key, const Datum *values);

/*
 * The same for a temporal key: rows with the key's other columns cover the record's period together with these periods.
 */
bool is_covered(Relation target, const ForeignKeyCacheInfo *key, const Datum *values, Datum *periods, int count);

/* Reads all keys of the referenced table, integers, into the set. False: the set became larger, and there are more. */
bool read_all_keys(const ForeignKey *key, KeySet *set, Size most_memory);

} // namespace movielens_ingest::pg
