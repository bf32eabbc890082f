#include "pg/relation_writer.hpp"

#include "pg/pg.hpp"
#include "pg/progress.hpp"
#include "pg/target.hpp"

namespace movielens_ingest::pg {

namespace {

/* As MAX_BUFFERED_TUPLES and MAX_BUFFERED_BYTES in copyfrom.c. */
constexpr int kMostBuffered = 1000;
constexpr Size kMostBufferedBytes = 65535;

struct Insertion {
    EState *estate;
    ResultRelInfo *relinfo;
    TransitionCaptureState *transition_capture;
    CommandId command_id;
    BulkInsertState bulk_state;
    TupleTableSlot *slots[kMostBuffered]; /* made when first needed */
    int buffered;
    Size buffered_bytes;
};

void begin_insertion(Insertion *insertion, Relation target, const Bitmapset *columns) {
    insertion->estate = CreateExecutorState();
    ExecInitRangeTable(insertion->estate, list_make1(insert_entry(target, columns)));
    insertion->relinfo = makeNode(ResultRelInfo);
    ExecInitResultRelation(insertion->estate, insertion->relinfo, 1);
    ExecOpenIndices(insertion->relinfo, false);
    AfterTriggerBeginQuery();
    insertion->transition_capture = MakeTransitionCaptureState(target->trigdesc, RelationGetRelid(target), CMD_INSERT);
    insertion->command_id = GetCurrentCommandId(true);
    insertion->bulk_state = GetBulkInsertState();
    ExecBSInsertTriggers(insertion->estate, insertion->relinfo);
}

void insert_index_entries(Insertion *insertion, TupleTableSlot *slot) {
    List *recheck = NIL;

    if (insertion->relinfo->ri_NumIndices > 0) {
        recheck = ExecInsertIndexTuples(insertion->relinfo, slot, insertion->estate, false, false, nullptr, NIL);
    }
    ExecARInsertTriggers(insertion->estate, insertion->relinfo, slot, recheck, insertion->transition_capture);
    list_free(recheck);
}

/* As CopyMultiInsertBufferFlush. */
void flush(Insertion *insertion) {
    if (insertion->buffered == 0) {
        return;
    }
    /* table_multi_insert leaks. */
    const MemoryContext context = MemoryContextSwitchTo(GetPerTupleMemoryContext(insertion->estate));
    table_multi_insert(insertion->relinfo->ri_RelationDesc, insertion->slots, insertion->buffered,
                       insertion->command_id, 0, insertion->bulk_state);
    MemoryContextSwitchTo(context);

    for (int i = 0; i < insertion->buffered; i++) {
        insert_index_entries(insertion, insertion->slots[i]);
        ExecClearTuple(insertion->slots[i]);
    }
    insertion->buffered = 0;
    insertion->buffered_bytes = 0;
}

TupleTableSlot *next_slot(Insertion *insertion) {
    TupleTableSlot **slot = &insertion->slots[insertion->buffered];

    if (*slot == nullptr) {
        *slot = table_slot_create(insertion->relinfo->ri_RelationDesc, &insertion->estate->es_tupleTable);
    }
    return *slot;
}

void report_range(const TupleRange *range) {
    report_tuples(range->inserted_before + static_cast<int64>(range->inserted),
                  range->excluded_before + static_cast<int64>(range->skipped));
}

void end_insertion(Insertion *insertion) {
    flush(insertion);
    FreeBulkInsertState(insertion->bulk_state);
    table_finish_bulk_insert(insertion->relinfo->ri_RelationDesc, 0);
    ExecASInsertTriggers(insertion->estate, insertion->relinfo, insertion->transition_capture);
    AfterTriggerEndQuery(insertion->estate);
    ExecResetTupleTable(insertion->estate->es_tupleTable, false);
    ExecCloseResultRelations(insertion->estate);
    ExecCloseRangeTableRelations(insertion->estate);
    FreeExecutorState(insertion->estate);
}

} // namespace

void insert_range(void *argument) {
    auto *range = static_cast<TupleRange *>(argument);
    auto *insertion = static_cast<Insertion *>(palloc0(sizeof(Insertion)));
    const Relation target = range->target;
    const TupleConstr *constraints = RelationGetDescr(target)->constr;

    range->inserted = 0;
    range->skipped = 0;
    range->begun = false;
    PushActiveSnapshot(GetTransactionSnapshot());
    begin_insertion(insertion, target, range->columns);
    range->begun = true;

    EState *estate = insertion->estate;
    ResultRelInfo *relinfo = insertion->relinfo;
    const TriggerDesc *triggers = relinfo->ri_TrigDesc;
    /* A BEFORE trigger may look at the table: it must find the tuples before it there (CopyFrom, CIM_SINGLE). */
    const bool one_by_one = triggers != nullptr && triggers->trig_insert_before_row;

    for (int i = range->from; i < range->to; i++) {
        if (range->tuples[i] == nullptr) {
            continue;
        }
        CHECK_FOR_INTERRUPTS();
        ResetPerTupleExprContext(estate);

        TupleTableSlot *slot = next_slot(insertion);
        ExecForceStoreHeapTuple(range->tuples[i], slot, false);
        slot->tts_tableOid = RelationGetRelid(target); /* constraints might reference it */

        if (one_by_one && !ExecBRInsertTriggers(estate, relinfo, slot)) {
            range->skipped++;
            report_range(range);
            continue;
        }
        if (constraints != nullptr && constraints->has_generated_stored) {
            ExecComputeStoredGenerated(relinfo, estate, slot, CMD_INSERT);
        }
        if (constraints != nullptr) {
            ExecConstraints(relinfo, slot, estate);
        }
        if (target->rd_rel->relispartition) {
            ExecPartitionCheck(relinfo, slot, estate, true);
        }

        range->inserted++;
        if (one_by_one) {
            table_tuple_insert(target, slot, insertion->command_id, 0, insertion->bulk_state);
            insert_index_entries(insertion, slot);
            report_range(range);
        } else {
            ExecMaterializeSlot(slot);
            insertion->buffered++;
            insertion->buffered_bytes += range->tuples[i]->t_len;
            if (insertion->buffered == kMostBuffered || insertion->buffered_bytes > kMostBufferedBytes) {
                flush(insertion);
                report_range(range);
            }
        }
    }

    end_insertion(insertion);
    PopActiveSnapshot();
}

} // namespace movielens_ingest::pg
