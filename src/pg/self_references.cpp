#include "pg/self_references.hpp"

#include "pg/foreign_keys.hpp"
#include "pg/pg.hpp"
#include "pg/referenced_query.hpp"
#include "pg/tuple_value.hpp"

namespace movielens_ingest::pg {

namespace {

/* A record, by the hash of one of its keys. */
struct Hashed {
    uint32 hash;
    int place;
};

struct KeyColumn {
    int referencing; /* index in the tuples */
    int referenced;
    FmgrInfo *hash; /* null: by the bytes */
    Oid collation;
};

/*
 * A foreign key. Of a temporal one the last column is a period, which rows with the other columns cover together: it is
 * not hashed.
 */
struct SelfReference {
    ForeignKeyCacheInfo *key;
    int count;
    int hashed; /* columns */
    KeyColumn columns[INDEX_MAX_KEYS];
    Hashed *waiting; /* by the hash of what each references */
    int waiting_count;
    Hashed *holders; /* by the hash of what each is referenced by */
    int holder_count;
    int *linked;    /* of those with the same hash, by the index of the first one: how many may still go in */
    int *holder_of; /* the index of the first one with the place's hash; -1: a column is null */
};

} // namespace

struct SelfReferences {
    Relation target;
    TupleDesc desc;
    HeapTuple const *tuples;
    const int *records;
    int count;
    bool *hopeless;   /* by place: MATCH FULL does not allow its nulls */
    List *references; /* of SelfReference */
    bool unsure;      /* equal keys need not have the same hash */
};

namespace {

bool by_hash(const Hashed &a, const Hashed &b) { return a.hash < b.hash; }

struct HashedRange {
    int from;
    int to;
};

HashedRange with_hash(const Hashed *hashed, int count, uint32 hash) {
    const auto range = std::equal_range(hashed, hashed + count, Hashed{hash, 0}, by_hash);

    return {static_cast<int>(range.first - hashed), static_cast<int>(range.second - hashed)};
}

/* False: a column is null. Equal keys have the same hash if their types hash alike, or if their bytes are the same. */
bool hash_key(TupleDesc desc, HeapTuple tuple, const SelfReference *reference, bool referencing, uint32 *result) {
    uint32 hash = 0;

    for (int i = 0; i < reference->count; i++) {
        const KeyColumn *column = &reference->columns[i];
        const int index = referencing ? column->referencing : column->referenced;
        const Form_pg_attribute attribute = TupleDescAttr(desc, index);
        bool null;
        const Datum value = tuple_value(tuple, index + 1, desc, &null);

        if (null) {
            return false;
        }
        if (i >= reference->hashed) {
            continue;
        }
        const uint32 own = column->hash != nullptr
                               ? DatumGetUInt32(FunctionCall1Coll(column->hash, column->collation, value))
                               : datum_image_hash(value, attribute->attbyval, attribute->attlen);
        hash = hash_combine(hash, own);
    }
    *result = hash;
    return true;
}

/* Both columns' types hash equal values alike. */
FmgrInfo *common_hash(Form_pg_attribute referencing, Form_pg_attribute referenced) {
    TypeCacheEntry *one = lookup_type_cache(referencing->atttypid, TYPECACHE_HASH_PROC_FINFO);
    const TypeCacheEntry *other = lookup_type_cache(referenced->atttypid, TYPECACHE_HASH_PROC_FINFO);

    return OidIsValid(one->hash_proc) && one->hash_opf == other->hash_opf ? &one->hash_proc_finfo : nullptr;
}

/* Equal keys have the same hash. */
bool hashes_alike(TupleDesc desc, const SelfReference *reference) {
    return std::all_of(reference->columns, reference->columns + reference->hashed, [&](const KeyColumn &column) {
        return column.hash != nullptr ||
               TupleDescAttr(desc, column.referencing)->atttypid == TupleDescAttr(desc, column.referenced)->atttypid;
    });
}

/*
 * Null: it has columns that the file lacks, or it stands for another one: for each partition of a referenced table
 * there is a constraint of the same referencing table, which checks nothing (CloneFkReferenced).
 */
SelfReference *read_reference(Relation target, ForeignKeyCacheInfo *key, const TupleFormer *former, bool *match_full) {
    auto *reference = static_cast<SelfReference *>(palloc0(sizeof(SelfReference)));
    const TupleDesc desc = formed_desc(former);
    const HeapTuple tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(key->conoid));

    if (!HeapTupleIsValid(tuple)) {
        elog(ERROR, "cache lookup failed for constraint %u", key->conoid);
    }
    auto *constraint = reinterpret_cast<Form_pg_constraint>(GETSTRUCT(tuple));
    const Oid parent = constraint->conparentid;
    const bool period = has_period(constraint);
    *match_full = constraint->confmatchtype == FKCONSTR_MATCH_FULL;
    ReleaseSysCache(tuple);
    ListCell *cell;
    foreach (cell, self_reference_keys(target)) {
        if (static_cast<ForeignKeyCacheInfo *>(lfirst(cell))->conoid == parent) {
            return nullptr;
        }
    }
    reference->key = key;
    reference->count = key->nkeys;
    reference->hashed = period ? key->nkeys - 1 : key->nkeys;
    for (int i = 0; i < key->nkeys; i++) {
        KeyColumn *column = &reference->columns[i];

        column->referencing = column_in_tuple(former, key->conkey[i]);
        column->referenced = column_in_tuple(former, key->confkey[i]);
        if (column->referencing < 0 || column->referenced < 0) {
            return nullptr;
        }
        column->collation = TupleDescAttr(desc, column->referenced)->attcollation;
        column->hash = common_hash(TupleDescAttr(desc, column->referencing), TupleDescAttr(desc, column->referenced));
    }
    return reference;
}

bool mixes_nulls(const SelfReferences *references, const SelfReference *reference, HeapTuple tuple) {
    int nulls = 0;

    for (int i = 0; i < reference->count; i++) {
        bool null;
        (void)tuple_value(tuple, reference->columns[i].referencing + 1, references->desc, &null);
        nulls += null ? 1 : 0;
    }
    return nulls > 0 && nulls < reference->count;
}

Hashed *room_for(int count) {
    return static_cast<Hashed *>(
        MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Hashed) * static_cast<Size>(count)));
}

void hash_records(SelfReferences *references, SelfReference *reference, bool match_full) {
    const int count = references->count;
    const Size size = sizeof(int) * static_cast<Size>(count);

    reference->waiting = room_for(count);
    reference->holders = room_for(count);
    reference->linked = static_cast<int *>(MemoryContextAllocHuge(CurrentMemoryContext, size));
    reference->holder_of = static_cast<int *>(MemoryContextAllocHuge(CurrentMemoryContext, size));
    for (int i = 0; i < count; i++) {
        HeapTuple tuple = references->tuples[references->records[i]];
        uint32 hash;

        if (hash_key(references->desc, tuple, reference, true, &hash)) {
            reference->waiting[reference->waiting_count++] = {hash, i};
        }
        if (hash_key(references->desc, tuple, reference, false, &hash)) {
            reference->holders[reference->holder_count++] = {hash, i};
        }
        reference->holder_of[i] = -1;
        references->hopeless[i] = references->hopeless[i] || (match_full && mixes_nulls(references, reference, tuple));
    }
    std::sort(reference->waiting, reference->waiting + reference->waiting_count, by_hash);
    std::sort(reference->holders, reference->holders + reference->holder_count, by_hash);
    for (int i = 0, first = 0; i < reference->holder_count; i++) {
        first = reference->holders[i].hash == reference->holders[first].hash ? first : i;
        reference->holder_of[reference->holders[i].place] = first;
    }
}

void read_values(const SelfReferences *references, const SelfReference *reference, int place, Datum *values) {
    HeapTuple tuple = references->tuples[references->records[place]];

    for (int i = 0; i < reference->count; i++) {
        bool null;
        values[i] = tuple_value(tuple, reference->columns[i].referencing + 1, references->desc, &null);
    }
}

/* The row that a record references by this key is in the table. */
bool is_in_table(const SelfReferences *references, const SelfReference *reference, int place) {
    Datum values[INDEX_MAX_KEYS];

    read_values(references, reference, place, values);
    return has_referenced_row(references->target, reference->key, values);
}

/* The record's period is covered by what is in the table and the periods of those holders that may go in. */
bool is_covered_by(const SelfReferences *references, const SelfReference *reference, HashedRange holders,
                   const bool *linked, int place) {
    const int period = reference->columns[reference->count - 1].referenced;
    auto *periods = static_cast<Datum *>(
        MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Datum) * static_cast<Size>(holders.to - holders.from + 1)));
    Datum values[INDEX_MAX_KEYS];
    int count = 0;

    CHECK_FOR_INTERRUPTS();
    for (int i = holders.from; i < holders.to; i++) {
        const int holder = reference->holders[i].place;
        bool null;

        if (linked[holder]) {
            periods[count++] =
                tuple_value(references->tuples[references->records[holder]], period + 1, references->desc, &null);
        }
    }
    read_values(references, reference, place, values);
    const bool covered = is_covered(references->target, reference->key, values, periods, count);
    pfree(periods);
    return covered;
}

/* The search for records that go in together. */
struct Linking {
    const SelfReferences *references;
    bool *linked;
    int count;
    List *dropped; /* places whose dependents have not been looked at */
};

/* A record may go in with others, or may not any more. */
void count_linked(const SelfReferences *references, int place, int change) {
    ListCell *cell;

    foreach (cell, references->references) {
        const auto *reference = static_cast<SelfReference *>(lfirst(cell));
        if (reference->holder_of[place] >= 0) {
            reference->linked[reference->holder_of[place]] += change;
        }
    }
}

void drop(Linking *linking, int place) {
    if (linking->linked[place]) {
        linking->linked[place] = false;
        linking->count--;
        linking->dropped = lappend_int(linking->dropped, place);
        count_linked(linking->references, place, -1);
    }
}

/* Records that wait for a key of this hash, which none of the others has. */
void drop_unheld(Linking *linking, const SelfReference *reference, uint32 hash) {
    /* Of a single key it is known that no row of the table has it: the record would be in. */
    const bool only_key = list_length(linking->references->references) == 1;
    const HashedRange holders = with_hash(reference->holders, reference->holder_count, hash);
    const HashedRange waiting = with_hash(reference->waiting, reference->waiting_count, hash);

    if (reference->hashed < reference->count) {
        for (int i = waiting.from; i < waiting.to; i++) {
            const int place = reference->waiting[i].place;
            if (linking->linked[place] &&
                !is_covered_by(linking->references, reference, holders, linking->linked, place)) {
                drop(linking, place);
            }
        }
        return;
    }
    if (holders.from < holders.to && reference->linked[holders.from] > 0) {
        return;
    }
    for (int i = waiting.from; i < waiting.to; i++) {
        const int place = reference->waiting[i].place;
        if (linking->linked[place] && (only_key || !is_in_table(linking->references, reference, place))) {
            drop(linking, place);
        }
    }
}

} // namespace

SelfReferences *find_self_references(Relation target, const TupleFormer *former, HeapTuple const *tuples,
                                     const int *records, int count) {
    auto *references = static_cast<SelfReferences *>(palloc0(sizeof(SelfReferences)));
    ListCell *cell;

    references->target = target;
    references->desc = formed_desc(former);
    references->tuples = tuples;
    references->records = records;
    references->count = count;
    references->hopeless = static_cast<bool *>(palloc0(sizeof(bool) * static_cast<Size>(Max(count, 1))));
    foreach (cell, self_reference_keys(target)) {
        bool match_full;
        SelfReference *reference =
            read_reference(target, static_cast<ForeignKeyCacheInfo *>(lfirst(cell)), former, &match_full);

        if (reference != nullptr) {
            hash_records(references, reference, match_full);
            references->unsure = references->unsure || !hashes_alike(references->desc, reference);
            references->references = lappend(references->references, reference);
        }
    }
    return references;
}

bool knows_all_waiting(const SelfReferences *references) { return !references->unsure; }

List *add_waiting(const SelfReferences *references, HeapTuple tuple, List *places) {
    ListCell *cell;

    foreach (cell, references->references) {
        const auto *reference = static_cast<SelfReference *>(lfirst(cell));
        uint32 hash;

        if (!hash_key(references->desc, tuple, reference, false, &hash)) {
            continue;
        }
        const HashedRange waiting = with_hash(reference->waiting, reference->waiting_count, hash);
        for (int i = waiting.from; i < waiting.to; i++) {
            places = lappend_int(places, reference->waiting[i].place);
        }
    }
    return places;
}

/* From all of them, those are dropped whose referenced row is neither there nor one of the others, until none is. */
int find_linked(const SelfReferences *references, const bool *out, bool *linked) {
    Linking linking = {references, linked, 0, NIL};
    ListCell *cell;

    foreach (cell, references->references) {
        const auto *reference = static_cast<SelfReference *>(lfirst(cell));
        memset(reference->linked, 0, sizeof(int) * static_cast<size_t>(references->count));
    }
    for (int i = 0; i < references->count; i++) {
        linked[i] = references->references != NIL && !out[i] && !references->hopeless[i];
        if (linked[i]) {
            linking.count++;
            count_linked(references, i, 1);
        }
    }
    foreach (cell, references->references) {
        const auto *reference = static_cast<SelfReference *>(lfirst(cell));
        for (int i = 0; i < reference->waiting_count; i++) {
            if (i == 0 || reference->waiting[i].hash != reference->waiting[i - 1].hash) {
                drop_unheld(&linking, reference, reference->waiting[i].hash);
            }
        }
    }
    while (linking.dropped != NIL) {
        const int place = llast_int(linking.dropped);
        linking.dropped = list_delete_last(linking.dropped);
        foreach (cell, references->references) {
            const auto *reference = static_cast<SelfReference *>(lfirst(cell));
            if (reference->holder_of[place] >= 0) {
                drop_unheld(&linking, reference, reference->holders[reference->holder_of[place]].hash);
            }
        }
    }
    return linking.count;
}

} // namespace movielens_ingest::pg
