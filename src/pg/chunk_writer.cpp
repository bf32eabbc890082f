#include "pg/chunk_writer.hpp"

#include "core/error_fate.hpp"
#include "pg/pg.hpp"
#include "pg/progress.hpp"
#include "pg/record_reader.hpp"
#include "pg/relation_writer.hpp"
#include "pg/subtransaction.hpp"
#include "pg/target.hpp"
#include "pg/tuple_former.hpp"

namespace movielens_ingest::pg {

namespace {

struct ChunkWork {
    const Ledger *ledger;
    int64 import_id;
    int64 chunk_id;
    Relation target;
    TupleFormer *former;
    Piece piece;
    HeapTuple *tuples;            /* of the piece; null where a record was refused */
    MemoryContext piece_context;  /* the tuples */
    MemoryContext reject_context; /* one reject */
    int next;                     /* record to form next */
    ChunkCounts counts;
};

/* Raises the error again unless it is the record's own. */
void require_reject(ErrorData *error) {
    if (core::error_fate(sqlstate_of(error)) != core::ErrorFate::Reject) {
        ReThrowError(error);
    }
}

void reject_record(ChunkWork *work, int index, const ErrorData *error, const char *column) {
    const RecordPlace *record = &work->piece.records[index];
    Reject reject;

    reject.row_number = static_cast<int64>(work->piece.first_row) + index;
    reject.line_number = static_cast<int64>(record->line_number);
    reject.byte_offset = static_cast<int64>(work->piece.start_byte + record->offset);
    reject.column = column;
    reject.sqlstate = sqlstate_of(error);
    reject.message = error->message;
    reject.detail = error->detail;
    reject.raw = work->piece.bytes + record->offset;
    reject.raw_size = record->size;

    const MemoryContext context = MemoryContextSwitchTo(work->reject_context);
    add_reject(work->ledger, work->import_id, work->chunk_id, &reject);
    MemoryContextSwitchTo(context);
    MemoryContextReset(work->reject_context);
    work->tuples[index] = nullptr;
    work->counts.rejected++;
}

/* Forms tuples from work->next on, until one raises an error: work->next is then its record. */
void form_tuples(void *argument) {
    auto *work = static_cast<ChunkWork *>(argument);

    do {
        CHECK_FOR_INTERRUPTS();
        MemoryContextSwitchTo(work->piece_context);
        work->tuples[work->next] = form_tuple(work->former, work->piece.bytes, &work->piece.records[work->next], true);
        work->next++;
    } while (work->next < work->piece.count && !forming_has_effects(work->former));
}

void form_piece(ChunkWork *work) {
    work->next = 0;
    while (work->next < work->piece.count) {
        CHECK_FOR_INTERRUPTS();
        const MemoryContext context = MemoryContextSwitchTo(work->piece_context);
        HeapTuple tuple = form_tuple(work->former, work->piece.bytes, &work->piece.records[work->next], false);
        MemoryContextSwitchTo(context);
        if (tuple != nullptr) {
            work->tuples[work->next++] = tuple;
            continue;
        }

        /* What may raise an error runs in a subtransaction: on PostgreSQL 15 there are no soft errors. */
        ErrorData *error = try_in_subtransaction(form_tuples, work);
        if (error != nullptr) {
            require_reject(error);
            reject_record(work, work->next, error, column_at_fault(work->former));
            FreeErrorData(error);
            work->next++;
        }
    }
}

/*
 * Inserts the tuples [from, to) of the piece; when that fails, the two halves of it one after the other, down to single
 * records. Committed halves are visible to later ones: of two records with the same key, the first is loaded.
 */
void insert_tuples(ChunkWork *work, int from, int to) {
    TupleRange range = {work->target, work->tuples, from, to, 0, 0};

    if (from >= to) {
        return;
    }
    ErrorData *error = try_in_subtransaction(insert_range, &range);
    if (error == nullptr) {
        work->counts.loaded += static_cast<int64>(range.inserted);
        work->counts.skipped += static_cast<int64>(range.skipped);
        return;
    }
    require_reject(error);
    if (to - from == 1) {
        reject_record(work, from, error, error->column_name);
        FreeErrorData(error);
        return;
    }
    FreeErrorData(error);

    const int middle = from + (to - from) / 2;
    insert_tuples(work, from, middle);
    insert_tuples(work, middle, to);
}

} // namespace

ChunkCounts write_chunk(const Ledger *ledger, const Import *import, const LedgerChunk *chunk, Oid target) {
    ChunkWork work;
    memset(&work, 0, sizeof(work));
    work.ledger = ledger;
    work.import_id = import->id;
    work.chunk_id = chunk->id;
    work.target = open_target(target, import->columns, import->column_count);
    work.former = make_tuple_former(import, work.target);
    work.piece_context = AllocSetContextCreate(CurrentMemoryContext, "movielens_ingest piece", ALLOCSET_DEFAULT_SIZES);
    work.reject_context = AllocSetContextCreate(CurrentMemoryContext, "movielens_ingest reject", ALLOCSET_DEFAULT_SIZES);

    const uint64 total_bytes = chunk->chunk.end_byte - chunk->chunk.start_byte;
    RecordReader *reader = open_record_reader(import, &chunk->chunk);
    report_chunk(target, total_bytes, 0, &work.counts);
    while (read_piece(reader, &work.piece)) {
        MemoryContextReset(work.piece_context);
        work.tuples = static_cast<HeapTuple *>(
            MemoryContextAllocHuge(work.piece_context, sizeof(HeapTuple) * static_cast<Size>(work.piece.count)));
        form_piece(&work);
        insert_tuples(&work, 0, work.piece.count);
        report_chunk(target, total_bytes, bytes_read(reader), &work.counts);
    }
    close_record_reader(reader);
    table_close(work.target, NoLock);
    return work.counts;
}

} // namespace movielens_ingest::pg
