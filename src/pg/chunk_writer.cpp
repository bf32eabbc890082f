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

constexpr int kReportInterval = 1000; /* records */

struct ChunkWork {
    const Ledger *ledger;
    int64 import_id;
    const LedgerChunk *chunk;
    Relation target;
    Bitmapset *columns; /* of the target that the file loads */
    TupleFormer *former;
    Piece piece;
    HeapTuple *tuples;            /* of the piece; null where a record was refused */
    MemoryContext piece_context;  /* the tuples */
    MemoryContext reject_context; /* one reject */
    int next;                     /* record to form next */
    int encoding;                 /* of the file */
    bool references_itself;       /* the target has a foreign key to itself */
    int *orphans;                 /* records of such a target whose referenced row may come later in the piece */
    int orphan_count;
    ChunkCounts counts;
};

bool references_itself(Relation target) {
    ListCell *cell;

    /* A partition's foreign key may reference the table that it is a partition of. */
    List *selves = target->rd_rel->relispartition ? get_partition_ancestors(RelationGetRelid(target)) : NIL;
    selves = lappend_oid(selves, RelationGetRelid(target));
    foreach (cell, RelationGetFKeyList(target)) {
        if (list_member_oid(selves, static_cast<ForeignKeyCacheInfo *>(lfirst(cell))->confrelid)) {
            return true;
        }
    }
    return false;
}

/* Bytes of the chunk up to the end of a record. */
uint64 bytes_behind(const ChunkWork *work, int index) {
    const RecordPlace *record = &work->piece.records[index];

    return work->piece.start_byte + record->offset + record->size - work->chunk->chunk.start_byte;
}

void report(const ChunkWork *work, uint64 read_bytes) {
    const core::Chunk *chunk = &work->chunk->chunk;

    report_chunk(RelationGetRelid(work->target), chunk->end_byte - chunk->start_byte, read_bytes, &work->counts);
}

/* Raises the error again unless it is the record's own. */
void require_reject(ErrorData *error) {
    if (core::error_fate(sqlstate_of(error)) != core::ErrorFate::Reject) {
        ReThrowError(error);
    }
}

/* The record work->next has become a tuple. */
void report_formed(const ChunkWork *work) {
    if (work->next % kReportInterval == 0) {
        report_bytes(bytes_behind(work, work->next));
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
    reject.encoding = work->encoding;

    const MemoryContext context = MemoryContextSwitchTo(work->reject_context);
    add_reject(work->ledger, work->import_id, work->chunk->id, &reject);
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
        report_formed(work);
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
            work->tuples[work->next] = tuple;
            report_formed(work);
            work->next++;
            continue;
        }

        /* What may raise an error runs in a subtransaction: on PostgreSQL 15 there are no soft errors. */
        ErrorData *error = try_in_subtransaction(form_tuples, work);
        if (error != nullptr) {
            /* Some input functions refuse a value with an error of class 42: regclass, jsonpath, tsquery. */
            if (!value_was_refused(work->former) ||
                ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION) {
                require_reject(error);
            }
            reject_record(work, work->next, error, column_at_fault(work->former));
            report(work, bytes_behind(work, work->next)); /* it ended with the subtransaction */
            FreeErrorData(error);
            work->next++;
        }
    }
}

/* Inserts the tuples [from, to) as one statement. Null, or the error, which is then a record's own. */
ErrorData *try_insert(ChunkWork *work, int from, int to) {
    TupleRange range = {work->target,
                        work->columns,
                        work->counts.loaded,
                        work->counts.rejected + work->counts.skipped,
                        work->tuples,
                        from,
                        to,
                        false,
                        0,
                        0};
    ErrorData *error = try_in_subtransaction(insert_range, &range);

    if (error == nullptr) {
        work->counts.loaded += static_cast<int64>(range.inserted);
        work->counts.skipped += static_cast<int64>(range.skipped);
    } else {
        if (!range.begun) {
            ReThrowError(error); /* it comes before the first record */
        }
        require_reject(error);
        report(work, bytes_behind(work, to - 1)); /* it ended with the subtransaction */
    }
    return error;
}

/*
 * Inserts the tuples [from, to) of the piece; when that fails, the two halves of it one after the other, down to single
 * records. What one half has inserted is visible to the next: of two records with the same key, the first is loaded.
 */
void insert_tuples(ChunkWork *work, int from, int to, bool keep_orphans) {
    ErrorData *error = from < to ? try_insert(work, from, to) : nullptr;

    if (error == nullptr) {
        return;
    }
    if (to - from == 1 && keep_orphans && error->sqlerrcode == ERRCODE_FOREIGN_KEY_VIOLATION) {
        work->orphans[work->orphan_count++] = from;
    } else if (to - from == 1) {
        reject_record(work, from, error, column_of(work->target, error));
    } else {
        const int middle = from + (to - from) / 2;
        insert_tuples(work, from, middle, keep_orphans);
        insert_tuples(work, middle, to, keep_orphans);
    }
    FreeErrorData(error);
}

/*
 * COPY checks foreign keys behind the last record, so a record may reference one that comes after it. Halving a piece
 * because of some other record must not make it an orphan: it is tried again until none more finds its referenced row.
 * Backwards, because those are the references that are left.
 */
void insert_orphans(ChunkWork *work) {
    for (bool final = false; work->orphan_count > 0 && !final;) {
        int left = 0;

        final = true;
        for (int i = work->orphan_count - 1; i >= 0; i--) {
            ErrorData *error = try_insert(work, work->orphans[i], work->orphans[i] + 1);
            if (error == nullptr) {
                work->orphans[i] = -1;
                final = false;
            } else {
                FreeErrorData(error);
            }
        }
        for (int i = 0; i < work->orphan_count; i++) {
            if (work->orphans[i] >= 0) {
                work->orphans[left++] = work->orphans[i];
            }
        }
        work->orphan_count = left;
    }
    for (int i = 0; i < work->orphan_count; i++) {
        insert_tuples(work, work->orphans[i], work->orphans[i] + 1, false);
    }
    work->orphan_count = 0;
}

} // namespace

ChunkCounts write_chunk(const Ledger *ledger, const Import *import, const LedgerChunk *chunk, Oid target) {
    ChunkWork work;
    memset(&work, 0, sizeof(work));
    work.ledger = ledger;
    work.import_id = import->id;
    work.chunk = chunk;
    work.target = open_target(target, import->target, import->columns, import->column_count);
    work.former = make_tuple_former(import, work.target, Defaults::All);
    work.encoding = import->encoding;
    work.references_itself = references_itself(work.target);
    work.piece_context = AllocSetContextCreate(CurrentMemoryContext, "movielens_ingest piece", ALLOCSET_DEFAULT_SIZES);
    work.reject_context =
        AllocSetContextCreate(CurrentMemoryContext, "movielens_ingest reject", ALLOCSET_DEFAULT_SIZES);

    work.columns = column_numbers(work.target, import->columns, import->column_count);

    RecordReader *reader = open_record_reader(import, &chunk->chunk);
    report(&work, 0);
    while (read_piece(reader, &work.piece)) {
        MemoryContextReset(work.piece_context);
        work.tuples = static_cast<HeapTuple *>(
            MemoryContextAllocHuge(work.piece_context, sizeof(HeapTuple) * static_cast<Size>(work.piece.count)));
        if (work.references_itself) {
            work.orphans = static_cast<int *>(
                MemoryContextAllocHuge(work.piece_context, sizeof(int) * static_cast<Size>(work.piece.count)));
        }
        form_piece(&work);
        insert_tuples(&work, 0, work.piece.count, work.references_itself);
        insert_orphans(&work);
        report(&work, bytes_read(reader));
    }
    close_record_reader(reader);
    table_close(work.target, NoLock);
    return work.counts;
}

} // namespace movielens_ingest::pg
