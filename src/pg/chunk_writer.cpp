#include "pg/chunk_writer.hpp"

#include "core/error_fate.hpp"
#include "pg/chunk_work.hpp"
#include "pg/foreign_keys.hpp"
#include "pg/multi_insert_writer.hpp"
#include "pg/pg.hpp"
#include "pg/progress.hpp"
#include "pg/reject_buffer.hpp"
#include "pg/spi_writer.hpp"
#include "pg/subtransaction.hpp"
#include "pg/target.hpp"
#include "pg/target_storage.hpp"
#include "pg/writer_choice.hpp"

namespace movielens_ingest::pg {

namespace {

void make_writer(ChunkWork *work, const Loader *loader, const Import *import) {
    const WriterChoice choice = choose_writer(work->target, import->columns, import->column_count);

    work->foreign_keys = choice.foreign_keys;
    if (choice.multi_insert) {
        const Bitmapset *columns = column_numbers(work->target, import->columns, import->column_count);
        work->former = make_tuple_former(import, work->target, TupleShape::Row);
        work->writer = make_multi_insert_writer(work->target, columns);
    } else {
        work->former = make_tuple_former(import, work->target, TupleShape::Fields);
        work->writer =
            make_spi_writer(work->target, import, formed_desc(work->former), get_rel_namespace(loader->ledger.files));
    }
}

} // namespace

bool is_records_own(const ErrorData *error) {
    /* A violated policy has the SQLSTATE of a missing privilege. */
    const bool policy = error->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE && error->funcname != nullptr &&
                        strcmp(error->funcname, "ExecWithCheckOptions") == 0;

    return policy || core::error_fate(sqlstate_of(error)) == core::ErrorFate::Reject;
}

void refuse(ChunkWork *work, int record, const Refusal *why) {
    work->rejects->refuse(&work->piece, record, why);
    work->tuples[record] = nullptr;
    work->counts.rejected++;
}

void refuse_for_error(ChunkWork *work, int record, const ErrorData *error, const char *column) {
    const Refusal why = {error->sqlerrcode, error->message, error->detail, column};

    refuse(work, record, &why);
}

void report_work(const ChunkWork *work, uint64 read_bytes) {
    const core::Chunk *chunk = &work->chunk->chunk;

    report_chunk(RelationGetRelid(work->target), chunk->end_byte - chunk->start_byte, read_bytes, &work->counts);
}

uint64 bytes_behind(const ChunkWork *work, int record) {
    const RecordPlace *place = &work->piece.records[record];

    return work->piece.start_byte + place->offset + place->size - work->chunk->chunk.start_byte;
}

ChunkCounts write_chunk(Loader *loader, const Import *import, const LedgerChunk *chunk) {
    ChunkWork work;

    memset(&work, 0, sizeof(work));
    work.chunk = chunk;
    work.target = open_target(import->target_oid, import->target, import->columns, import->column_count);
    require_same_storage(work.target, import);
    work.rejects = make_reject_buffer(loader, import, chunk);
    work.references_itself = references_itself(work.target);
    make_contexts(&work);
    make_writer(&work, loader, import);

    RecordReader *reader = open_record_reader(import, &chunk->chunk);
    report_work(&work, 0);
    while (read_piece(reader, &work.piece)) {
        form_piece(&work);
        write_piece(&work);
        report_work(&work, bytes_read(reader));
    }
    work.rejects->finish();
    work.writer->finish();
    close_record_reader(reader);
    table_close(work.target, NoLock);
    return work.counts;
}

} // namespace movielens_ingest::pg
