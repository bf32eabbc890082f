#include "pg/chunk_writer.hpp"

#include "pg/chunk_work.hpp"
#include "pg/foreign_keys.hpp"
#include "pg/heap_writer.hpp"
#include "pg/pg.hpp"
#include "pg/referenced_keys.hpp"
#include "pg/reject_buffer.hpp"
#include "pg/spi_writer.hpp"
#include "pg/target.hpp"
#include "pg/target_storage.hpp"
#include "pg/writer_choice.hpp"

namespace movielens_ingest::pg {

namespace {

/* There are no other records. */
bool is_whole_file(const Import *import, const core::Chunk *chunk, const Piece *piece) {
    return static_cast<int64>(chunk->start_byte) == import->data_start &&
           static_cast<int64>(chunk->end_byte) == import->file.size &&
           static_cast<uint64>(piece->count) == chunk->end_row - chunk->start_row + 1;
}

} // namespace

WriterKind make_writer(ChunkWork *work, const Loader *loader, const Import *import) {
    const WriterChoice choice = choose_writer(work->target, import);

    work->foreign_keys = choice.foreign_keys;
    work->self_references = choice.self_references;
    if (choice.foreign_keys == NIL) {
        give_up_referenced_keys();
    }
    if (choice.kind != WriterKind::Spi) {
        const Bitmapset *columns = column_numbers(work->target, import->columns, import->column_count);
        work->former = make_tuple_former(import, work->target, TupleShape::Row);
        work->writer = make_heap_writer(work->target, columns, choice.kind == WriterKind::Pages);
    } else {
        work->former = make_tuple_former(import, work->target, TupleShape::Fields);
        work->writer = make_spi_writer(work->target, import, formed_desc(work->former), choice.elsewhere,
                                       get_rel_namespace(loader->ledger.files));
    }
    return choice.kind;
}

ChunkCounts write_chunk(Loader *loader, const Import *import, const LedgerChunk *chunk) {
    ChunkWork work;

    memset(&work, 0, sizeof(work));
    work.chunk = chunk;
    keep_referenced_keys_for(import->target_oid);
    work.target = open_target(import->target_oid, import->target, import->columns, import->column_count);
    require_same_storage(work.target, import);
    work.rejects = make_reject_buffer(loader, import, chunk);
    work.references_itself = self_reference_keys(work.target) != NIL;
    make_contexts(&work);
    const WriterKind kind = make_writer(&work, loader, import);

    /* A statement has its own costs, on other servers above all, and what it fires is to see as much as with COPY. */
    const PieceSize size = kind == WriterKind::Spi ? PieceSize::Whole : PieceSize::InCache;
    RecordReader *reader = open_record_reader(import, &chunk->chunk, size);
    report_work(&work, 0);
    while (read_piece(reader, &work.piece)) {
        work.orphans_wait = work.references_itself && !is_whole_file(import, &chunk->chunk, &work.piece);
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
