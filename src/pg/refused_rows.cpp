#include "pg/refused_rows.hpp"

namespace movielens_ingest::pg {

struct RefusedRows {
    Tuplesortstate *sort;
    TupleTableSlot *slot;
    ResourceOwner owner; /* of its files */
};

namespace {

/* The columns of rejected_rows. */
enum : int {
    kId,
    kUploadedFileId,
    kProcessChunkId,
    kRowNumber,
    kLineNumber,
    kByteOffset,
    kColumnName,
    kSqlState,
    kMessage,
    kDetail,
    kRawLine,
    kRawBytes,
    kPending,
};

} // namespace

MinimalTuple form_refused_row(TupleDesc desc, const Reject *reject) {
    auto *values = static_cast<Datum *>(palloc0(sizeof(Datum) * static_cast<Size>(desc->natts)));
    auto *nulls = static_cast<bool *>(palloc(sizeof(bool) * static_cast<Size>(desc->natts)));
    auto set = [values, nulls](int column, Datum value) {
        values[column] = value;
        nulls[column] = false;
    };

    memset(nulls, true, sizeof(bool) * static_cast<size_t>(desc->natts));
    set(kRowNumber, Int64GetDatum(reject->row_number));
    set(kLineNumber, Int64GetDatum(reject->line_number));
    set(kByteOffset, Int64GetDatum(reject->byte_offset));
    set(kSqlState, CStringGetTextDatum(unpack_sql_state(reject->why.sqlerrcode)));
    set(kMessage, CStringGetTextDatum(reject->why.message));
    set(kRawLine, CStringGetTextDatum(reject->raw.text));
    set(kPending, BoolGetDatum(reject->pending));
    if (reject->why.column != nullptr) {
        set(kColumnName, CStringGetTextDatum(reject->why.column));
    }
    if (reject->why.detail != nullptr) {
        set(kDetail, CStringGetTextDatum(reject->why.detail));
    }
    if (reject->raw.bytes != nullptr) {
        set(kRawBytes, PointerGetDatum(reject->raw.bytes));
    }
    return form_minimal_tuple(desc, values, nulls);
}

RefusedRows *make_refused_rows(TupleDesc desc) {
    auto *rows = static_cast<RefusedRows *>(palloc(sizeof(RefusedRows)));
    AttrNumber key = kRowNumber + 1;
    Oid less = Int8LessOperator;
    Oid collation = InvalidOid;
    bool nulls_first = false;

    rows->sort =
        tuplesort_begin_heap(desc, 1, &key, &less, &collation, &nulls_first, work_mem, nullptr, TUPLESORT_NONE);
    rows->slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
    rows->owner = CurrentResourceOwner;
    return rows;
}

void add_refused_row(RefusedRows *rows, MinimalTuple row) {
    const ResourceOwner owner = CurrentResourceOwner;

    /* A file that is made within a subtransaction must outlive it. */
    CurrentResourceOwner = rows->owner;
    ExecStoreMinimalTuple(row, rows->slot, false);
    tuplesort_puttupleslot(rows->sort, rows->slot);
    ExecClearTuple(rows->slot);
    CurrentResourceOwner = owner;
}

void return_refused_rows(RefusedRows *rows, Tuplestorestate *store) {
    int64 last = 0;

    tuplesort_performsort(rows->sort);
    while (tuplesort_gettupleslot(rows->sort, true, false, rows->slot, nullptr)) {
        bool null;
        const int64 number = DatumGetInt64(slot_getattr(rows->slot, kRowNumber + 1, &null));
        if (number != last) {
            tuplestore_puttupleslot(store, rows->slot);
        }
        last = number;
    }
    ExecDropSingleTupleTableSlot(rows->slot);
    tuplesort_end(rows->sort);
    pfree(rows);
}

} // namespace movielens_ingest::pg
