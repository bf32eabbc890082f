#include "pg/self_references.hpp"

#include "pg/foreign_keys.hpp"
#include "pg/pg.hpp"
#include "pg/tuple_value.hpp"

namespace movielens_ingest::pg {

namespace {

struct Waiting {
    uint32 hash; /* of what it references */
    int place;
};

/* A foreign key; columns by their index in the tuples. */
struct SelfReference {
    int count;
    int referencing[INDEX_MAX_KEYS];
    int referenced[INDEX_MAX_KEYS];
    Waiting *waiting; /* by hash */
    int waiting_count;
};

} // namespace

struct SelfReferences {
    TupleDesc desc;
    List *references; /* of SelfReference */
};

namespace {

/* False: a column is null. Keys that are equal in other bytes or types have other hashes. */
bool hash_key(TupleDesc desc, HeapTuple tuple, const int *columns, int count, uint32 *hash) {
    *hash = 0;
    for (int i = 0; i < count; i++) {
        const Form_pg_attribute attribute = TupleDescAttr(desc, columns[i]);
        bool null;
        const Datum value = tuple_value(tuple, columns[i] + 1, desc, &null);

        if (null) {
            return false;
        }
        *hash = hash_combine(*hash, datum_image_hash(value, attribute->attbyval, attribute->attlen));
    }
    return true;
}

/* Null: it has columns that the file lacks. */
SelfReference *read_reference(const ForeignKeyCacheInfo *key, const TupleFormer *former) {
    auto *reference = static_cast<SelfReference *>(palloc0(sizeof(SelfReference)));

    reference->count = key->nkeys;
    for (int i = 0; i < key->nkeys; i++) {
        reference->referencing[i] = column_in_tuple(former, key->conkey[i]);
        reference->referenced[i] = column_in_tuple(former, key->confkey[i]);
        if (reference->referencing[i] < 0 || reference->referenced[i] < 0) {
            return nullptr;
        }
    }
    return reference;
}

} // namespace

SelfReferences *find_self_references(Relation target, const TupleFormer *former, HeapTuple const *tuples,
                                     const int *records, int count) {
    auto *references = static_cast<SelfReferences *>(palloc0(sizeof(SelfReferences)));
    ListCell *cell;

    references->desc = formed_desc(former);
    foreach (cell, self_reference_keys(target)) {
        SelfReference *reference = read_reference(static_cast<ForeignKeyCacheInfo *>(lfirst(cell)), former);
        if (reference == nullptr) {
            continue;
        }
        reference->waiting = static_cast<Waiting *>(
            MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Waiting) * static_cast<Size>(count)));
        for (int i = 0; i < count; i++) {
            uint32 hash;
            if (hash_key(references->desc, tuples[records[i]], reference->referencing, reference->count, &hash)) {
                reference->waiting[reference->waiting_count++] = {hash, i};
            }
        }
        std::sort(reference->waiting, reference->waiting + reference->waiting_count,
                  [](const Waiting &a, const Waiting &b) { return a.hash < b.hash; });
        references->references = lappend(references->references, reference);
    }
    return references;
}

List *add_waiting(const SelfReferences *references, HeapTuple tuple, List *places) {
    ListCell *cell;

    foreach (cell, references->references) {
        const auto *reference = static_cast<SelfReference *>(lfirst(cell));
        uint32 hash;

        if (!hash_key(references->desc, tuple, reference->referenced, reference->count, &hash)) {
            continue;
        }
        const Waiting *end = reference->waiting + reference->waiting_count;
        const Waiting *next =
            std::lower_bound(static_cast<const Waiting *>(reference->waiting), end, hash,
                             [](const Waiting &waiting, uint32 wanted) { return waiting.hash < wanted; });
        for (; next < end && next->hash == hash; next++) {
            places = lappend_int(places, next->place);
        }
    }
    return places;
}

} // namespace movielens_ingest::pg
