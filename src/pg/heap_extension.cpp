#include "pg/heap_extension.hpp"

#include "pg/pg.hpp"
#include "pg/settings.hpp"

#include <fcntl.h>

namespace movielens_ingest::pg {

namespace {

/* As mdzeroextend(): for fewer blocks, filesystems do better when they choose the place late. */
constexpr int kEnoughToReserve = 9;

/*
 * Nobody else can see a block behind the end of the heap, or add it, while we hold the extension lock. So it needs no
 * reading, which an RBM_ZERO_AND_LOCK of a block that others see would need: it may have been used, and written.
 */
Buffer lock_block_behind_end(Relation heap, BlockNumber block, BufferAccessStrategy strategy) {
    const Buffer buffer = ReadBufferExtended(heap, MAIN_FORKNUM, block, RBM_ZERO_AND_LOCK, strategy);

    /* As ReadBuffer_common(). An empty page is what an extension leaves that has failed. */
    if (!PageIsNew(BufferGetPage(buffer))) {
        ereport(ERROR, (errmsg("unexpected data beyond EOF in block %u of relation \"%s\"", block,
                               RelationGetRelationName(heap)),
                        errhint("This has been seen to occur with buggy kernels; consider updating your system.")));
    }
    return buffer;
}

/* The file of the segment that a block is in: _mdfd_segpath(). */
const char *segment_path(Relation heap, BlockNumber block) {
    const char *path = path_of_main_fork(heap);
    const auto segment = block / static_cast<BlockNumber>(RELSEG_SIZE);

    return segment == 0 ? path : psprintf("%s.%u", path, segment);
}

/*
 * Makes the filesystem reserve blocks of one segment, which has its file, as zeroes, without taking them through the
 * page cache. False: it cannot.
 */
bool reserve_blocks(Relation heap, BlockNumber first, int count) {
#ifdef HAVE_POSIX_FALLOCATE
    const char *path = segment_path(heap, first);
    const auto in_segment = static_cast<off_t>(first % static_cast<BlockNumber>(RELSEG_SIZE));
    int code;

    const int file = OpenTransientFile(path, O_RDWR | PG_BINARY);
    if (file < 0) {
        ereport(ERROR, (errcode_for_file_access(), errmsg("could not open file \"%s\": %m", path)));
    }
    do {
        code = posix_fallocate(file, in_segment * BLCKSZ, static_cast<off_t>(count) * BLCKSZ);
    } while (code == EINTR);
    if (CloseTransientFile(file) != 0) {
        ereport(ERROR, (errcode_for_file_access(), errmsg("could not close file \"%s\": %m", path)));
    }
    if (code != 0 && code != EINVAL && code != EOPNOTSUPP) {
        errno = code;
        ereport(ERROR, (errcode_for_file_access(), errmsg("could not extend file \"%s\": %m", path),
                        errhint("Check free disk space.")));
    }
    return code == 0;
#else
    return false;
#endif
}

void write_zeroes(Relation heap, BlockNumber first, int count) {
    BlockForFile zeroes;

    memset(zeroes.data, 0, BLCKSZ);
    for (int i = 0; i < count; i++) {
        smgrextend(RelationGetSmgr(heap), MAIN_FORKNUM, first + static_cast<BlockNumber>(i), zeroes.data, false);
    }
}

void extend_file(Relation heap, BlockNumber first, int count) {
    /* This one may be the first of a segment, which mdextend() makes; and it asks for the fsync. */
    write_zeroes(heap, first, 1);
    const auto left =
        static_cast<int>(static_cast<BlockNumber>(RELSEG_SIZE) - first % static_cast<BlockNumber>(RELSEG_SIZE));
    if (file_extend_method_setting() == FileExtendMethod::WriteZeros || count < kEnoughToReserve || count > left ||
        !reserve_blocks(heap, first + 1, count - 1)) {
        write_zeroes(heap, first + 1, count - 1);
    }
}

/* Locks pages that VACUUM has perhaps found, and others have filled, since they were added; leaves those out, and
 * returns how many are new. */
int lock_new_pages(Buffer *buffers, int count) {
    int locked = 0;

    for (int i = 0; i < count; i++) {
        LockBuffer(buffers[i], BUFFER_LOCK_EXCLUSIVE);
        if (PageIsNew(BufferGetPage(buffers[i]))) {
            buffers[locked++] = buffers[i];
        } else {
            UnlockReleaseBuffer(buffers[i]);
        }
    }
    return locked;
}

} // namespace

void add_pages(Relation heap, int count, BufferAccessStrategy strategy, Buffer *buffers) {
    Assert(count > 0 && count <= kMostNewPages);
    if (kHeapsGrowByMany && file_extend_method_setting() != FileExtendMethod::WriteZeros) {
        for (int done = 0; done < count;) {
            const int added = add_pinned_pages(heap, count - done, strategy, buffers + done);
            done += lock_new_pages(buffers + done, added);
        }
        return;
    }
    LockRelationForExtension(heap, ExclusiveLock);
    const BlockNumber first = RelationGetNumberOfBlocks(heap);
    if (first > MaxBlockNumber - static_cast<BlockNumber>(count)) {
        ereport(ERROR,
                (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("cannot extend relation \"%s\" beyond %u blocks",
                                                                 RelationGetRelationName(heap), MaxBlockNumber)));
    }
    for (int i = 0; i < count; i++) {
        buffers[i] = lock_block_behind_end(heap, first + static_cast<BlockNumber>(i), strategy);
    }
    extend_file(heap, first, count);
    UnlockRelationForExtension(heap, ExclusiveLock);
}

} // namespace movielens_ingest::pg
