#include "pg/foreign_keys.hpp"

#include "pg/key_set.hpp"
#include "pg/pg.hpp"
#include "pg/planned_insert.hpp"
#include "pg/referenced_keys.hpp"
#include "pg/row_description.hpp"
#include "pg/tuple_value.hpp"

namespace movielens_ingest::pg {

namespace {

struct KeyColumns {
    Form_pg_attribute attributes[INDEX_MAX_KEYS];
};

bool is_referenced_elsewhere(const ForeignKey *key) {
    Relation referenced = table_open(key->referenced, AccessShareLock);
    const bool elsewhere = is_kept_elsewhere(referenced);

    table_close(referenced, AccessShareLock);
    return elsewhere;
}

/* Null, or why the trigger's query cannot be asked for many keys at once. */
const char *only_by_trigger(Relation target, const ForeignKey *key) {
    if (get_rel_relkind(key->referenced) != RELKIND_RELATION) {
        return "a foreign key references a partitioned table";
    }
    if (key->period) {
        return "a foreign key has a PERIOD";
    }
    for (int i = 0; i < key->count; i++) {
        const Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(target), key->columns[i] - 1);
        Oid left;
        Oid right;

        op_input_types(key->operators[i], &left, &right);
        /* unnest() would take a composite type apart. */
        if (attribute->attgenerated != '\0' || type_is_rowtype(attribute->atttypid) ||
            !OidIsValid(get_array_type(attribute->atttypid)) ||
            !IsBinaryCoercible(getBaseType(attribute->atttypid), right)) {
            return "a foreign key does not compare plain columns by plain equality";
        }
    }
    if (is_referenced_elsewhere(key)) {
        return "a foreign key references a table whose rows are kept elsewhere";
    }
    return nullptr;
}

bool is_integer(Oid type) { return type == INT2OID || type == INT4OID || type == INT8OID; }

/* One column, compared by the equality of integers of whatever width. */
bool compares_integers(Relation target, const ForeignKey *key) {
    const Oid referencing = TupleDescAttr(RelationGetDescr(target), key->columns[0] - 1)->atttypid;
    const Oid referenced = get_atttype(key->referenced, key->referenced_columns[0]);

    return key->count == 1 && op_in_opfamily(key->operators[0], INTEGER_BTREE_FAM_OID) &&
           is_integer(getBaseType(referencing)) && is_integer(getBaseType(referenced));
}

/* Of records that this session inserts. */
bool checks_foreign_key(const Trigger *trigger) {
    return RI_FKey_trigger_type(trigger->tgfoid) == RI_TRIGGER_FK && TRIGGER_FOR_INSERT(trigger->tgtype) &&
           trigger_fires(trigger);
}

ForeignKey *read_foreign_key(Relation target, const Trigger *trigger) {
    const HeapTuple tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(trigger->tgconstraint));
    auto *key = static_cast<ForeignKey *>(palloc0(sizeof(ForeignKey)));

    if (!HeapTupleIsValid(tuple)) {
        elog(ERROR, "cache lookup failed for constraint %u", trigger->tgconstraint);
    }
    auto *constraint = reinterpret_cast<Form_pg_constraint>(GETSTRUCT(tuple));
    key->constraint = trigger->tgconstraint;
    key->name = pstrdup(NameStr(constraint->conname));
    key->referenced = constraint->confrelid;
    key->period = has_period(constraint);
    key->match_full = constraint->confmatchtype == FKCONSTR_MATCH_FULL;
    DeconstructFkConstraintRow(tuple, &key->count, key->columns, key->referenced_columns, key->operators, nullptr,
                               nullptr, nullptr, nullptr);
    ReleaseSysCache(tuple);
    key->integers = compares_integers(target, key);
    return key;
}

KeyColumns columns_of(Relation target, const ForeignKey *key) {
    KeyColumns columns;

    for (int i = 0; i < key->count; i++) {
        columns.attributes[i] = TupleDescAttr(RelationGetDescr(target), key->columns[i] - 1);
    }
    return columns;
}

void read_key(const ForeignKey *key, const KeyPlaces *places, HeapTuple tuple, Datum *values, bool *nulls) {
    for (int i = 0; i < key->count; i++) {
        values[i] = tuple_value(tuple, places->columns[i], places->desc, &nulls[i]);
    }
}

int count_nulls(const ForeignKey *key, const bool *nulls) {
    int count = 0;

    for (int i = 0; i < key->count; i++) {
        count += nulls[i] ? 1 : 0;
    }
    return count;
}

Refusal violation(Relation target, const ForeignKey *key, const char *detail) {
    return {ERRCODE_FOREIGN_KEY_VIOLATION,
            psprintf(_("insert or update on table \"%s\" violates foreign key constraint \"%s\""),
                     RelationGetRelationName(target), key->name),
            detail, nullptr};
}

/* The keys that have to be looked up: integers. */
void read_integers(Relation target, const ForeignKey *key, HeapTuple const *tuples, int count, const Refusal *refusals,
                   KeyBatch *batch) {
    const TupleDesc desc = RelationGetDescr(target);
    const int column = key->columns[0];

    for (int record = 0; record < count; record++) {
        bool null;

        if (tuples[record] == nullptr || refusals[record].sqlerrcode != 0) {
            continue;
        }
        const Datum value = tuple_value(tuples[record], column, desc, &null);
        if (!null) {
            add_integer(batch, record, TupleDescAttr(desc, column - 1), value);
        }
    }
}

/* The same, of any kind. Refuses records whose nulls MATCH FULL does not allow. */
void read_keys(Relation target, const ForeignKey *key, HeapTuple const *tuples, int count, Refusal *refusals,
               MemoryContext result_context, KeyBatch *batch) {
    const KeyColumns columns = columns_of(target, key);
    const KeyPlaces places = places_in_row(target, key);
    Datum values[INDEX_MAX_KEYS];
    bool nulls[INDEX_MAX_KEYS];

    for (int record = 0; record < count; record++) {
        if (tuples[record] == nullptr || refusals[record].sqlerrcode != 0) {
            continue;
        }
        read_key(key, &places, tuples[record], values, nulls);
        const int null_count = count_nulls(key, nulls);
        if (null_count == 0) {
            add_bytes(batch, record, columns.attributes, values, key->count);
        } else if (key->match_full && null_count < key->count) {
            const MemoryContext context = MemoryContextSwitchTo(result_context);
            refusals[record] =
                violation(target, key, _("MATCH FULL does not allow mixing of null and nonnull key values."));
            MemoryContextSwitchTo(context);
        }
    }
}

void check_foreign_key(Relation target, const ForeignKey *key, int keys, HeapTuple const *tuples, int count,
                       Refusal *refusals, MemoryContext result_context) {
    KeyBatch batch = make_key_batch(key->integers, count);

    if (key->integers) {
        read_integers(target, key, tuples, count, refusals, &batch);
    } else {
        read_keys(target, key, tuples, count, refusals, result_context, &batch);
    }
    auto *orphans =
        static_cast<int *>(palloc_extended(sizeof(int) * static_cast<Size>(Max(batch.count, 1)), MCXT_ALLOC_HUGE));

    if (batch.count == 0) {
        return;
    }
    const int orphan_count = find_unreferenced(target, key, keys, tuples, &batch, orphans);
    const KeyPlaces places = places_in_row(target, key);
    const MemoryContext context = MemoryContextSwitchTo(result_context);
    for (int i = 0; i < orphan_count; i++) {
        const int record = batch.records[orphans[i]];
        refusals[record] = orphan(target, key, &places, tuples[record]);
    }
    MemoryContextSwitchTo(context);
}

} // namespace

bool trigger_fires(const Trigger *trigger) {
    return SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA
               ? trigger->tgenabled == TRIGGER_FIRES_ON_REPLICA || trigger->tgenabled == TRIGGER_FIRES_ALWAYS
               : trigger->tgenabled != TRIGGER_DISABLED && trigger->tgenabled != TRIGGER_FIRES_ON_REPLICA;
}

List *self_reference_keys(Relation target) {
    List *keys = NIL;
    ListCell *cell;

    List *selves = target->rd_rel->relispartition ? get_partition_ancestors(RelationGetRelid(target)) : NIL;
    selves = lappend_oid(selves, RelationGetRelid(target));
    foreach (cell, RelationGetFKeyList(target)) {
        const auto *key = static_cast<ForeignKeyCacheInfo *>(lfirst(cell));
        if (is_enforced(key) && list_member_oid(selves, key->confrelid)) {
            keys = lappend(keys, copyObjectImpl(key));
        }
    }
    return keys;
}

List *find_self_references_by_set(Relation target) {
    /* A copy: the relation's own may be rebuilt while the catalogs are read. */
    const TriggerDesc *triggers = CopyTriggerDesc(target->trigdesc);
    List *keys = NIL;

    for (int i = 0; triggers != nullptr && i < triggers->numtriggers; i++) {
        if (checks_foreign_key(&triggers->triggers[i])) {
            ForeignKey *key = read_foreign_key(target, &triggers->triggers[i]);
            if (key->referenced == RelationGetRelid(target) && only_by_trigger(target, key) == nullptr) {
                keys = lappend(keys, key);
            }
        }
    }
    return keys;
}

KeyPlaces places_in_row(Relation target, const ForeignKey *key) {
    KeyPlaces places = {RelationGetDescr(target), {}};

    std::copy(key->columns, key->columns + key->count, places.columns);
    return places;
}

Refusal orphan(Relation target, const ForeignKey *key, const KeyPlaces *places, HeapTuple tuple) {
    Datum values[INDEX_MAX_KEYS];
    bool nulls[INDEX_MAX_KEYS];

    read_key(key, places, tuple, values, nulls);
    const KeyDescription shown = describe_key(target, key->columns, key->count, values, nulls);
    const char *referenced = get_rel_name(key->referenced);
    return violation(target, key,
                     shown.names != nullptr ? psprintf(_("Key (%s)=(%s) is not present in table \"%s\"."), shown.names,
                                                       shown.values, referenced)
                                            : psprintf(_("Key is not present in table \"%s\"."), referenced));
}

List *find_foreign_keys(Relation target, const char **why) {
    const TriggerDesc *triggers = CopyTriggerDesc(target->trigdesc);
    List *keys = NIL;

    *why = self_reference_keys(target) != NIL ? "it references itself" : nullptr;
    for (int i = 0; triggers != nullptr && i < triggers->numtriggers && *why == nullptr; i++) {
        const Trigger *trigger = &triggers->triggers[i];

        if (checks_foreign_key(trigger)) {
            ForeignKey *key = read_foreign_key(target, trigger);
            *why = only_by_trigger(target, key);
            keys = lappend(keys, key);
        }
    }
    return *why == nullptr ? keys : NIL;
}

void check_foreign_keys(Relation target, List *keys, HeapTuple const *tuples, int count, Refusal *refusals) {
    ListCell *cell;

    foreach (cell, keys) {
        const MemoryContext context =
            AllocSetContextCreate(CurrentMemoryContext, "movielens_ingest foreign key", ALLOCSET_DEFAULT_SIZES);
        const MemoryContext result_context = MemoryContextSwitchTo(context);
        check_foreign_key(target, static_cast<ForeignKey *>(lfirst(cell)), list_length(keys), tuples, count, refusals,
                          result_context);
        MemoryContextSwitchTo(result_context);
        MemoryContextDelete(context);
    }
}

} // namespace movielens_ingest::pg
