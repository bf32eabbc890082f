#include "pg/insertion.hpp"

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

namespace {

/* The words of _bt_check_unique. */
Refusal duplicate(const Insertion *insertion, int index) {
    Relation relation = insertion->relinfo->ri_IndexRelationDescs[index];
    Datum values[INDEX_MAX_KEYS];
    bool nulls[INDEX_MAX_KEYS];

    FormIndexDatum(insertion->relinfo->ri_IndexRelationInfo[index], insertion->slot, insertion->estate, values, nulls);
    const char *key = BuildIndexValueDescription(relation, values, nulls);
    return {ERRCODE_UNIQUE_VIOLATION,
            psprintf(_("duplicate key value violates unique constraint \"%s\""), RelationGetRelationName(relation)),
            key != nullptr ? psprintf(_("Key %s already exists."), key) : nullptr, nullptr};
}

/* The unique index whose key is there already, or -1. It waits for a transaction that is inserting or deleting it. */
int find_conflict(const Insertion *insertion) {
    const ResultRelInfo *relinfo = insertion->relinfo;

    for (int i = 0; i < relinfo->ri_NumIndices; i++) {
        ItemPointerData conflict;
        const IndexInfo *info = relinfo->ri_IndexRelationInfo[i];

        if (info->ii_Unique && info->ii_ReadyForInserts &&
            !check_index_constraints(insertion->relinfo, insertion->slot, insertion->estate, &conflict,
                                     list_make1_oid(RelationGetRelid(relinfo->ri_IndexRelationDescs[i])))) {
            return i;
        }
    }
    return -1;
}

} // namespace

bool insert_speculatively(Insertion *insertion, int record) {
    ResultRelInfo *relinfo = insertion->relinfo;
    TupleTableSlot *slot = insertion->slot;
    const TransactionId xid = GetCurrentTransactionId();

    show_tuple(insertion, insertion->range->tuples[record]);
    for (bool conflict = true; conflict;) {
        const int index = find_conflict(insertion);
        if (index >= 0) {
            const MemoryContext context = MemoryContextSwitchTo(insertion->range->context);
            insertion->range->refusals[record] = duplicate(insertion, index);
            MemoryContextSwitchTo(context);
            return false;
        }
        /* Another session may insert the key between the look and the insertion: then both look again. */
        conflict = false;
        const uint32 token = SpeculativeInsertionLockAcquire(xid);
        table_tuple_insert_speculative(relinfo->ri_RelationDesc, slot, insertion->command_id, 0, nullptr, token);
        insert_index_tuples_speculatively(relinfo, slot, insertion->estate, &conflict);
        table_tuple_complete_speculative(relinfo->ri_RelationDesc, slot, token, !conflict);
        SpeculativeInsertionLockRelease(xid);
        CHECK_FOR_INTERRUPTS();
    }
    return true;
}

} // namespace movielens_ingest::pg
