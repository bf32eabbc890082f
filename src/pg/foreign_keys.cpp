#include "pg/foreign_keys.hpp"

#include "pg/pg.hpp"
#include "pg/row_description.hpp"

namespace movielens_ingest::pg {

namespace {

/* A record's key, by its hash. Records of the same hash stand together once they are sorted. */
struct KeyOfRecord {
    uint32 hash;
    int record;
    int group; /* records with this key, by its number */
};

struct KeyColumns {
    Form_pg_attribute attributes[INDEX_MAX_KEYS];
};

/* Null, or why the trigger's query cannot be asked for many keys at once. */
const char *only_by_trigger(Relation target, const ForeignKey *key) {
    if (get_rel_relkind(key->referenced) != RELKIND_RELATION) {
        return "a foreign key references a partitioned table";
    }
    for (int i = 0; i < key->count; i++) {
        const Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(target), key->columns[i] - 1);
        Oid left;
        Oid right;

        op_input_types(key->operators[i], &left, &right);
        if (attribute->attgenerated != '\0' || !OidIsValid(get_array_type(attribute->atttypid)) ||
            !IsBinaryCoercible(getBaseType(attribute->atttypid), right)) {
            return "a foreign key does not compare plain columns by plain equality";
        }
    }
    return nullptr;
}

ForeignKey *read_foreign_key(const Trigger *trigger) {
    const HeapTuple tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(trigger->tgconstraint));
    auto *key = static_cast<ForeignKey *>(palloc0(sizeof(ForeignKey)));

    if (!HeapTupleIsValid(tuple)) {
        elog(ERROR, "cache lookup failed for constraint %u", trigger->tgconstraint);
    }
    auto *constraint = reinterpret_cast<Form_pg_constraint>(GETSTRUCT(tuple));
    key->constraint = trigger->tgconstraint;
    key->name = pstrdup(NameStr(constraint->conname));
    key->referenced = constraint->confrelid;
    key->match_full = constraint->confmatchtype == FKCONSTR_MATCH_FULL;
    DeconstructFkConstraintRow(tuple, &key->count, key->columns, key->referenced_columns, key->operators, nullptr,
                               nullptr, nullptr, nullptr);
    ReleaseSysCache(tuple);
    return key;
}

KeyColumns columns_of(Relation target, const ForeignKey *key) {
    KeyColumns columns;

    for (int i = 0; i < key->count; i++) {
        columns.attributes[i] = TupleDescAttr(RelationGetDescr(target), key->columns[i] - 1);
    }
    return columns;
}

void read_key(Relation target, const ForeignKey *key, HeapTuple tuple, Datum *values, bool *nulls) {
    for (int i = 0; i < key->count; i++) {
        values[i] = heap_getattr(tuple, key->columns[i], RelationGetDescr(target), &nulls[i]);
    }
}

int count_nulls(const ForeignKey *key, const bool *nulls) {
    int count = 0;

    for (int i = 0; i < key->count; i++) {
        count += nulls[i] ? 1 : 0;
    }
    return count;
}

bool same_key(Relation target, const ForeignKey *key, const KeyColumns *columns, HeapTuple a, HeapTuple b) {
    Datum values[2][INDEX_MAX_KEYS];
    bool nulls[INDEX_MAX_KEYS];

    read_key(target, key, a, values[0], nulls);
    read_key(target, key, b, values[1], nulls);
    for (int i = 0; i < key->count; i++) {
        const Form_pg_attribute attribute = columns->attributes[i];
        if (!datum_image_eq(values[0][i], values[1][i], attribute->attbyval, attribute->attlen)) {
            return false;
        }
    }
    return true;
}

Refusal violation(Relation target, const ForeignKey *key, const char *detail) {
    return {ERRCODE_FOREIGN_KEY_VIOLATION,
            psprintf(_("insert or update on table \"%s\" violates foreign key constraint \"%s\""),
                     RelationGetRelationName(target), key->name),
            detail, nullptr};
}

Refusal orphan(Relation target, const ForeignKey *key, HeapTuple tuple) {
    Datum values[INDEX_MAX_KEYS];
    bool nulls[INDEX_MAX_KEYS];

    read_key(target, key, tuple, values, nulls);
    const KeyDescription shown = describe_key(target, key->columns, key->count, values, nulls);
    const char *referenced = get_rel_name(key->referenced);
    return violation(target, key,
                     shown.names != nullptr ? psprintf(_("Key (%s)=(%s) is not present in table \"%s\"."), shown.names,
                                                       shown.values, referenced)
                                            : psprintf(_("Key is not present in table \"%s\"."), referenced));
}

/* Those that have to be looked up, with hashes. Refuses those whose nulls MATCH FULL does not allow. */
KeyOfRecord *read_keys(Relation target, const ForeignKey *key, HeapTuple const *tuples, int count, Refusal *refusals,
                       MemoryContext result_context, int *found) {
    const KeyColumns columns = columns_of(target, key);
    auto *keys = static_cast<KeyOfRecord *>(
        MemoryContextAllocHuge(CurrentMemoryContext, sizeof(KeyOfRecord) * static_cast<Size>(Max(count, 1))));
    Datum values[INDEX_MAX_KEYS];
    bool nulls[INDEX_MAX_KEYS];

    *found = 0;
    for (int record = 0; record < count; record++) {
        if (tuples[record] == nullptr || refusals[record].sqlerrcode != 0) {
            continue;
        }
        read_key(target, key, tuples[record], values, nulls);
        const int null_count = count_nulls(key, nulls);
        if (null_count > 0) {
            if (key->match_full && null_count < key->count) {
                const MemoryContext context = MemoryContextSwitchTo(result_context);
                refusals[record] =
                    violation(target, key, _("MATCH FULL does not allow mixing of null and nonnull key values."));
                MemoryContextSwitchTo(context);
            }
            continue;
        }
        uint32 hash = 0;
        for (int i = 0; i < key->count; i++) {
            const Form_pg_attribute attribute = columns.attributes[i];
            hash = hash_combine(hash, datum_image_hash(values[i], attribute->attbyval, attribute->attlen));
        }
        keys[(*found)++] = {hash, record, 0};
    }
    return keys;
}

/* Gives records with the same key the same group, and returns how many there are. firsts: a record of each. */
int group_keys(Relation target, const ForeignKey *key, HeapTuple const *tuples, KeyOfRecord *keys, int count,
               int *firsts) {
    const KeyColumns columns = columns_of(target, key);
    int groups = 0;

    std::sort(keys, keys + count, [](const KeyOfRecord &a, const KeyOfRecord &b) {
        return a.hash != b.hash ? a.hash < b.hash : a.record < b.record;
    });
    for (int i = 0, same_hash = 0; i < count; i++) {
        if (i == 0 || keys[i].hash != keys[i - 1].hash) {
            same_hash = groups; /* the first group of this hash */
        }
        int group = same_hash;
        while (group < groups && !same_key(target, key, &columns, tuples[firsts[group]], tuples[keys[i].record])) {
            group++;
        }
        if (group == groups) {
            firsts[groups++] = keys[i].record;
        }
        keys[i].group = group;
    }
    return groups;
}

/* As RI_FKey_check has it for one key; the operator is the constraint's, whatever search_path says. */
const char *lookup_query(Relation target, Relation referenced, const ForeignKey *key) {
    StringInfoData query;
    StringInfoData names;

    initStringInfo(&query);
    initStringInfo(&names);
    appendStringInfoString(&query, "SELECT k.n FROM ROWS FROM (");
    for (int i = 0; i < key->count; i++) {
        appendStringInfo(&query, "%spg_catalog.unnest($%d)", i > 0 ? ", " : "", i + 1);
        appendStringInfo(&names, "k%d, ", i);
    }
    appendStringInfo(&query, ") WITH ORDINALITY AS k (%sn) JOIN ONLY %s x ON ", names.data,
                     quote_qualified_identifier(get_namespace_name(RelationGetNamespace(referenced)),
                                                RelationGetRelationName(referenced)));
    for (int i = 0; i < key->count; i++) {
        const Form_pg_attribute left = TupleDescAttr(RelationGetDescr(referenced), key->referenced_columns[i] - 1);
        const Form_pg_attribute right = TupleDescAttr(RelationGetDescr(target), key->columns[i] - 1);

        if (i > 0) {
            appendStringInfoString(&query, " AND ");
        }
        generate_operator_clause(&query, psprintf("x.%s", quote_identifier(NameStr(left->attname))), left->atttypid,
                                 key->operators[i], psprintf("k.k%d", i), right->atttypid);
    }
    appendStringInfoString(&query, " FOR KEY SHARE OF x");
    return query.data;
}

/* Which of the groups have a referenced row; it is locked. */
void look_up(Relation target, const ForeignKey *key, HeapTuple const *tuples, const int *firsts, int groups,
             bool *present) {
    Relation referenced = table_open(key->referenced, RowShareLock);
    Datum arrays[INDEX_MAX_KEYS];
    Oid types[INDEX_MAX_KEYS];
    Oid user;
    int security_context;

    for (int i = 0; i < key->count; i++) {
        const Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(target), key->columns[i] - 1);
        auto *values = static_cast<Datum *>(palloc(sizeof(Datum) * static_cast<Size>(groups)));
        bool null;

        for (int group = 0; group < groups; group++) {
            values[group] = heap_getattr(tuples[firsts[group]], key->columns[i], RelationGetDescr(target), &null);
        }
        types[i] = get_array_type(attribute->atttypid);
        arrays[i] = PointerGetDatum(construct_array(values, groups, attribute->atttypid, attribute->attlen,
                                                    attribute->attbyval, attribute->attalign));
    }

    const char *query = lookup_query(target, referenced, key);
    GetUserIdAndSecContext(&user, &security_context);
    SetUserIdAndSecContext(RelationGetForm(referenced)->relowner,
                           security_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
    if (SPI_connect() != SPI_OK_CONNECT) {
        elog(ERROR, "SPI_connect failed");
    }
    if (SPI_execute_with_args(query, key->count, types, arrays, nullptr, false, 0) != SPI_OK_SELECT) {
        elog(ERROR, "could not run \"%s\"", query);
    }
    memset(present, 0, sizeof(bool) * static_cast<size_t>(groups));
    for (uint64 i = 0; i < SPI_processed; i++) {
        bool null;
        const int64 number = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &null));
        present[number - 1] = true;
    }
    if (SPI_finish() != SPI_OK_FINISH) {
        elog(ERROR, "SPI_finish failed");
    }
    SetUserIdAndSecContext(user, security_context);
    table_close(referenced, NoLock);
}

void check_foreign_key(Relation target, const ForeignKey *key, HeapTuple const *tuples, int count, Refusal *refusals,
                       MemoryContext result_context) {
    int key_count;
    KeyOfRecord *keys = read_keys(target, key, tuples, count, refusals, result_context, &key_count);

    if (key_count == 0) {
        return;
    }
    auto *firsts =
        static_cast<int *>(MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int) * static_cast<Size>(key_count)));
    const int groups = group_keys(target, key, tuples, keys, key_count, firsts);
    auto *present = static_cast<bool *>(palloc(sizeof(bool) * static_cast<Size>(groups)));
    look_up(target, key, tuples, firsts, groups, present);

    const MemoryContext context = MemoryContextSwitchTo(result_context);
    for (int i = 0; i < key_count; i++) {
        if (!present[keys[i].group]) {
            refusals[keys[i].record] = orphan(target, key, tuples[keys[i].record]);
        }
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
        if (list_member_oid(selves, static_cast<ForeignKeyCacheInfo *>(lfirst(cell))->confrelid)) {
            keys = lappend(keys, copyObjectImpl(lfirst(cell)));
        }
    }
    return keys;
}

List *find_foreign_keys(Relation target, const char **why) {
    /* A copy: the relation's own may be rebuilt while the catalogs are read. */
    const TriggerDesc *triggers = CopyTriggerDesc(target->trigdesc);
    List *keys = NIL;

    *why = self_reference_keys(target) != NIL ? "it references itself" : nullptr;
    for (int i = 0; triggers != nullptr && i < triggers->numtriggers && *why == nullptr; i++) {
        const Trigger *trigger = &triggers->triggers[i];

        if (RI_FKey_trigger_type(trigger->tgfoid) == RI_TRIGGER_FK && TRIGGER_FOR_INSERT(trigger->tgtype) &&
            trigger_fires(trigger)) {
            ForeignKey *key = read_foreign_key(trigger);
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
        check_foreign_key(target, static_cast<ForeignKey *>(lfirst(cell)), tuples, count, refusals, result_context);
        MemoryContextSwitchTo(result_context);
        MemoryContextDelete(context);
    }
}

} // namespace movielens_ingest::pg
