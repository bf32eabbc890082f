#include "pg/record_rules.hpp"

#include "pg/pg.hpp"
#include "pg/row_description.hpp"

namespace movielens_ingest::pg {

struct RecordRules {
    Relation target;
    const Bitmapset *columns;
    Bitmapset *unknown; /* columns that are left out, or generated from those */
    EState *estate;
    ResultRelInfo *relinfo;
    TupleTableSlot *slot;
    ExprState **checks; /* as TupleConstr.check; null: cannot be checked */
    int check_count;
    ExprState **virtual_not_null; /* by column; null: there is nothing to check, or it cannot be. Null: of none */
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

Refusal refusal_of_null(const RecordRules *rules, int index) {
    const char *column = NameStr(TupleDescAttr(RelationGetDescr(rules->target), index)->attname);

    return refusal(rules, ERRCODE_NOT_NULL_VIOLATION,
                   psprintf(_("null value in column \"%s\" of relation \"%s\" violates not-null constraint"), column,
                            RelationGetRelationName(rules->target)),
                   column);
}

bool check_not_null(const RecordRules *rules, const bool *nulls, Refusal *why) {
    const TupleDesc desc = RelationGetDescr(rules->target);

    for (int i = 0; i < desc->natts; i++) {
        const Form_pg_attribute attribute = TupleDescAttr(desc, i);

        if (attribute->attnotnull && nulls[i] && !is_virtual(attribute) &&
            !bms_is_member(i + 1 - FirstLowInvalidHeapAttributeNumber, rules->unknown)) {
            *why = refusal_of_null(rules, i);
            return false;
        }
    }
    return true;
}

/* Behind all that are stored, as in ExecConstraints. */
bool check_virtual_not_null(const RecordRules *rules, Refusal *why) {
    ExprContext *econtext = GetPerTupleExprContext(rules->estate);

    econtext->ecxt_scantuple = rules->slot;
    for (int i = 0; i < RelationGetDescr(rules->target)->natts; i++) {
        if (rules->virtual_not_null[i] != nullptr && !ExecCheck(rules->virtual_not_null[i], econtext)) {
            *why = refusal_of_null(rules, i);
            return false;
        }
    }
    return true;
}

bool check_constraints(const RecordRules *rules, Refusal *why) {
    ExprContext *econtext = GetPerTupleExprContext(rules->estate);

    econtext->ecxt_scantuple = rules->slot;
    for (int i = 0; i < rules->check_count; i++) {
        /* Null is a pass, of the expression or of its value. */
        if (rules->checks[i] != nullptr && !ExecCheck(rules->checks[i], econtext)) {
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

bool depends_on(Node *expression, const Bitmapset *columns) {
    const int whole_row = InvalidAttrNumber - FirstLowInvalidHeapAttributeNumber;
    Bitmapset *used = nullptr;

    pull_varattnos(expression, 1, &used);
    return bms_overlap(used, columns) || (bms_is_member(whole_row, used) && !bms_is_empty(columns));
}

/*
 * Now, and not with the first row (ExecComputeStoredGenerated): an error here is no row's, and would leave some columns
 * without their expressions.
 */
void prepare_generated(RecordRules *rules, const Bitmapset *left_out) {
    const TupleDesc desc = RelationGetDescr(rules->target);

    init_generated(rules->relinfo, rules->estate);
    for (int i = 0; i < desc->natts && !bms_is_empty(left_out); i++) {
        if (TupleDescAttr(desc, i)->attgenerated != '\0' &&
            depends_on(build_column_default(rules->target, i + 1), left_out)) {
            generated_expressions(rules->relinfo)[i] = nullptr; /* the column keeps what it has */
            rules->unknown = bms_add_member(rules->unknown, i + 1 - FirstLowInvalidHeapAttributeNumber);
        }
    }
}

/* As ExecRelGenVirtualNotNull: what the column would be computed from IS NOT NULL. */
void prepare_virtual_not_null(RecordRules *rules) {
    const TupleDesc desc = RelationGetDescr(rules->target);

    for (int i = 0; i < desc->natts; i++) {
        const Form_pg_attribute attribute = TupleDescAttr(desc, i);

        if (!attribute->attnotnull || !is_virtual(attribute)) {
            continue;
        }
        Var *column =
            makeVar(1, attribute->attnum, attribute->atttypid, attribute->atttypmod, attribute->attcollation, 0);
        Node *expression = with_generated(reinterpret_cast<Node *>(column), rules->target);
        if (depends_on(expression, rules->unknown)) {
            continue;
        }
        auto *test = makeNode(NullTest);
        test->arg = reinterpret_cast<Expr *>(expression);
        test->nulltesttype = IS_NOT_NULL;
        test->location = -1;
        if (rules->virtual_not_null == nullptr) {
            rules->virtual_not_null =
                static_cast<ExprState **>(palloc0(sizeof(ExprState *) * static_cast<Size>(desc->natts)));
        }
        rules->virtual_not_null[i] = ExecPrepareExpr(reinterpret_cast<Expr *>(test), rules->estate);
    }
}

} // namespace

RecordRules *make_record_rules(Relation target, const Bitmapset *columns, const Bitmapset *left_out, EState *estate) {
    auto *rules = static_cast<RecordRules *>(palloc0(sizeof(RecordRules)));
    const TupleConstr *constraints = RelationGetDescr(target)->constr;

    rules->target = target;
    rules->columns = columns;
    rules->unknown = bms_copy(left_out);
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
        prepare_generated(rules, left_out);
    }
    prepare_virtual_not_null(rules);
    rules->check_count = constraints->num_check;
    if (rules->check_count != target->rd_rel->relchecks) {
        elog(ERROR, "%d pg_constraint record(s) missing for relation \"%s\"",
             target->rd_rel->relchecks - rules->check_count, RelationGetRelationName(target));
    }
    rules->checks = static_cast<ExprState **>(palloc0(sizeof(ExprState *) * Max(rules->check_count, 1)));
    for (int i = 0; i < rules->check_count; i++) {
        if (!is_enforced(&constraints->check[i])) {
            continue;
        }
        Node *expression = with_generated(static_cast<Node *>(stringToNode(constraints->check[i].ccbin)), target);
        if (!depends_on(expression, rules->unknown)) {
            rules->checks[i] = ExecPrepareExpr(reinterpret_cast<Expr *>(expression), estate);
        }
    }
    return rules;
}

bool rules_may_raise(const RecordRules *rules) {
    return rules->check_count > 0 || rules->has_generated || rules->virtual_not_null != nullptr || rules->is_partition;
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
    if (rules->virtual_not_null != nullptr && !check_virtual_not_null(rules, why)) {
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
