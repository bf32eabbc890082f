#include "pg/validation.hpp"

#include "core/error_fate.hpp"
#include "pg/constraint_checker.hpp"
#include "pg/pg.hpp"
#include "pg/record_reader.hpp"
#include "pg/subtransaction.hpp"
#include "pg/target.hpp"
#include "pg/tuple_former.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr int kLookAroundInterval = 1000; /* records */

struct ChunkValidation {
    const Validation *validation;
    const core::Chunk *chunk;
    Relation target;
    TupleFormer *former;
    ConstraintChecker *checker;
    Piece piece;
    MemoryContext record_context; /* the tuple */
    MemoryContext reject_context; /* one reject */
    int next;                     /* record to validate next */
    bool formed;                  /* it has become a tuple */
};

/* Validates from work->next on, until one raises an error: work->next is then its record. */
void validate_records(void *argument) {
    auto *work = static_cast<ChunkValidation *>(argument);
    const int to = Min(work->next + kLookAroundInterval, work->piece.count);

    for (; work->next < to; work->next++) {
        CHECK_FOR_INTERRUPTS();
        work->formed = false;
        MemoryContextReset(work->record_context);
        MemoryContextSwitchTo(work->record_context);
        HeapTuple tuple = form_tuple(work->former, work->piece.bytes, &work->piece.records[work->next], true);
        work->formed = true;
        if (work->checker != nullptr) {
            check_constraints(work->checker, tuple);
        }
    }
}

/* Raises the error again unless it is the record's own, by the rules of form_piece() and try_insert(). */
void require_reject(const ChunkValidation *work, ErrorData *error) {
    const bool refused_value = !work->formed && value_was_refused(work->former) &&
                               ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION;

    if (!refused_value && core::error_fate(sqlstate_of(error)) != core::ErrorFate::Reject) {
        ReThrowError(error);
    }
}

void refuse_record(const ChunkValidation *work, const ErrorData *error) {
    const RecordPlace *record = &work->piece.records[work->next];
    Reject reject;

    reject.row_number = static_cast<int64>(work->piece.first_row) + work->next;
    reject.line_number = static_cast<int64>(record->line_number);
    reject.byte_offset = static_cast<int64>(work->piece.start_byte + record->offset);
    reject.column = work->formed ? column_of(work->target, error) : column_at_fault(work->former);
    reject.sqlstate = sqlstate_of(error);
    reject.message = error->message;
    reject.detail = error->detail;
    reject.raw = work->piece.bytes + record->offset;
    reject.raw_size = record->size;
    reject.encoding = work->validation->import->encoding;
    work->validation->refuse(work->validation->argument, &reject);
}

void validate_piece(ChunkValidation *work) {
    const Validation *validation = work->validation;

    work->next = 0;
    while (work->next < work->piece.count) {
        ErrorData *error = try_in_subtransaction(validate_records, work);
        if (error != nullptr) {
            require_reject(work, error);
            const MemoryContext context = MemoryContextSwitchTo(work->reject_context);
            refuse_record(work, error);
            MemoryContextSwitchTo(context);
            MemoryContextReset(work->reject_context);
            FreeErrorData(error);
            work->next++;
        }
        /* Not within: an error there is none of the record's. */
        if (validation->look_around != nullptr) {
            validation->look_around(validation->argument);
        }
    }
}

void validate_records_of_chunk(void *argument) {
    auto *work = static_cast<ChunkValidation *>(argument);
    const Import *import = work->validation->import;

    work->target = open_target(import->target_oid, import->target, import->columns, import->column_count);
    work->former = make_tuple_former(import, work->target, Defaults::WithoutVolatile);
    work->checker =
        make_constraint_checker(work->target, column_numbers(work->target, import->columns, import->column_count),
                                columns_left_out(work->former));
    work->record_context =
        AllocSetContextCreate(CurrentMemoryContext, "movielens_ingest record", ALLOCSET_DEFAULT_SIZES);
    work->reject_context =
        AllocSetContextCreate(CurrentMemoryContext, "movielens_ingest reject", ALLOCSET_DEFAULT_SIZES);

    RecordReader *reader = open_record_reader(import, work->chunk);
    while (read_piece(reader, &work->piece)) {
        validate_piece(work);
    }
    close_record_reader(reader);
    table_close(work->target, NoLock);
}

} // namespace

void validate_chunk(const Validation *validation, const core::Chunk *chunk) {
    ChunkValidation work;

    memset(&work, 0, sizeof(work));
    work.validation = validation;
    work.chunk = chunk;
    run_and_undo(validate_records_of_chunk, &work);
}

} // namespace movielens_ingest::pg
