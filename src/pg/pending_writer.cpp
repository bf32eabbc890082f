#include "pg/pending_writer.hpp"

#include "pg/chunk_work.hpp"
#include "pg/pg.hpp"
#include "pg/referenced_keys.hpp"
#include "pg/scattered_records.hpp"
#include "pg/target.hpp"
#include "pg/target_storage.hpp"

namespace movielens_ingest::pg {

namespace {

/* As large as a part may become: its records, their rows, and what is known of each. */
struct PartSize {
    int records;
    size_t bytes; /* of the file */
};

PartSize size_of_part() {
    constexpr size_t kBytesOfEach = 256;
    constexpr size_t kRows = 4; /* bytes in memory for one of the file */
    const size_t memory = static_cast<size_t>(maintenance_work_mem) * 1024;

    return {static_cast<int>(Min(memory / kBytesOfEach, size_t{INT_MAX} / 2)), memory / kRows};
}

/* Which of the records are refused again, and why if it is for another reason than before. */
class PendingSink : public RejectSink {
  public:
    explicit PendingSink(int count)
        : context(CurrentMemoryContext), gone(static_cast<bool *>(palloc(sizeof(bool) * static_cast<Size>(count)))),
          reasons(static_cast<Refusal *>(palloc0(sizeof(Refusal) * static_cast<Size>(count)))) {
        memset(gone, true, sizeof(bool) * static_cast<size_t>(count));
    }
    void refuse(const Piece *, int index, const Refusal *why) override {
        gone[index] = false;
        reasons[index] = copy_refusal(why, context);
    }
    void put_off(const Piece *, int index, const Refusal *) override { gone[index] = false; }
    void finish() override {}

    MemoryContext context;
    bool *gone;
    Refusal *reasons;
};

void write_records(Loader *loader, const Import *import, const PendingRecord *records, int count, PendingPart *part) {
    LedgerChunk chunk;
    ChunkWork work;

    memset(&chunk, 0, sizeof(chunk));
    memset(&work, 0, sizeof(work));
    work.chunk = &chunk;
    keep_referenced_keys_for(import->target_oid);
    work.target = open_target(import->target_oid, import->target, import->columns, import->column_count);
    require_same_storage(work.target, import);
    work.references_itself = true;
    work.orphans_wait = true;
    make_contexts(&work);
    work.piece = read_scattered_records(import, records, count, size_of_part().bytes);
    const RecordPlace *last = &work.piece.records[work.piece.count - 1];
    chunk.chunk.end_byte = last->offset + last->size;
    auto *sink = new (palloc(sizeof(PendingSink))) PendingSink(work.piece.count);
    work.rejects = sink;
    (void)make_writer(&work, loader, import);

    report_work(&work, 0);
    form_piece(&work);
    write_piece(&work);
    work.writer->finish();
    table_close(work.target, NoLock);

    const PendingOutcome outcome = {records, work.piece.count, sink->gone, work.counts.skipped, sink->reasons};
    settle_pending(&loader->ledger, &outcome);
    part->before = records[work.piece.count - 1].row_number;
    part->count = work.piece.count;
    part->gone = work.counts.loaded + work.counts.skipped;
}

} // namespace

void write_pending(Loader *loader, const Import *import, PendingPart *part) {
    int count;
    const PendingRecord *records =
        read_pending(&loader->ledger, import->id, part->before, size_of_part().records, &count);

    part->count = 0;
    part->gone = 0;
    if (count > 0) {
        write_records(loader, import, records, count, part);
    }
}

} // namespace movielens_ingest::pg
