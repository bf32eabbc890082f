/*
 * writer.hpp - a way of tuples into the target. There are two, heap_writer and spi_writer; writer_choice says which one
 * a table takes.
 */
#pragma once

#include "pg/pg.hpp"
#include "pg/refusal.hpp"
#include "pg/tuple_former.hpp"

namespace movielens_ingest::pg {

/* Values of RecordRange.at that are no record. */
constexpr int kBeforeFirst = -1;
constexpr int kUnknown = -2;

/*
 * Records to insert as one statement does: [from, to) of the arrays. Those without a tuple are passed over; the others
 * have no place (t_self) yet.
 */
struct RecordRange {
    HeapTuple const *tuples; /* as the writer's former makes them */
    int from;
    int to;
    bool singly;       /* one by one, which finds a violated unique key without an error, if the writer can at all */
    int at;            /* out: the record that is being inserted, kBeforeFirst, to (behind the last one) or kUnknown */
    int64 inserted;    /* out */
    int64 skipped;     /* out: a trigger returned null */
    Refusal *refusals; /* out: of the records that were refused without an error; sqlerrcode is 0 before the call */
    MemoryContext context; /* of what they point to */
    int64 inserted_before; /* of the chunk, for pg_stat_progress_copy */
    int64 excluded_before; /* refused or skipped */
};

/* For one chunk. */
class Writer {
  public:
    TupleShape shape;

    /*
     * Inserts the records. Raises the error of the first that cannot be inserted; range->at tells which one it is. Made
     * to be called in a subtransaction, which then undoes the others.
     */
    virtual void write(RecordRange *range) = 0;

    /* Another try at the records of such an error, in another way, will tell more of why they cannot be inserted. */
    virtual bool will_tell_more(const ErrorData *) { return false; }

    /* Behind the last record of the chunk. */
    virtual void finish() = 0;

  protected:
    explicit Writer(TupleShape of_tuples) : shape(of_tuples) {}
    ~Writer() = default;
};

} // namespace movielens_ingest::pg
