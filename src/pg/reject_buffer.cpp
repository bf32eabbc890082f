#include "pg/reject_buffer.hpp"

#include "pg/error_text.hpp"
#include "pg/pg.hpp"
#include "pg/raw_line.hpp"
#include "pg/reject_limit.hpp"
#include "pg/shared_chunks.hpp"

namespace movielens_ingest::pg {

namespace {

/*
 * Then they are written: what a record of rejected_rows costs is then its own. A record that would make more of it
 * waits for those before it, for it may have nearly 1 GB, which is all that an array may have (construct_md_array).
 */
constexpr int kMostRejects = 1000;
constexpr Size kMostBytes = 1024 * 1024;

/* At most: its bytes, raw_line, message and detail. */
Size room_of_reject(const RecordPlace *record) {
    return VARHDRSZ + record->size + kRawLineLimit + 2 * Size{kErrorTextLimit};
}

class RejectBuffer : public RejectSink {
  public:
    RejectBuffer(Loader *loader, const Import *import, const LedgerChunk *chunk)
        : loader_(loader), import_(import), chunk_(chunk),
          context_(AllocSetContextCreateInternal(CurrentMemoryContext, "movielens_ingest rejects",
                                                 ALLOCSET_DEFAULT_SIZES)) {}
    void refuse(const Piece *piece, int index, const Refusal *why) override { add(piece, index, why, false); }
    void put_off(const Piece *piece, int index, const Refusal *why) override { add(piece, index, why, true); }
    void finish() override { write(); }

  private:
    void add(const Piece *piece, int index, const Refusal *why, bool pending);
    void write();

    Loader *loader_;
    const Import *import_;
    const LedgerChunk *chunk_;
    MemoryContext context_; /* what the rejects point to */
    Reject rejects_[kMostRejects];
    int count_ = 0;
    Size bytes_ = 0;
};

void RejectBuffer::add(const Piece *piece, int index, const Refusal *why, bool pending) {
    if (bytes_ + room_of_reject(&piece->records[index]) > kMostBytes) {
        write();
    }
    const MemoryContext context = MemoryContextSwitchTo(context_);
    Reject *reject = &rejects_[count_];
    *reject = make_reject(piece, index, why, import_->encoding);
    reject->pending = pending;
    MemoryContextSwitchTo(context);

    if (!pending) {
        require_import_goes_on(import_, reject, count_refused(loader_->shared, loader_->slot));
    }
    count_++;
    bytes_ += strlen(reject->raw.text) + strlen(reject->why.message) +
              (reject->why.detail != nullptr ? strlen(reject->why.detail) : 0) +
              (reject->raw.bytes != nullptr ? VARSIZE(reject->raw.bytes) : 0);
    if (count_ == kMostRejects || bytes_ > kMostBytes) {
        write();
    }
}

void RejectBuffer::write() {
    if (count_ == 0) {
        return;
    }
    const MemoryContext context = MemoryContextSwitchTo(context_);
    add_rejects(&loader_->ledger, import_->id, chunk_->id, rejects_, count_);
    MemoryContextSwitchTo(context);
    MemoryContextReset(context_);
    count_ = 0;
    bytes_ = 0;
}

} // namespace

RejectSink *make_reject_buffer(Loader *loader, const Import *import, const LedgerChunk *chunk) {
    forget_refused(loader->shared, loader->slot);
    return new (palloc(sizeof(RejectBuffer))) RejectBuffer(loader, import, chunk);
}

} // namespace movielens_ingest::pg
