/*
 * insertion.hpp - one statement's worth of insertion into a plain heap, as the files heap_writer, index_entries and
 * speculative_insertion share it. Not for others.
 */
#pragma once

#include "pg/pg.hpp"
#include "pg/writer.hpp"

namespace movielens_ingest::pg {

struct Insertion {
    EState *estate;
    ResultRelInfo *relinfo;
    CommandId command_id;
    TupleDesc desc;       /* a copy, so that a thousand slots need not be counted as users of the relation's own */
    TupleTableSlot *slot; /* for a tuple of the caller's */
    RecordRange *range;
    ItemPointerData entry; /* the tuple whose sorted entry is being inserted */
};

/* Shows the record's tuple in the slot, with its place. It stays the caller's. */
void show_tuple(Insertion *insertion, HeapTuple tuple);

/*
 * index_entries.cpp: makes the index entries of the range's tuples, which are in the heap. Sets range->at to the record
 * whose entry it is at.
 */
void insert_index_entries(Insertion *insertion);

/*
 * speculative_insertion.cpp: inserts a record's tuple as ON CONFLICT DO NOTHING does. False: it has the key of another
 * row, the range's refusals say of which.
 */
bool insert_speculatively(Insertion *insertion, int record);

} // namespace movielens_ingest::pg
