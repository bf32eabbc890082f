#include "pg/chunk_work.hpp"

#include "pg/pg.hpp"
#include "pg/progress.hpp"

namespace movielens_ingest::pg {

void make_contexts(ChunkWork *work) {
    work->piece_context = AllocSetContextCreate(CurrentMemoryContext, "movielens_ingest piece", ALLOCSET_DEFAULT_SIZES);
    work->try_context =
        AllocSetContextCreate(CurrentMemoryContext, "movielens_ingest refusals", ALLOCSET_DEFAULT_SIZES);
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

void put_off(ChunkWork *work, int record, const Refusal *why) {
    work->rejects->put_off(&work->piece, record, why);
    work->tuples[record] = nullptr;
    work->counts.rejected++;
    work->counts.pending++;
}

void report_work(const ChunkWork *work, uint64 read_bytes) {
    const core::Chunk *chunk = &work->chunk->chunk;

    report_chunk(RelationGetRelid(work->target), chunk->end_byte - chunk->start_byte, read_bytes, &work->counts);
}

uint64 bytes_behind(const ChunkWork *work, int record) {
    const RecordPlace *place = &work->piece.records[record];

    return work->piece.start_byte + place->offset + place->size - work->chunk->chunk.start_byte;
}

} // namespace movielens_ingest::pg
