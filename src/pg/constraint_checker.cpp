#include "pg/constraint_checker.hpp"

#include "pg/pg.hpp"
#include "pg/target.hpp"

namespace movielens_ingest::pg {

struct ConstraintChecker {
    Relation target; /* without the rules that cannot be checked */
    EState *estate;
    ResultRelInfo *relinfo;
    TupleTableSlot *slot;
    bool has_generated;
};

namespace {

bool has_before_trigger(Relation relation) {
    return relation->trigdesc != nullptr && relation->trigdesc->trig_insert_before_row;
}

/* A trigger may change a row before its constraints are checked, and the server of a foreign table checks its own. */
bool rows_are_final(Relation target) {
    ListCell *cell;
    bool final = true;

    if (target->rd_rel->relkind == RELKIND_RELATION) {
        return !has_before_trigger(target);
    }
    if (target->rd_rel->relkind != RELKIND_PARTITIONED_TABLE) {
        return false;
    }
    foreach (cell, find_all_inheritors(RelationGetRelid(target), AccessShareLock, nullptr)) {
        Relation partition = table_open(lfirst_oid(cell), NoLock);
        final = final && !has_before_trigger(partition) && partition->rd_rel->relkind != RELKIND_FOREIGN_TABLE;
        table_close(partition, NoLock);
    }
    return final;
}

bool depends_on(Node *expression, const Bitmapset *columns) {
    const int whole_row = InvalidAttrNumber - FirstLowInvalidHeapAttributeNumber;
    Bitmapset *used = nullptr;

    pull_varattnos(expression, 1, &used);
    return bms_overlap(used, columns) || (bms_is_member(whole_row, used) && !bms_is_empty(columns));
}

/* With the columns that are generated from them. */
Bitmapset *unknown_columns(Relation target, const Bitmapset *left_out) {
    const TupleDesc desc = RelationGetDescr(target);
    Bitmapset *unknown = bms_copy(left_out);

    for (int i = 0; i < desc->natts; i++) {
        if (TupleDescAttr(desc, i)->attgenerated != '\0' && depends_on(build_column_default(target, i + 1), left_out)) {
            unknown = bms_add_member(unknown, i + 1 - FirstLowInvalidHeapAttributeNumber);
        }
    }
    return unknown;
}

/* The relation, but that unknown columns may be null, and are not generated. */
Relation without_rules_on(Relation target, const Bitmapset *unknown) {
    auto *relation = static_cast<Relation>(palloc(sizeof(RelationData)));
    TupleDesc desc = CreateTupleDescCopyConstr(RelationGetDescr(target));

    for (int i = 0; i < desc->natts; i++) {
        if (bms_is_member(i + 1 - FirstLowInvalidHeapAttributeNumber, unknown)) {
            TupleDescAttr(desc, i)->attnotnull = false;
            TupleDescAttr(desc, i)->attgenerated = '\0';
        }
    }
    *relation = *target;
    relation->rd_att = desc;
    return relation;
}

/*
 * ExecRelCheck would prepare the CHECK constraints when it first sees a tuple; a null one passes. An error here is no
 * tuple's.
 */
void prepare_checks(ConstraintChecker *checker, const Bitmapset *unknown) {
    const TupleConstr *constraints = RelationGetDescr(checker->target)->constr;
    const MemoryContext context = MemoryContextSwitchTo(checker->estate->es_query_cxt);

    checker->relinfo->ri_ConstraintExprs =
        static_cast<ExprState **>(palloc0(sizeof(ExprState *) * static_cast<Size>(Max(constraints->num_check, 1))));
    for (int i = 0; i < constraints->num_check; i++) {
        auto *check = static_cast<Node *>(stringToNode(constraints->check[i].ccbin));
        if (!depends_on(check, unknown)) {
            checker->relinfo->ri_ConstraintExprs[i] = ExecPrepareExpr(reinterpret_cast<Expr *>(check), checker->estate);
        }
    }
    MemoryContextSwitchTo(context);
}

} // namespace

ConstraintChecker *make_constraint_checker(Relation target, const Bitmapset *columns, const Bitmapset *left_out) {
    if (!rows_are_final(target) || RelationGetDescr(target)->constr == nullptr) {
        return nullptr;
    }

    const Bitmapset *unknown = unknown_columns(target, left_out);
    auto *checker = static_cast<ConstraintChecker *>(palloc0(sizeof(ConstraintChecker)));
    checker->target = without_rules_on(target, unknown);
    checker->estate = CreateExecutorState();
    ExecInitRangeTable(checker->estate, list_make1(insert_entry(target, columns)));
    checker->relinfo = makeNode(ResultRelInfo);
    InitResultRelInfo(checker->relinfo, checker->target, 1, nullptr, 0);
    checker->slot = MakeSingleTupleTableSlot(RelationGetDescr(checker->target), &TTSOpsHeapTuple);
    checker->has_generated = RelationGetDescr(target)->constr->has_generated_stored;
    if (checker->has_generated) {
        ExecInitStoredGenerated(checker->relinfo, checker->estate, CMD_INSERT);
    }
    prepare_checks(checker, unknown);
    return checker;
}

void check_constraints(ConstraintChecker *checker, HeapTuple tuple) {
    ResetPerTupleExprContext(checker->estate);
    ExecForceStoreHeapTuple(tuple, checker->slot, false);
    checker->slot->tts_tableOid = RelationGetRelid(checker->target); /* constraints might reference it */
    if (checker->has_generated) {
        ExecComputeStoredGenerated(checker->relinfo, checker->estate, checker->slot, CMD_INSERT);
    }
    ExecConstraints(checker->relinfo, checker->slot, checker->estate);
}

} // namespace movielens_ingest::pg
