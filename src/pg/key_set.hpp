/*
 * key_set.hpp - keys of records, and sets of them.
 *
 * Two keys are the same when their bytes are: every operator that a foreign key may have calls them equal. Integers of
 * any width are the same when their values are, for the family of integer operators compares across widths.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

struct KeyBytes {
    const char *bytes;
    uint32 size;
    uint32 hash;
};

/* The keys of many records: in one of the two arrays. */
struct KeyBatch {
    bool of_integers;
    int count;
    int *records; /* whose key it is */
    int64 *integers;
    KeyBytes *bytes;
    StringInfo image; /* of the key that is being added */
};

/* Room for the keys of so many records, in the current memory context, which that of the keys' bytes is too. */
KeyBatch make_key_batch(bool of_integers, int most);

/* The integer that a column of 2, 4 or 8 bytes holds. */
inline int64 integer_value(Form_pg_attribute column, Datum value) {
    switch (column->attlen) {
    case sizeof(int16):
        return DatumGetInt16(value);
    case sizeof(int32):
        return DatumGetInt32(value);
    default:
        return DatumGetInt64(value);
    }
}

/* Adds a record's key, of columns without a null. */
inline void add_integer(KeyBatch *batch, int record, Form_pg_attribute column, Datum value) {
    batch->records[batch->count] = record;
    batch->integers[batch->count++] = integer_value(column, value);
}
void add_bytes(KeyBatch *batch, int record, Form_pg_attribute const *columns, const Datum *values, int count);

struct KeySet;

/* Empty, in the current memory context. */
KeySet *make_key_set(bool of_integers);
void empty_key_set(KeySet *set);
/* Bytes that it takes, about. */
Size key_set_size(const KeySet *set);

/* False: it was in. */
bool insert_key(KeySet *set, const KeyBatch *batch, int i);
void insert_integer(KeySet *set, int64 value);

/* Those of [0, count) of the batch that are not in the set; returns how many. */
int keys_outside(const KeySet *set, const KeyBatch *batch, int *outside);

} // namespace movielens_ingest::pg
