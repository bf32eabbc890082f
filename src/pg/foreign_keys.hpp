/*
 * foreign_keys.hpp - the target's foreign keys, checked for many records at once, before the records go in.
 *
 * The guarantee is that of the trigger (RI_FKey_check); referenced_keys.hpp says how it comes about. It must not run in
 * a subtransaction that is rolled back while its records stay, for row locks would go with it.
 */
#pragma once

#include "pg/pg.hpp"
#include "pg/refusal.hpp"

namespace movielens_ingest::pg {

/* This session fires the trigger (TriggerEnabled). */
bool trigger_fires(const Trigger *trigger);

struct ForeignKey {
    Oid constraint;
    const char *name;
    Oid referenced;
    int count; /* columns */
    int16 columns[INDEX_MAX_KEYS];
    int16 referenced_columns[INDEX_MAX_KEYS];
    Oid operators[INDEX_MAX_KEYS]; /* referenced = referencing */
    bool match_full;
    bool period;   /* temporal, from 18 on */
    bool integers; /* one column; see key_set.hpp */
};

/*
 * The foreign keys whose triggers fire for this session, as ForeignKey, in the current memory context. Null and why:
 * for one of them only the trigger itself will do.
 */
List *find_foreign_keys(Relation target, const char **why);

/* The target's foreign keys to itself that are enforced, or to a table that it is a partition of, as
 * ForeignKeyCacheInfo. */
List *self_reference_keys(Relation target);

/* Those of them whose triggers fire for this session, and that can be looked up as a set; as ForeignKey. */
List *find_self_references_by_set(Relation target);

/* Where the referencing columns stand in tuples, from 1. */
struct KeyPlaces {
    TupleDesc desc;
    int columns[INDEX_MAX_KEYS];
};

/* In rows of the target. */
KeyPlaces places_in_row(Relation target, const ForeignKey *key);

/* What a record without a referenced row is refused for, in the current memory context. */
Refusal orphan(Relation target, const ForeignKey *key, const KeyPlaces *places, HeapTuple tuple);

/*
 * Checks the rows, which are of the target; null ones are passed over. Sets the refusal of those that have no
 * referenced row.
 */
void check_foreign_keys(Relation target, List *keys, HeapTuple const *tuples, int count, Refusal *refusals);

} // namespace movielens_ingest::pg
