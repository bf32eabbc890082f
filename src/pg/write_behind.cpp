#include "pg/write_behind.hpp"

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

namespace {

/* Half of the ring, which is smaller in a small cache (GetAccessStrategy); what is older is left to it. */
constexpr uint64 kMostRemembered = 1024;
uint64 most_remembered() { return Min(kMostRemembered, static_cast<uint64>(NBuffers) / 16); }

/*
 * So many are kept: a small import leaves its pages to the checkpointer. More are not, so that a page is still in the
 * processor's cache when it is written.
 */
uint64 most_kept() { return most_remembered() / 2; }

/* The blocks of one file that were filled last; the first of them have been written. */
MainFile file;
BlockNumber filled[kMostRemembered];
uint64 filled_count;
uint64 written_count;

/* False: its WAL is not on disk yet. To wait for that is up to the commit. */
bool write_out(Relation heap, BlockNumber block, BufferAccessStrategy ring) {
    const Buffer buffer = ReadBufferExtended(heap, MAIN_FORKNUM, block, RBM_NORMAL, ring);

    LockBuffer(buffer, kLockToFlush);
    const bool now = !RelationNeedsWAL(heap) || !XLogNeedsFlush(BufferGetLSNAtomic(buffer));
    if (now) {
        FlushOneBuffer(buffer);
    }
    UnlockReleaseBuffer(buffer);
    return now;
}

} // namespace

void remember_filled(Relation heap, BlockNumber block) {
    if (!same_main_file(file, main_file(heap))) {
        file = main_file(heap);
        written_count = filled_count;
    }
    filled[filled_count++ % kMostRemembered] = block;
    if (filled_count - written_count > most_remembered()) {
        written_count++;
    }
}

void write_out_filled(Relation heap, BufferAccessStrategy ring) {
    if (!same_main_file(file, main_file(heap))) {
        return;
    }
    /* Between two transactions of ours VACUUM may have cut the end of the table off. */
    const BlockNumber end = RelationGetNumberOfBlocks(heap);
    while (filled_count - written_count > most_kept()) {
        const BlockNumber block = filled[written_count % kMostRemembered];
        if (block < end && !write_out(heap, block, ring)) {
            break;
        }
        written_count++;
    }
}

} // namespace movielens_ingest::pg
