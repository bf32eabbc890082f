#include "pg/missing_parents.hpp"

#include "pg/pg.hpp"
#include "pg/referenced_query.hpp"
#include "pg/tuple_value.hpp"

namespace movielens_ingest::pg {

namespace {

/* So many are looked up by one query. */
constexpr int kLookedUpTogether = 32768;

constexpr int kNone = -1;

/* What is known of the row of the table that a record references. */
enum class InTable : uint8_t { Unknown, Yes, No };

/* How a column's values are hashed, of either side. */
struct HashedColumn {
    int referencing; /* in the tuples, from 1 */
    int referenced;
    FmgrInfo *hash;
    Oid collation;
};

/*
 * A foreign key. Records whose referenced columns have the same hash are a group. It is taken for one key: if it is
 * not, some record is not found here.
 */
struct Links {
    MissingParent *parent;
    HashedColumn columns[INDEX_MAX_KEYS];
    int *own_group;    /* by record; kNone: a column is null */
    int *parent_group; /* by record; kNone: no record has what it references */
    bool *references;  /* by record; false: a column is null */
    InTable *in_table; /* by record */
    int *holders;      /* by group: how many of its records can go in */
    int *first_child;  /* by group: a record that references it */
    int *next_child;   /* by record */
};

struct Search {
    Relation target;
    HeapTuple const *tuples;
    int count;
    List *links;  /* of Links */
    int *dropped; /* records whose children have not been looked at */
    int dropped_count;
    const MissingParent **missing; /* by record */
};

template <typename T> T *room_for(int count) {
    return static_cast<T *>(MemoryContextAllocHuge(CurrentMemoryContext, sizeof(T) * static_cast<Size>(Max(count, 1))));
}

/* Null: equal values of both columns need not have the same hash. */
FmgrInfo *common_hash(Oid referencing, Oid referenced, Oid equals) {
    constexpr int kWanted = TYPECACHE_HASH_EXTENDED_PROC_FINFO;
    TypeCacheEntry *one = lookup_type_cache(referencing, kWanted);
    const TypeCacheEntry *other = lookup_type_cache(referenced, kWanted);

    return OidIsValid(one->hash_extended_proc) && OidIsValid(other->hash_extended_proc) &&
                   one->hash_opf == other->hash_opf && op_in_opfamily(equals, one->hash_opf)
               ? &one->hash_extended_proc_finfo
               : nullptr;
}

/* False: it cannot be told by hashes, or the file lacks a column. */
bool read_columns(Links *links, const TupleFormer *former) {
    const TupleDesc desc = formed_desc(former);
    const ForeignKey *key = links->parent->key;

    links->parent->places.desc = desc;
    for (int i = 0; i < key->count; i++) {
        HashedColumn *column = &links->columns[i];
        const int referencing = column_in_tuple(former, key->columns[i]);
        const int referenced = column_in_tuple(former, key->referenced_columns[i]);

        if (referencing < 0 || referenced < 0) {
            return false;
        }
        const Form_pg_attribute attribute = TupleDescAttr(desc, referenced);
        column->hash = common_hash(TupleDescAttr(desc, referencing)->atttypid, attribute->atttypid, key->operators[i]);
        if (column->hash == nullptr) {
            return false;
        }
        column->collation = attribute->attcollation;
        column->referencing = referencing + 1;
        column->referenced = referenced + 1;
        links->parent->places.columns[i] = referencing + 1;
    }
    return true;
}

/* False: a column is null. */
bool hash_key(const Links *links, HeapTuple tuple, bool referencing, uint64 *result) {
    uint64 hash = 0;

    for (int i = 0; i < links->parent->key->count; i++) {
        const HashedColumn *column = &links->columns[i];
        bool null;
        const Datum value = tuple_value(tuple, referencing ? column->referencing : column->referenced,
                                        links->parent->places.desc, &null);

        if (null) {
            return false;
        }
        hash = hash_combine64(
            hash, DatumGetUInt64(FunctionCall2Coll(column->hash, column->collation, value, UInt64GetDatum(0))));
    }
    *result = hash;
    return true;
}

struct Hashed {
    uint64 hash;
    int record;
};

bool by_hash(const Hashed &a, const Hashed &b) { return a.hash < b.hash; }

void link_records(Search *search, Links *links) {
    auto *hashed = room_for<Hashed>(search->count);
    int hashed_count = 0;
    int group = kNone;

    links->own_group = room_for<int>(search->count);
    links->parent_group = room_for<int>(search->count);
    links->references = room_for<bool>(search->count);
    links->in_table = room_for<InTable>(search->count);
    links->holders = room_for<int>(search->count);
    links->first_child = room_for<int>(search->count);
    links->next_child = room_for<int>(search->count);
    for (int i = 0; i < search->count; i++) {
        uint64 hash;

        links->own_group[i] = kNone;
        links->in_table[i] = InTable::Unknown;
        if (search->tuples[i] != nullptr && hash_key(links, search->tuples[i], false, &hash)) {
            hashed[hashed_count++] = {hash, i};
        }
    }
    std::sort(hashed, hashed + hashed_count, by_hash);
    for (int i = 0; i < hashed_count; i++) {
        if (i == 0 || hashed[i].hash != hashed[i - 1].hash) {
            group++;
            links->holders[group] = 0;
            links->first_child[group] = kNone;
            hashed[group].hash = hashed[i].hash; /* the groups' hashes, in front of the records' */
        }
        links->own_group[hashed[i].record] = group;
        links->holders[group]++;
    }
    for (int i = 0; i < search->count; i++) {
        Hashed wanted = {0, 0};

        links->parent_group[i] = kNone;
        links->references[i] = search->tuples[i] != nullptr && hash_key(links, search->tuples[i], true, &wanted.hash);
        if (!links->references[i]) {
            continue;
        }
        const Hashed *found = std::lower_bound(hashed, hashed + group + 1, wanted, by_hash);
        if (found < hashed + group + 1 && found->hash == wanted.hash) {
            const int parent = static_cast<int>(found - hashed);
            links->parent_group[i] = parent;
            links->next_child[i] = links->first_child[parent];
            links->first_child[parent] = i;
        }
    }
    pfree(hashed);
}

bool is_held(const Links *links, int record) {
    return links->parent_group[record] != kNone && links->holders[links->parent_group[record]] > 0;
}

void look_up_some(const Search *search, Links *links, const int *records, int count) {
    const MemoryContext context = MemoryContextSwitchTo(
        AllocSetContextCreate(CurrentMemoryContext, "movielens_ingest look-up", ALLOCSET_DEFAULT_SIZES));
    auto *present = room_for<bool>(count);

    CHECK_FOR_INTERRUPTS();
    look_up_keys(search->target, links->parent->key, &links->parent->places, search->tuples, records, count,
                 RowLock::None, present);
    for (int i = 0; i < count; i++) {
        links->in_table[records[i]] = present[i] ? InTable::Yes : InTable::No;
    }
    MemoryContextDelete(MemoryContextSwitchTo(context));
}

/* Looks for the rows that records reference: those of which no record is left that has it; or all. */
void look_up(const Search *search, Links *links, bool all) {
    auto *records = room_for<int>(Min(search->count, kLookedUpTogether));
    int count = 0;

    for (int i = 0; i < search->count; i++) {
        if (links->references[i] && search->missing[i] == nullptr && links->in_table[i] == InTable::Unknown &&
            (all || !is_held(links, i))) {
            records[count++] = i;
            if (count == kLookedUpTogether) {
                look_up_some(search, links, records, count);
                count = 0;
            }
        }
    }
    if (count > 0) {
        look_up_some(search, links, records, count);
    }
    pfree(records);
}

void drop_if_missing(Search *search, const Links *links, int record) {
    if (links->references[record] && search->missing[record] == nullptr && !is_held(links, record) &&
        links->in_table[record] == InTable::No) {
        search->missing[record] = links->parent;
        search->dropped[search->dropped_count++] = record;
    }
}

/* What referenced a record that has been dropped: dropped too if nothing else has its key. */
void drop_children(Search *search, int record) {
    ListCell *cell;

    foreach (cell, search->links) {
        auto *links = static_cast<Links *>(lfirst(cell));
        const int group = links->own_group[record];

        if (group != kNone && --links->holders[group] == 0) {
            for (int child = links->first_child[group]; child != kNone; child = links->next_child[child]) {
                drop_if_missing(search, links, child);
            }
        }
    }
}

void search_records(Search *search) {
    ListCell *cell;

    foreach (cell, search->links) {
        look_up(search, static_cast<Links *>(lfirst(cell)), false);
    }
    foreach (cell, search->links) {
        for (int i = 0; i < search->count; i++) {
            drop_if_missing(search, static_cast<Links *>(lfirst(cell)), i);
        }
    }
    if (search->dropped_count == 0) {
        return;
    }
    /* Any of the others may come to be without a parent: one query instead of one for each generation. */
    foreach (cell, search->links) {
        look_up(search, static_cast<Links *>(lfirst(cell)), true);
    }
    while (search->dropped_count > 0) {
        drop_children(search, search->dropped[--search->dropped_count]);
    }
}

} // namespace

const MissingParent **find_missing_parents(Relation target, List *keys, const TupleFormer *former,
                                           HeapTuple const *tuples, int count) {
    auto **missing = static_cast<const MissingParent **>(MemoryContextAllocExtended(
        CurrentMemoryContext, sizeof(void *) * static_cast<Size>(count), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO));
    auto *parents = static_cast<MissingParent *>(palloc0(sizeof(MissingParent) * static_cast<Size>(list_length(keys))));
    const MemoryContext context = MemoryContextSwitchTo(
        AllocSetContextCreate(CurrentMemoryContext, "movielens_ingest missing parents", ALLOCSET_DEFAULT_SIZES));
    Search search = {target, tuples, count, NIL, room_for<int>(count), 0, missing};
    ListCell *cell;

    foreach (cell, keys) {
        auto *links = static_cast<Links *>(palloc0(sizeof(Links)));

        links->parent = &parents[foreach_current_index(cell)];
        links->parent->key = static_cast<ForeignKey *>(lfirst(cell));
        if (read_columns(links, former)) {
            link_records(&search, links);
            search.links = lappend(search.links, links);
        }
    }
    search_records(&search);
    MemoryContextDelete(MemoryContextSwitchTo(context));
    return missing;
}

} // namespace movielens_ingest::pg
