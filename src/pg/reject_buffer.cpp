#include "pg/reject_buffer.hpp"

#include "pg/pg.hpp"
#include "pg/raw_line.hpp"
#include "pg/shared_batch.hpp"

namespace movielens_ingest::pg {

namespace {

/* Then they are written: what a record of rejected_rows costs is then its own. */
constexpr int kMostRejects = 1000;
constexpr Size kMostBytes = 1024 * 1024;

} // namespace

struct RejectBuffer {
    Loader *loader;
    const Import *import;
    const LedgerChunk *chunk;
    MemoryContext context; /* what the rejects point to */
    Reject rejects[kMostRejects];
    int count;
    Size bytes;
};

namespace {

void raise_stop(const RejectBuffer *buffer, const Reject *reject) {
    ereport(ERROR, (errcode(reject->why.sqlerrcode),
                    errmsg("record at line " INT64_FORMAT " of file \"%s\" was refused: %s", reject->line_number,
                           buffer->import->path, reject->why.message),
                    reject->why.detail != nullptr ? errdetail_internal("%s", reject->why.detail) : 0));
}

void raise_limit(const RejectBuffer *buffer, const Reject *reject) {
    ereport(
        ERROR,
        (errcode(reject->why.sqlerrcode),
         errmsg("more than %d records of file \"%s\" were refused, the last one at line " INT64_FORMAT ": %s",
                buffer->import->options.reject_limit, buffer->import->path, reject->line_number, reject->why.message),
         reject->why.detail != nullptr ? errdetail_internal("%s", reject->why.detail) : 0));
}

} // namespace

RejectBuffer *make_reject_buffer(Loader *loader, const Import *import, const LedgerChunk *chunk) {
    auto *buffer = static_cast<RejectBuffer *>(palloc0(sizeof(RejectBuffer)));

    buffer->loader = loader;
    buffer->import = import;
    buffer->chunk = chunk;
    buffer->context = AllocSetContextCreate(CurrentMemoryContext, "movielens_ingest rejects", ALLOCSET_DEFAULT_SIZES);
    forget_refused(loader->shared, loader->slot);
    return buffer;
}

void refuse_record(RejectBuffer *buffer, const Piece *piece, int index, const Refusal *why) {
    const RecordPlace *record = &piece->records[index];
    const ImportOptions *options = &buffer->import->options;
    Reject *reject = &buffer->rejects[buffer->count];

    reject->row_number = static_cast<int64>(piece->first_row) + index;
    reject->line_number = static_cast<int64>(record->line_number);
    reject->byte_offset = static_cast<int64>(piece->start_byte + record->offset);
    reject->why = *why;
    if (options->on_error == OnError::Stop) {
        raise_stop(buffer, reject);
    }
    const int64 refused = count_refused(buffer->loader->shared, buffer->loader->slot);
    if (options->reject_limit >= 0 && refused > options->reject_limit) {
        raise_limit(buffer, reject);
    }

    reject->why = copy_refusal(why, buffer->context);
    const MemoryContext context = MemoryContextSwitchTo(buffer->context);
    reject->raw = show_raw_line(piece->bytes + record->offset, record->size, buffer->import->encoding);
    MemoryContextSwitchTo(context);
    buffer->count++;
    buffer->bytes += strlen(reject->raw.text) + strlen(reject->why.message) +
                     (reject->raw.bytes != nullptr ? VARSIZE(reject->raw.bytes) : 0);
    if (buffer->count == kMostRejects || buffer->bytes > kMostBytes) {
        flush_rejects(buffer);
    }
}

void flush_rejects(RejectBuffer *buffer) {
    if (buffer->count == 0) {
        return;
    }
    const MemoryContext context = MemoryContextSwitchTo(buffer->context);
    add_rejects(&buffer->loader->ledger, buffer->import->id, buffer->chunk->id, buffer->rejects, buffer->count);
    MemoryContextSwitchTo(context);
    MemoryContextReset(buffer->context);
    buffer->count = 0;
    buffer->bytes = 0;
}

} // namespace movielens_ingest::pg
