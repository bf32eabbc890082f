#include "pg/multi_insert_writer.hpp"

#include "pg/pg.hpp"
#include "pg/progress.hpp"
#include "pg/target.hpp"

namespace movielens_ingest::pg {

namespace {

/* As MAX_BUFFERED_TUPLES and MAX_BUFFERED_BYTES in copyfrom.c. */
constexpr int kMostBuffered = 1000;
constexpr Size kMostBufferedBytes = 65535;

/* The insertion of one range of records. */
struct Insertion {
    EState *estate;
    ResultRelInfo *relinfo;
    CommandId command_id;
    BulkInsertState bulk_state;
    TupleTableSlot *slots[kMostBuffered]; /* made when first needed */
    int records[kMostBuffered];           /* whose tuples they hold */
    int buffered;
    Size buffered_bytes;
};

class MultiInsertWriter : public Writer {
  public:
    MultiInsertWriter(Relation target, const Bitmapset *columns)
        : Writer(TupleShape::Row), target_(target), columns_(columns) {}
    void write(RecordRange *range) override;
    void finish() override {}

  private:
    void begin(Insertion *insertion, bool speculative);
    static void flush(Insertion *insertion, RecordRange *range);
    static void end(Insertion *insertion);
    void add(Insertion *insertion, RecordRange *range, int record);

    Relation target_;
    const Bitmapset *columns_;
};

TupleTableSlot *next_slot(Insertion *insertion) {
    TupleTableSlot **slot = &insertion->slots[insertion->buffered];

    if (*slot == nullptr) {
        *slot = table_slot_create(insertion->relinfo->ri_RelationDesc, &insertion->estate->es_tupleTable);
    }
    return *slot;
}

/* The words of _bt_check_unique. */
Refusal duplicate(const Insertion *insertion, int index, TupleTableSlot *slot) {
    Relation relation = insertion->relinfo->ri_IndexRelationDescs[index];
    Datum values[INDEX_MAX_KEYS];
    bool nulls[INDEX_MAX_KEYS];

    FormIndexDatum(insertion->relinfo->ri_IndexRelationInfo[index], slot, insertion->estate, values, nulls);
    const char *key = BuildIndexValueDescription(relation, values, nulls);
    return {ERRCODE_UNIQUE_VIOLATION,
            psprintf(_("duplicate key value violates unique constraint \"%s\""), RelationGetRelationName(relation)),
            key != nullptr ? psprintf(_("Key %s already exists."), key) : nullptr, nullptr};
}

/* The unique index whose key is there already, or -1. It waits for a transaction that is inserting or deleting it. */
int find_conflict(const Insertion *insertion, TupleTableSlot *slot) {
    const ResultRelInfo *relinfo = insertion->relinfo;

    for (int i = 0; i < relinfo->ri_NumIndices; i++) {
        ItemPointerData conflict;
        const IndexInfo *info = relinfo->ri_IndexRelationInfo[i];

        if (info->ii_Unique && info->ii_ReadyForInserts &&
            !ExecCheckIndexConstraints(insertion->relinfo, slot, insertion->estate, &conflict,
                                       list_make1_oid(RelationGetRelid(relinfo->ri_IndexRelationDescs[i])))) {
            return i;
        }
    }
    return -1;
}

/* As ExecInsert does it for ON CONFLICT DO NOTHING. False: it has the key of another row, why says of which. */
bool insert_speculatively(Insertion *insertion, TupleTableSlot *slot, Refusal *why, MemoryContext why_context) {
    ResultRelInfo *relinfo = insertion->relinfo;
    const TransactionId xid = GetCurrentTransactionId();

    for (bool conflict = true; conflict;) {
        const int index = find_conflict(insertion, slot);
        if (index >= 0) {
            const MemoryContext context = MemoryContextSwitchTo(why_context);
            *why = duplicate(insertion, index, slot);
            MemoryContextSwitchTo(context);
            return false;
        }
        /* Another session may insert the key between the look and the insertion: then both look again. */
        conflict = false;
        const uint32 token = SpeculativeInsertionLockAcquire(xid);
        table_tuple_insert_speculative(relinfo->ri_RelationDesc, slot, insertion->command_id, 0, nullptr, token);
        list_free(ExecInsertIndexTuples(relinfo, slot, insertion->estate, false, true, &conflict, NIL));
        table_tuple_complete_speculative(relinfo->ri_RelationDesc, slot, token, !conflict);
        SpeculativeInsertionLockRelease(xid);
        CHECK_FOR_INTERRUPTS();
    }
    return true;
}

void MultiInsertWriter::begin(Insertion *insertion, bool speculative) {
    insertion->estate = CreateExecutorState();
    ExecInitRangeTable(insertion->estate, list_make1(insert_entry(target_, columns_)));
    insertion->relinfo = makeNode(ResultRelInfo);
    ExecInitResultRelation(insertion->estate, insertion->relinfo, 1);
    ExecOpenIndices(insertion->relinfo, speculative);
    insertion->command_id = GetCurrentCommandId(true);
    insertion->bulk_state = GetBulkInsertState();
}

/* As CopyMultiInsertBufferFlush. */
void MultiInsertWriter::flush(Insertion *insertion, RecordRange *range) {
    if (insertion->buffered == 0) {
        return;
    }
    /* table_multi_insert leaks. */
    const MemoryContext context = MemoryContextSwitchTo(GetPerTupleMemoryContext(insertion->estate));
    range->at = insertion->buffered == 1 ? insertion->records[0] : kUnknown;
    table_multi_insert(insertion->relinfo->ri_RelationDesc, insertion->slots, insertion->buffered,
                       insertion->command_id, 0, insertion->bulk_state);
    MemoryContextSwitchTo(context);

    for (int i = 0; i < insertion->buffered; i++) {
        range->at = insertion->records[i];
        if (insertion->relinfo->ri_NumIndices > 0) {
            list_free(ExecInsertIndexTuples(insertion->relinfo, insertion->slots[i], insertion->estate, false, false,
                                            nullptr, NIL));
        }
        ExecClearTuple(insertion->slots[i]);
    }
    range->inserted += insertion->buffered;
    insertion->buffered = 0;
    insertion->buffered_bytes = 0;
    report_tuples(range->inserted_before + range->inserted, range->excluded_before);
}

void MultiInsertWriter::add(Insertion *insertion, RecordRange *range, int record) {
    TupleTableSlot *slot = next_slot(insertion);

    ExecForceStoreHeapTuple(range->tuples[record], slot, false);
    slot->tts_tableOid = RelationGetRelid(target_); /* constraints might reference it */
    range->at = record;
    if (range->singly) {
        range->inserted += insert_speculatively(insertion, slot, &range->refusals[record], range->context) ? 1 : 0;
        ExecClearTuple(slot);
        return;
    }
    insertion->records[insertion->buffered++] = record;
    insertion->buffered_bytes += range->tuples[record]->t_len;
    if (insertion->buffered == kMostBuffered || insertion->buffered_bytes > kMostBufferedBytes) {
        flush(insertion, range);
    }
}

void MultiInsertWriter::end(Insertion *insertion) {
    FreeBulkInsertState(insertion->bulk_state);
    table_finish_bulk_insert(insertion->relinfo->ri_RelationDesc, 0);
    ExecResetTupleTable(insertion->estate->es_tupleTable, false);
    ExecCloseResultRelations(insertion->estate);
    ExecCloseRangeTableRelations(insertion->estate);
    FreeExecutorState(insertion->estate);
}

void MultiInsertWriter::write(RecordRange *range) {
    auto *insertion = static_cast<Insertion *>(palloc0(sizeof(Insertion)));

    range->inserted = 0;
    range->skipped = 0;
    range->at = kBeforeFirst;
    PushActiveSnapshot(GetTransactionSnapshot());
    begin(insertion, range->singly);
    for (int i = range->from; i < range->to; i++) {
        if (range->tuples[i] != nullptr) {
            CHECK_FOR_INTERRUPTS();
            ResetPerTupleExprContext(insertion->estate);
            add(insertion, range, i);
        }
    }
    flush(insertion, range);
    end(insertion);
    PopActiveSnapshot();
}

} // namespace

Writer *make_multi_insert_writer(Relation target, const Bitmapset *columns) {
    return new (palloc(sizeof(MultiInsertWriter))) MultiInsertWriter(target, columns);
}

} // namespace movielens_ingest::pg
