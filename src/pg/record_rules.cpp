#include "pg/record_rules.hpp"

#include "pg/pg.hpp"
#include "pg/row_description.hpp"

namespace movielens_ingest::pg {

struct RecordRules {
    Relation target;
    const Bitmapset *columns;
    EState *estate;
    ResultRelInfo *relinfo;
    TupleTableSlot *slot;
    ExprState **checks; /* as TupleConstr.check */
    int check_count;
    bool has_not_null;
    bool has_generated;
    bool is_partition;
};

namespace {

Refusal refusal(const RecordRules *rules, int sqlerrcode, const char *message, const char *column) {
    return {sqlerrcode, message,
            describe_failing_row(rules->target, rules->slot->tts_values, rules->slot->tts_isnull, rules->columns),
            column};
}

bool check_not_null(const RecordRules *rules, const bool *nulls, Refusal *why) {
    const TupleDesc desc = RelationGetDescr(rules->target);

    for (int i = 0; i < desc->natts; i++) {
        const Form_pg_attribute attribute = TupleDescAttr(desc, i);

        if (attribute->attnotnull && nulls[i]) {
            *why = refusal(rules, ERRCODE_NOT_NULL_VIOLATION,
                           psprintf(_("null value in column \"%s\" of relation \"%s\" violates not-null constraint"),
                                    NameStr(attribute->attname), RelationGetRelationName(rules->target)),
                           NameStr(attribute->attname));
            return false;
        }
    }
    return true;
}

bool check_constraints(const RecordRules *rules, Refusal *why) {
    ExprContext *econtext = GetPerTupleExprContext(rules->estate);

    econtext->ecxt_scantuple = rules->slot;
    for (int i = 0; i < rules->check_count; i++) {
        /* Null is a pass. */
        if (!ExecCheck(rules->checks[i], econtext)) {
            *why = refusal(rules, ERRCODE_CHECK_VIOLATION,
                           psprintf(_("new row for relation \"%s\" violates check constraint \"%s\""),
                                    RelationGetRelationName(rules->target),
                                    rules->target->rd_att->constr->check[i].ccname),
                           nullptr);
            return false;
        }
    }
    return true;
}

} // namespace

RecordRules *make_record_rules(Relation target, const Bitmapset *columns, EState *estate) {
    auto *rules = static_cast<RecordRules *>(palloc0(sizeof(RecordRules)));
    const TupleConstr *constraints = RelationGetDescr(target)->constr;

    rules->target = target;
    rules->columns = columns;
    rules->estate = estate;
    rules->relinfo = makeNode(ResultRelInfo);
    InitResultRelInfo(rules->relinfo, target, 1, nullptr, 0);
    /* A copy: the relation's own would be pinned. */
    rules->slot = MakeSingleTupleTableSlot(CreateTupleDescCopyConstr(RelationGetDescr(target)), &TTSOpsVirtual);
    rules->slot->tts_tableOid = RelationGetRelid(target); /* constraints may name it */
    rules->is_partition = target->rd_rel->relispartition;
    if (constraints == nullptr) {
        return rules;
    }
    rules->has_not_null = constraints->has_not_null;
    rules->has_generated = constraints->has_generated_stored;
    if (rules->has_generated) {
        /* Now: when it fails with a record's subtransaction, the next record finds it half done. */
        ExecInitStoredGenerated(rules->relinfo, estate, CMD_INSERT);
    }
    rules->check_count = constraints->num_check;
    if (rules->check_count != target->rd_rel->relchecks) {
        elog(ERROR, "%d pg_constraint record(s) missing for relation \"%s\"",
             target->rd_rel->relchecks - rules->check_count, RelationGetRelationName(target));
    }
    rules->checks = static_cast<ExprState **>(palloc(sizeof(ExprState *) * Max(rules->check_count, 1)));
    for (int i = 0; i < rules->check_count; i++) {
        auto *expression = static_cast<Expr *>(stringToNode(constraints->check[i].ccbin));
        rules->checks[i] = ExecPrepareExpr(expression, estate);
    }
    return rules;
}

bool rules_may_raise(const RecordRules *rules) {
    return rules->check_count > 0 || rules->has_generated || rules->is_partition;
}

bool apply_rules(RecordRules *rules, Datum *values, bool *nulls, Refusal *why) {
    const int natts = RelationGetDescr(rules->target)->natts;
    TupleTableSlot *slot = rules->slot;

    if (!rules_may_raise(rules) && !rules->has_not_null) {
        return true;
    }
    ExecClearTuple(slot);
    memcpy(slot->tts_values, values, sizeof(Datum) * static_cast<size_t>(natts));
    memcpy(slot->tts_isnull, nulls, sizeof(bool) * static_cast<size_t>(natts));
    ExecStoreVirtualTuple(slot);
    if (rules->has_generated) {
        ExecComputeStoredGenerated(rules->relinfo, rules->estate, slot, CMD_INSERT);
        memcpy(values, slot->tts_values, sizeof(Datum) * static_cast<size_t>(natts));
        memcpy(nulls, slot->tts_isnull, sizeof(bool) * static_cast<size_t>(natts));
    }
    if (rules->has_not_null && !check_not_null(rules, nulls, why)) {
        return false;
    }
    if (rules->check_count > 0 && !check_constraints(rules, why)) {
        return false;
    }
    if (rules->is_partition && !ExecPartitionCheck(rules->relinfo, slot, rules->estate, false)) {
        *why = refusal(rules, ERRCODE_CHECK_VIOLATION,
                       psprintf(_("new row for relation \"%s\" violates partition constraint"),
                                RelationGetRelationName(rules->target)),
                       nullptr);
        return false;
    }
    return true;
}

} // namespace movielens_ingest::pg
