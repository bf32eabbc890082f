#include "pg/heap_writer.hpp"

#include "pg/heap_pages.hpp"
#include "pg/insertion.hpp"
#include "pg/pg.hpp"
#include "pg/progress.hpp"
#include "pg/target.hpp"

namespace movielens_ingest::pg {

namespace {

/* As MAX_BUFFERED_TUPLES and MAX_BUFFERED_BYTES in copyfrom.c. */
constexpr int kMostBuffered = 1000;
constexpr Size kMostBufferedBytes = 65535;

/* Fewer are not worth the pages. */
constexpr Size kEnoughForPages = Size{4} * BLCKSZ;

class HeapWriter : public Writer {
  public:
    HeapWriter(Relation target, const Bitmapset *columns, bool whole_pages)
        : Writer(TupleShape::Row), target_(target), columns_(columns), whole_pages_(whole_pages) {}
    void write(RecordRange *range) override;
    void finish() override {}

  private:
    Insertion *begin(RecordRange *range);
    void end(Insertion *insertion);
    bool put_on_pages(Insertion *insertion);
    void put(Insertion *insertion, int to);
    static void put_together(Insertion *insertion, BulkInsertState bulk_state, TupleTableSlot **slots,
                             const int *records, int count);

    Relation target_;
    const Bitmapset *columns_;
    bool whole_pages_;
};

/* The buffers that loading goes round in, for as long as the process lives: a new ring would not stay in any bounds. */
BufferAccessStrategy ring() {
    static BufferAccessStrategy strategy = nullptr;

    if (strategy == nullptr) {
        const MemoryContext context = MemoryContextSwitchTo(TopMemoryContext);
        strategy = GetAccessStrategy(BAS_BULKWRITE);
        MemoryContextSwitchTo(context);
    }
    return strategy;
}

BulkInsertState begin_bulk_insert() {
    BulkInsertState state = GetBulkInsertState();

    FreeAccessStrategy(state->strategy);
    state->strategy = ring();
    return state;
}

/* What it has added and not filled is for whoever comes next: without the map nobody finds it before VACUUM. */
void end_bulk_insert(Relation heap, BulkInsertState state) {
    const UnusedPages unused = unused_pages(state);

    if (unused.first != InvalidBlockNumber) {
        for (BlockNumber block = unused.first; block <= unused.last; block++) {
            RecordPageWithFreeSpace(heap, block, BLCKSZ - SizeOfPageHeaderData);
        }
        FreeSpaceMapVacuumRange(heap, unused.first, unused.last + 1);
    }
    state->strategy = nullptr; /* it goes on */
    FreeBulkInsertState(state);
}

Insertion *HeapWriter::begin(RecordRange *range) {
    auto *insertion = static_cast<Insertion *>(palloc0(sizeof(Insertion)));

    insertion->range = range;
    insertion->estate = CreateExecutorState();
    init_range_table(insertion->estate, insert_target(target_, columns_));
    insertion->relinfo = makeNode(ResultRelInfo);
    ExecInitResultRelation(insertion->estate, insertion->relinfo, 1);
    ExecOpenIndices(insertion->relinfo, range->singly);
    insertion->command_id = GetCurrentCommandId(true);
    insertion->desc = CreateTupleDescCopy(RelationGetDescr(target_));
    insertion->slot = ExecInitExtraTupleSlot(insertion->estate, insertion->desc, &TTSOpsHeapTuple);
    return insertion;
}

void HeapWriter::end(Insertion *insertion) {
    table_finish_bulk_insert(target_, 0);
    ExecResetTupleTable(insertion->estate->es_tupleTable, false);
    ExecCloseResultRelations(insertion->estate);
    ExecCloseRangeTableRelations(insertion->estate);
    FreeExecutorState(insertion->estate);
}

/*
 * A page that could take half of what a new one can. The space that fillfactor leaves for updates does not count;
 * VACUUM notes it all the same.
 */
bool has_free_space(Relation target) {
    const Size for_updates = RelationGetTargetPageFreeSpace(target, HEAP_DEFAULT_FILLFACTOR);

    return GetPageWithFreeSpace(target, (BLCKSZ + for_updates) / 2) != InvalidBlockNumber;
}

/* False: those that cannot go that way are left without a place, and all if they are few. */
bool HeapWriter::put_on_pages(Insertion *insertion) {
    RecordRange *range = insertion->range;
    auto *tuples = static_cast<HeapTuple *>(
        MemoryContextAllocHuge(CurrentMemoryContext, sizeof(HeapTuple) * static_cast<Size>(range->to - range->from)));
    Size size = 0;
    int count = 0;
    int together = range->to - range->from; /* at most so many come before the first that cannot go that way */

    for (int i = range->from; i < range->to; i++) {
        const HeapTuple tuple = range->tuples[i];
        if (tuple != nullptr && needs_toast(tuple)) {
            together = Min(together, count);
        } else if (tuple != nullptr) {
            tuples[count++] = tuple;
            size += tuple->t_len;
        }
    }
    /* Space that is free inside the table is to be used again: that is what heap_multi_insert() does. */
    const bool whole_pages = size >= kEnoughForPages && !has_free_space(target_);
    if (whole_pages) {
        const int begun = count_for_target_page(target_, tuples, Min(count, together), ring());
        if (begun > 0) {
            const HeapTuple *last =
                std::find(range->tuples + range->from, range->tuples + range->to, tuples[begun - 1]);
            put(insertion, static_cast<int>(last - range->tuples) + 1);
        }
        range->at = kBeforeFirst; /* no code of a user's: an error is none of a record */
        append_pages(target_, tuples + begun, count - begun, insertion->command_id, ring());
        range->inserted += count - begun;
    }
    pfree(tuples);
    return whole_pages && count == range->to - range->from;
}

void HeapWriter::put_together(Insertion *insertion, BulkInsertState bulk_state, TupleTableSlot **slots,
                              const int *records, int count) {
    RecordRange *range = insertion->range;

    range->at = count == 1 ? records[0] : kUnknown;
    ResetPerTupleExprContext(insertion->estate);
    /* table_multi_insert leaks. */
    const MemoryContext context = MemoryContextSwitchTo(GetPerTupleMemoryContext(insertion->estate));
    table_multi_insert(insertion->relinfo->ri_RelationDesc, slots, count, insertion->command_id, 0, bulk_state);
    MemoryContextSwitchTo(context);
    for (int i = 0; i < count; i++) {
        range->tuples[records[i]]->t_self = slots[i]->tts_tid;
        ExecClearTuple(slots[i]);
    }
    range->inserted += count;
    report_tuples(range->inserted_before + range->inserted, range->excluded_before);
}

/* What it takes of a page. */
Size space_of(HeapTuple tuple) { return MAXALIGN(tuple->t_len) + sizeof(ItemIdData); }

bool is_without_place(HeapTuple tuple) { return tuple != nullptr && !ItemPointerIsValid(&tuple->t_self); }

/* As CopyMultiInsertBufferFlush, for the tuples of the range up to a record that have no place yet. */
void HeapWriter::put(Insertion *insertion, int to) {
    const RecordRange *range = insertion->range;
    auto *slots = static_cast<TupleTableSlot **>(palloc0(sizeof(TupleTableSlot *) * kMostBuffered));
    auto *records = static_cast<int *>(palloc(sizeof(int) * kMostBuffered));
    BulkInsertState bulk_state = begin_bulk_insert();
    Size left = 0; /* space of what is to be put there */
    int count = 0;
    Size size = 0;

    for (int i = range->from; i < to; i++) {
        if (is_without_place(range->tuples[i])) {
            left += space_of(range->tuples[i]);
        }
    }
    for (int i = range->from; i < to; i++) {
        const HeapTuple tuple = range->tuples[i];
        if (!is_without_place(tuple)) {
            continue;
        }
        if (slots[count] == nullptr) {
            slots[count] = ExecInitExtraTupleSlot(insertion->estate, insertion->desc, &TTSOpsHeapTuple);
        }
        ExecStoreHeapTuple(tuple, slots[count], false);
        records[count++] = i;
        size += tuple->t_len;
        left -= space_of(tuple);
        if (count == kMostBuffered || size > kMostBufferedBytes) {
            CHECK_FOR_INTERRUPTS();
            put_together(insertion, bulk_state, slots, records, count);
            forget_growth(bulk_state, static_cast<uint32>(left / (BLCKSZ - SizeOfPageHeaderData)) + 1);
            count = 0;
            size = 0;
        }
    }
    if (count > 0) {
        put_together(insertion, bulk_state, slots, records, count);
    }
    end_bulk_insert(target_, bulk_state);
}

void HeapWriter::write(RecordRange *range) {
    range->inserted = 0;
    range->skipped = 0;
    range->at = kBeforeFirst;
    PushActiveSnapshot(GetTransactionSnapshot());
    Insertion *insertion = begin(range);
    if (range->singly) {
        for (int i = range->from; i < range->to; i++) {
            if (range->tuples[i] != nullptr) {
                CHECK_FOR_INTERRUPTS();
                ResetPerTupleExprContext(insertion->estate);
                range->at = i;
                range->inserted += insert_speculatively(insertion, i) ? 1 : 0;
            }
        }
    } else {
        if (!whole_pages_ || !put_on_pages(insertion)) {
            put(insertion, range->to);
        }
        insert_index_entries(insertion);
    }
    end(insertion);
    PopActiveSnapshot();
}

} // namespace

void show_tuple(Insertion *insertion, HeapTuple tuple) {
    tuple->t_tableOid = RelationGetRelid(insertion->relinfo->ri_RelationDesc); /* constraints might reference it */
    ExecStoreHeapTuple(tuple, insertion->slot, false);
    insertion->slot->tts_tableOid = tuple->t_tableOid;
}

Writer *make_heap_writer(Relation target, const Bitmapset *columns, bool whole_pages) {
    return new (palloc(sizeof(HeapWriter))) HeapWriter(target, columns, whole_pages);
}

} // namespace movielens_ingest::pg
