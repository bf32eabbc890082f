/*
 * relation_writer.hpp - inserts tuples with every rule of the table: triggers, generated columns, constraints, indexes,
 * foreign keys. CopyFrom does it for COPY and sets the order of the steps.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/* Tuples to insert as one statement does: [from, to) of the array. Null ones are passed over. */
struct TupleRange {
    Relation target;          /* open, with RowExclusiveLock */
    const Bitmapset *columns; /* that the file loads, by column_numbers() */
    int64 inserted_before;    /* tuples of the chunk, for pg_stat_progress_copy */
    int64 excluded_before;    /* refused or skipped */
    const HeapTuple *tuples;
    int from;
    int to;
    bool begun;      /* out: the statement's BEFORE triggers are behind it */
    uint64 inserted; /* out */
    uint64 skipped;  /* out: a BEFORE trigger returned null */
};

/*
 * Inserts them, fires the statement's triggers, and checks the constraints that are immediate. Raises the error of the
 * first tuple that cannot be inserted; it is made to be called in a subtransaction, which then undoes the others.
 * range: a TupleRange.
 */
void insert_range(void *range);

} // namespace movielens_ingest::pg
