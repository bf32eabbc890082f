#include "pg/heap_pages.hpp"

#include "pg/heap_extension.hpp"
#include "pg/pg.hpp"
#include "pg/write_behind.hpp"

namespace movielens_ingest::pg {

namespace {

/* New pages at once; fewer of a small cache: StrategyGetBuffer() wants a buffer that is not pinned. */
int most_pages() { return Max(Min(kMostNewPages, NBuffers / 64), 1); }

/* The tuples of one page: [from, to). */
struct PageTuples {
    int from;
    int to;
};

/* What is the same for all pages. */
struct Appending {
    Relation heap;
    HeapTuple *tuples;
    TransactionId xid;
    CommandId command_id;
    bool logged;
    bool logically_logged;
};

/* What is on a page: its free space without what fillfactor leaves, as PageGetExactFreeSpace(), and its tuples. */
struct PageFill {
    Size free;
    int tuples;
};

/* How many of the tuples heap_multi_insert() would put on a page. */
int count_for_page(Size saved_space, const HeapTuple *tuples, int count, PageFill *fill) {
    int fitting = 0;

    for (; fitting < count; fitting++) {
        const Size needed = MAXALIGN(tuples[fitting]->t_len);
        /* As PageGetHeapFreeSpace. The first one goes there whatever fillfactor says (RelationGetBufferForTuple). */
        const Size free = fill->free < sizeof(ItemIdData) || fill->tuples >= MaxHeapTuplesPerPage
                              ? 0
                              : fill->free - sizeof(ItemIdData);
        if (free < needed + (fill->tuples > 0 ? saved_space : 0)) {
            break;
        }
        fill->free -= needed + sizeof(ItemIdData);
        fill->tuples++;
    }
    return fitting;
}

Size saved_space(Relation heap) {
    return static_cast<Size>(RelationGetTargetPageFreeSpace(heap, HEAP_DEFAULT_FILLFACTOR));
}

/* What heap_prepare_insert() and RelationPutHeapTuple() set in a tuple. */
void prepare_tuple(const Appending *appending, HeapTuple tuple, BlockNumber block, OffsetNumber offset) {
    const HeapTupleHeader header = tuple->t_data;

    header->t_infomask &= static_cast<uint16>(~HEAP_XACT_MASK);
    header->t_infomask2 &= static_cast<uint16>(~HEAP2_XACT_MASK);
    header->t_infomask |= HEAP_XMAX_INVALID;
    HeapTupleHeaderSetXmin(header, appending->xid);
    HeapTupleHeaderSetCmin(header, appending->command_id);
    HeapTupleHeaderSetXmax(header, InvalidTransactionId);
    tuple->t_tableOid = RelationGetRelid(appending->heap);
    ItemPointerSet(&tuple->t_self, block, offset);
    header->t_ctid = tuple->t_self;
}

/*
 * Fills an empty page as PageAddItemExtended() would: redo does it that way, and the page must be the same. wal: room
 * for what the record says of the tuples. Returns how many bytes of it.
 */
Size fill_page(const Appending *appending, Page page, BlockNumber block, const PageTuples *of_page, char *wal) {
    auto *const header = reinterpret_cast<PageHeader>(page);
    char *next = wal;

    PageInit(page, BLCKSZ, 0);
    Size upper = header->pd_upper;
    for (int i = of_page->from; i < of_page->to; i++) {
        const HeapTuple tuple = appending->tuples[i];
        const auto offset = static_cast<OffsetNumber>(i - of_page->from + FirstOffsetNumber);

        prepare_tuple(appending, tuple, block, offset);
        upper -= MAXALIGN(tuple->t_len);
        ItemIdSetNormal(PageGetItemId(page, offset), upper, tuple->t_len);
        memcpy(page + upper, tuple->t_data, tuple->t_len);

        /* PageInit has zeroed the page, so the padding is zero too. */
        const auto size = static_cast<uint16>(tuple->t_len - SizeofHeapTupleHeader);
        next = reinterpret_cast<char *>(SHORTALIGN(next));
        const xl_multi_insert_tuple logged = {size, tuple->t_data->t_infomask2, tuple->t_data->t_infomask,
                                              tuple->t_data->t_hoff};
        memcpy(next, &logged, SizeOfMultiInsertTuple);
        next += SizeOfMultiInsertTuple;
        memcpy(next, reinterpret_cast<const char *>(tuple->t_data) + SizeofHeapTupleHeader, size);
        next += size;
    }
    header->pd_upper = static_cast<LocationIndex>(upper);
    mark_prunable(page, appending->xid);
    header->pd_lower = static_cast<LocationIndex>(SizeOfPageHeaderData +
                                                  sizeof(ItemIdData) * static_cast<Size>(of_page->to - of_page->from));
    return static_cast<Size>(next - wal);
}

/*
 * One record a page. Each says that it is the last one: it frees what decoding keeps of out-of-line values, of which
 * there are none.
 */
XLogRecPtr log_page(const Appending *appending, Buffer buffer, const PageTuples *of_page, char *wal, Size size) {
    xl_heap_multi_insert record = {};

    record.flags = XLH_INSERT_LAST_IN_MULTI;
    record.ntuples = static_cast<uint16>(of_page->to - of_page->from);
    uint8 buffer_flags = REGBUF_STANDARD | REGBUF_WILL_INIT;
    if (appending->logically_logged) {
        record.flags |= XLH_INSERT_CONTAINS_NEW_TUPLE;
        buffer_flags |= REGBUF_KEEP_DATA;
    }
    XLogBeginInsert();
    XLogRegisterData(reinterpret_cast<char *>(&record), SizeOfHeapMultiInsert);
    XLogRegisterBuffer(0, buffer, buffer_flags);
    XLogRegisterBufData(0, wal, static_cast<int>(size));
    XLogSetRecordFlags(XLOG_INCLUDE_ORIGIN);
    return XLogInsert(RM_HEAP2_ID, XLOG_HEAP2_MULTI_INSERT | XLOG_HEAP_INIT_PAGE);
}

void install_page(const Appending *appending, Buffer buffer, const PageTuples *of_page) {
    PGAlignedBlock wal; /* a page's tuples take less in the record than on the page */
    const Page page = BufferGetPage(buffer);

    START_CRIT_SECTION();
    const Size size = fill_page(appending, page, BufferGetBlockNumber(buffer), of_page, wal.data);
    MarkBufferDirty(buffer);
    if (appending->logged) {
        /* PageSetLSN is a macro that evaluates it twice. */
        const XLogRecPtr lsn = log_page(appending, buffer, of_page, wal.data, size);
        PageSetLSN(page, lsn);
    }
    END_CRIT_SECTION();
    UnlockReleaseBuffer(buffer);
}

/* The pages that the tuples from next on take, most of them; returns how many. */
int make_pages(const Appending *appending, int next, int count, PageTuples *pages, int most) {
    const Size saved = saved_space(appending->heap);
    int made = 0;

    while (made < most && next < count) {
        PageFill fill = {BLCKSZ - SizeOfPageHeaderData, 0};
        const int on_page = count_for_page(saved, appending->tuples + next, count - next, &fill);
        Assert(on_page > 0);
        pages[made++] = {next, next + on_page};
        next += on_page;
    }
    return made;
}

} // namespace

bool takes_whole_pages(Relation heap) { return !RelationIsAccessibleInLogicalDecoding(heap); }

int count_for_target_page(Relation heap, const HeapTuple *tuples, int count, BufferAccessStrategy ring) {
    const BlockNumber block = RelationGetTargetBlock(heap);

    if (block == InvalidBlockNumber) {
        return 0;
    }
    const Buffer buffer = ReadBufferExtended(heap, MAIN_FORKNUM, block, RBM_NORMAL, ring);
    LockBuffer(buffer, BUFFER_LOCK_SHARE);
    const Page page = BufferGetPage(buffer);
    PageFill fill = {PageGetExactFreeSpace(page), static_cast<int>(PageGetMaxOffsetNumber(page))};
    UnlockReleaseBuffer(buffer);
    return count_for_page(saved_space(heap), tuples, count, &fill);
}

void append_pages(Relation heap, HeapTuple *tuples, int count, CommandId command_id, BufferAccessStrategy ring) {
    const Appending appending = {
        heap, tuples, GetCurrentTransactionId(), command_id, RelationNeedsWAL(heap), RelationIsLogicallyLogged(heap)};
    PageTuples pages[kMostNewPages];
    Buffer buffers[kMostNewPages];

    CheckForSerializableConflictIn(heap, nullptr, InvalidBlockNumber);
    for (int done = 0; done < count;) {
        const int made = make_pages(&appending, done, count, pages, most_pages());
        CHECK_FOR_INTERRUPTS();
        /* Buffers that are free are nobody's loss, and need not be written yet. */
        const bool in_ring = !has_free_buffer();
        if (in_ring) {
            write_out_filled(heap, ring);
        }
        add_pages(heap, made, in_ring ? ring : nullptr, buffers);
        for (int i = 0; i < made; i++) {
            const BlockNumber block = BufferGetBlockNumber(buffers[i]);
            if (in_ring) {
                remember_filled(heap, block);
            }
            RelationSetTargetBlock(heap, block); /* the last one may have room */
            install_page(&appending, buffers[i], &pages[i]);
        }
        done = pages[made - 1].to;
    }
    CheckForSerializableConflictIn(heap, nullptr, InvalidBlockNumber);
    pgstat_count_heap_insert(heap, count);
}

} // namespace movielens_ingest::pg
