#include "pg/key_set.hpp"

namespace movielens_ingest::pg {

/* Integers: open addressing, at most half full, 0 standing for an empty slot. Bytes: a hash table of PostgreSQL. */
struct KeySet {
    MemoryContext context; /* all but the set itself */
    bool of_integers;
    bool has_zero;
    int bits; /* 2^bits slots */
    uint64 count;
    int64 *slots;
    HTAB *table; /* of KeyBytes */
};

namespace {

constexpr int kFewestBits = 10;

uint64 first_slot(const KeySet *set, int64 value) {
    /* Fibonacci hashing: ids that follow each other are spread evenly. */
    return (static_cast<uint64>(value) * UINT64CONST(0x9E3779B97F4A7C15)) >> (64 - set->bits);
}

/* Where the value stands, or the empty slot where it would. */
int64 *find_slot(const KeySet *set, int64 value) {
    const uint64 mask = (UINT64CONST(1) << set->bits) - 1;
    uint64 i = first_slot(set, value);

    while (set->slots[i] != 0 && set->slots[i] != value) {
        i = (i + 1) & mask;
    }
    return &set->slots[i];
}

bool has_integer(const KeySet *set, int64 value) {
    if (value == 0) {
        return set->has_zero;
    }
    return set->slots != nullptr && *find_slot(set, value) != 0;
}

void resize(KeySet *set, int bits) {
    int64 *old = set->slots;
    const uint64 old_count = old != nullptr ? UINT64CONST(1) << set->bits : 0;

    set->slots = static_cast<int64 *>(MemoryContextAllocExtended(set->context, sizeof(int64) * (UINT64CONST(1) << bits),
                                                                 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO));
    set->bits = bits;
    for (uint64 i = 0; i < old_count; i++) {
        if (old[i] != 0) {
            *find_slot(set, old[i]) = old[i];
        }
    }
    if (old != nullptr) {
        pfree(old);
    }
}

bool add_to_slots(KeySet *set, int64 value) {
    if (has_integer(set, value)) {
        return false;
    }
    set->count++;
    if (value == 0) {
        set->has_zero = true;
        return true;
    }
    if (set->slots == nullptr) {
        resize(set, kFewestBits);
    } else if (set->count * 2 > UINT64CONST(1) << set->bits) {
        resize(set, set->bits + 1);
    }
    *find_slot(set, value) = value;
    return true;
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
        set->count++;
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

int64 integer_value(Form_pg_attribute column, Datum value) {
    switch (column->attlen) {
    case sizeof(int16):
        return DatumGetInt16(value);
    case sizeof(int32):
        return DatumGetInt32(value);
    default:
        return DatumGetInt64(value);
    }
}

void add_integer(KeyBatch *batch, int record, Form_pg_attribute column, Datum value) {
    batch->records[batch->count] = record;
    batch->integers[batch->count++] = integer_value(column, value);
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
    set->has_zero = false;
    set->count = 0;
    set->slots = nullptr;
    set->table = nullptr;
    MemoryContextReset(set->context);
}

Size key_set_size(const KeySet *set) { return MemoryContextMemAllocated(set->context, true); }

bool insert_key(KeySet *set, const KeyBatch *batch, int i) {
    return set->of_integers ? add_to_slots(set, batch->integers[i]) : add_to_table(set, &batch->bytes[i]);
}

void insert_integer(KeySet *set, int64 value) { (void)add_to_slots(set, value); }

bool is_in(const KeySet *set, const KeyBatch *batch, int i) {
    if (set->of_integers) {
        return has_integer(set, batch->integers[i]);
    }
    return set->table != nullptr && hash_search(set->table, &batch->bytes[i], HASH_FIND, nullptr) != nullptr;
}

int keys_outside(const KeySet *set, const KeyBatch *batch, int *outside) {
    int count = 0;

    for (int i = 0; i < batch->count; i++) {
        if (!is_in(set, batch, i)) {
            outside[count++] = i;
        }
    }
    return count;
}

} // namespace movielens_ingest::pg
