#include "pg/key_set.hpp"

namespace movielens_ingest::pg {

namespace {

/* 64 integers that follow each other. Ids are dense: all movies of MovieLens need 32 kB. */
struct Word {
    int64 number; /* integer / 64 */
    uint64 bits;  /* 0: an empty slot */
};

} // namespace

/* Integers: open addressing, at most half full. Bytes: a hash table of PostgreSQL. */
struct KeySet {
    MemoryContext context; /* all but the set itself */
    bool of_integers;
    int log2_slots;
    uint64 used; /* slots */
    Word *slots; /* null: none yet */
    HTAB *table; /* of KeyBytes; null: none yet */
};

namespace {

constexpr int kFewestSlots = 10; /* as a power of two */

uint64 bit_of(int64 value) { return UINT64CONST(1) << (static_cast<uint64>(value) & 63); }

/* The slot with the word of this number, or the empty one where it would be. */
Word *find_slot(const KeySet *set, int64 number) {
    const uint64 mask = (UINT64CONST(1) << set->log2_slots) - 1;
    /* Fibonacci hashing: numbers that follow each other are spread evenly. */
    uint64 i = (static_cast<uint64>(number) * UINT64CONST(0x9E3779B97F4A7C15)) >> (64 - set->log2_slots);

    while (set->slots[i].bits != 0 && set->slots[i].number != number) {
        i = (i + 1) & mask;
    }
    return &set->slots[i];
}

bool has_integer(const KeySet *set, int64 value) {
    return set->slots != nullptr && (find_slot(set, value >> 6)->bits & bit_of(value)) != 0;
}

void resize(KeySet *set, int log2_slots) {
    Word *old = set->slots;
    const uint64 old_count = old != nullptr ? UINT64CONST(1) << set->log2_slots : 0;

    set->slots = static_cast<Word *>(MemoryContextAllocExtended(
        set->context, sizeof(Word) * (UINT64CONST(1) << log2_slots), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO));
    set->log2_slots = log2_slots;
    for (uint64 i = 0; i < old_count; i++) {
        if (old[i].bits != 0) {
            *find_slot(set, old[i].number) = old[i];
        }
    }
    if (old != nullptr) {
        pfree(old);
    }
}

bool add_to_slots(KeySet *set, int64 value) {
    if (set->slots == nullptr) {
        resize(set, kFewestSlots);
    } else if (set->used * 2 >= UINT64CONST(1) << set->log2_slots) {
        resize(set, set->log2_slots + 1);
    }
    Word *slot = find_slot(set, value >> 6);
    const uint64 bit = bit_of(value);
    const bool was_in = (slot->bits & bit) != 0;
    set->used += slot->bits == 0 ? 1 : 0;
    slot->number = value >> 6;
    slot->bits |= bit;
    return !was_in;
}

uint32 hash_of(const void *key, Size) { return static_cast<const KeyBytes *>(key)->hash; }

int compare(const void *a, const void *b, Size) {
    const auto *left = static_cast<const KeyBytes *>(a);
    const auto *right = static_cast<const KeyBytes *>(b);

    return left->size != right->size ? 1 : memcmp(left->bytes, right->bytes, left->size);
}

void make_table(KeySet *set) {
    HASHCTL control;

    memset(&control, 0, sizeof(control));
    control.keysize = sizeof(KeyBytes);
    control.entrysize = sizeof(KeyBytes);
    control.hash = hash_of;
    control.match = compare;
    control.hcxt = set->context;
    set->table =
        hash_create("movielens_ingest keys", 1024, &control, HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
}

bool add_to_table(KeySet *set, const KeyBytes *key) {
    bool found;

    if (set->table == nullptr) {
        make_table(set);
    }
    auto *entry = static_cast<KeyBytes *>(hash_search(set->table, key, HASH_ENTER, &found));
    if (!found) {
        auto *bytes = static_cast<char *>(MemoryContextAlloc(set->context, Max(key->size, 1)));
        memcpy(bytes, key->bytes, key->size);
        entry->bytes = bytes;
    }
    return !found;
}

} // namespace

KeyBatch make_key_batch(bool of_integers, int most) {
    const Size count = static_cast<Size>(Max(most, 1));
    KeyBatch batch = {of_integers, 0, nullptr, nullptr, nullptr, nullptr};

    batch.records = static_cast<int *>(palloc_extended(sizeof(int) * count, MCXT_ALLOC_HUGE));
    if (of_integers) {
        batch.integers = static_cast<int64 *>(palloc_extended(sizeof(int64) * count, MCXT_ALLOC_HUGE));
    } else {
        batch.bytes = static_cast<KeyBytes *>(palloc_extended(sizeof(KeyBytes) * count, MCXT_ALLOC_HUGE));
        batch.image = makeStringInfo();
    }
    return batch;
}

void add_bytes(KeyBatch *batch, int record, Form_pg_attribute const *columns, const Datum *values, int count) {
    StringInfo image = batch->image;

    resetStringInfo(image);
    for (int i = 0; i < count; i++) {
        if (columns[i]->attbyval) {
            appendBinaryStringInfo(image, reinterpret_cast<const char *>(&values[i]), sizeof(Datum));
        } else if (columns[i]->attlen > 0) {
            appendBinaryStringInfo(image, DatumGetPointer(values[i]), columns[i]->attlen);
        } else if (columns[i]->attlen == -1) {
            varlena *packed = pg_detoast_datum_packed(reinterpret_cast<varlena *>(DatumGetPointer(values[i])));
            const int size = static_cast<int>(VARSIZE_ANY_EXHDR(packed));
            appendBinaryStringInfo(image, reinterpret_cast<const char *>(&size), sizeof(size));
            appendBinaryStringInfo(image, VARDATA_ANY(packed), size);
        } else {
            const char *text = DatumGetCString(values[i]);
            appendBinaryStringInfo(image, text, static_cast<int>(strlen(text)) + 1);
        }
    }
    auto *bytes = static_cast<char *>(palloc(static_cast<Size>(Max(image->len, 1))));
    memcpy(bytes, image->data, static_cast<size_t>(image->len));
    batch->records[batch->count] = record;
    batch->bytes[batch->count++] = {bytes, static_cast<uint32>(image->len),
                                    hash_bytes(reinterpret_cast<unsigned char *>(bytes), image->len)};
}

KeySet *make_key_set(bool of_integers) {
    auto *set = static_cast<KeySet *>(palloc0(sizeof(KeySet)));

    set->context = AllocSetContextCreate(CurrentMemoryContext, "movielens_ingest key set", ALLOCSET_DEFAULT_SIZES);
    set->of_integers = of_integers;
    return set;
}

void empty_key_set(KeySet *set) {
    set->used = 0;
    set->slots = nullptr;
    set->table = nullptr;
    MemoryContextReset(set->context);
}

Size key_set_size(const KeySet *set) { return MemoryContextMemAllocated(set->context, true); }

bool insert_key(KeySet *set, const KeyBatch *batch, int i) {
    return set->of_integers ? add_to_slots(set, batch->integers[i]) : add_to_table(set, &batch->bytes[i]);
}

void insert_integer(KeySet *set, int64 value) { (void)add_to_slots(set, value); }

int keys_outside(const KeySet *set, const KeyBatch *batch, int *outside) {
    int count = 0;

    if (set->of_integers) {
        for (int i = 0; i < batch->count; i++) {
            outside[count] = i;
            count += has_integer(set, batch->integers[i]) ? 0 : 1;
        }
        return count;
    }
    for (int i = 0; i < batch->count; i++) {
        if (set->table == nullptr || hash_search(set->table, &batch->bytes[i], HASH_FIND, nullptr) == nullptr) {
            outside[count++] = i;
        }
    }
    return count;
}

} // namespace movielens_ingest::pg
