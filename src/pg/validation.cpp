#include "pg/validation.hpp"

#include "pg/chunk_work.hpp"
#include "pg/subtransaction.hpp"
#include "pg/target.hpp"

namespace movielens_ingest::pg {

namespace {

struct ChunkValidation {
    const Import *import;
    LedgerChunk chunk;
    RejectSink *rejects;
};

bool has_before_trigger(Relation relation) {
    return relation->trigdesc != nullptr && relation->trigdesc->trig_insert_before_row;
}

/*
 * Does a row satisfy the table's rules as it comes from the file? A trigger may change it before, and the server of a
 * foreign table has rules of its own.
 */
bool rows_are_final(Relation target) {
    ListCell *cell;
    bool final = true;

    if (target->rd_rel->relkind == RELKIND_RELATION) {
        return !has_before_trigger(target);
    }
    if (target->rd_rel->relkind != RELKIND_PARTITIONED_TABLE) {
        return false;
    }
    foreach (cell, find_all_inheritors(RelationGetRelid(target), AccessShareLock, nullptr)) {
        Relation partition = table_open(lfirst_oid(cell), NoLock);
        final = final && !has_before_trigger(partition) && partition->rd_rel->relkind != RELKIND_FOREIGN_TABLE;
        table_close(partition, NoLock);
    }
    return final;
}

void validate_records(void *argument) {
    const auto *validation = static_cast<ChunkValidation *>(argument);
    const Import *import = validation->import;
    ChunkWork work;

    memset(&work, 0, sizeof(work));
    work.chunk = &validation->chunk;
    work.rejects = validation->rejects;
    work.target = open_target(import->target_oid, import->target, import->columns, import->column_count);
    work.former =
        make_tuple_former(import, work.target, rows_are_final(work.target) ? TupleShape::Known : TupleShape::Fields);
    make_contexts(&work);

    RecordReader *reader = open_record_reader(import, &validation->chunk.chunk, PieceSize::InCache);
    report_work(&work, 0);
    while (read_piece(reader, &work.piece)) {
        form_piece(&work);
        report_work(&work, bytes_read(reader));
    }
    close_record_reader(reader);
    table_close(work.target, NoLock);
}

} // namespace

void validate_chunk(const Import *import, const core::Chunk *chunk, RejectSink *rejects) {
    ChunkValidation validation = {import, {0, *chunk, 1}, rejects};

    run_and_undo(validate_records, &validation);
    rejects->finish();
}

} // namespace movielens_ingest::pg
