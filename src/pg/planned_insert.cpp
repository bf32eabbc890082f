#include "pg/planned_insert.hpp"

#include "pg/pg.hpp"
#include "pg/subtransaction.hpp"
#include "pg/target.hpp"

namespace movielens_ingest::pg {

namespace {

struct Planning {
    Relation target;
    const Bitmapset *columns; /* as column_numbers() has them */
    bool rewrite;             /* with defaults, policies and rules */
    MemoryContext context;    /* of what is found */
    PlannedInsert found;
};

/* One row of parameters, each of its column's type, in the order of the table's columns (expand_insert_targetlist). */
List *parameters(const Planning *planning) {
    const TupleDesc desc = RelationGetDescr(planning->target);
    List *entries = NIL;

    for (int i = 0; i < desc->natts; i++) {
        const Form_pg_attribute attribute = TupleDescAttr(desc, i);

        if (!bms_is_member(attribute->attnum - FirstLowInvalidHeapAttributeNumber, planning->columns)) {
            continue;
        }
        auto *value = makeNode(Param);
        value->paramkind = PARAM_EXTERN;
        value->paramid = list_length(entries) + 1;
        value->paramtype = attribute->atttypid;
        value->paramtypmod = attribute->atttypmod;
        value->paramcollid = attribute->attcollation;
        value->location = -1;
        entries = lappend(entries, makeTargetEntry(reinterpret_cast<Expr *>(value), attribute->attnum,
                                                   pstrdup(NameStr(attribute->attname)), false));
    }
    return entries;
}

/* As transformInsertStmt makes it of VALUES ($1, ...). */
Query *insert_query(const Planning *planning) {
    ParseState *state = make_parsestate(nullptr);
    auto *query = makeNode(Query);

    RangeTblEntry *entry =
        addRangeTableEntryForRelation(state, planning->target, AccessShareLock, nullptr, false, false)->p_rte;
    entry->rellockmode = RowExclusiveLock;
    query->commandType = CMD_INSERT;
    query->querySource = QSRC_ORIGINAL;
    query->canSetTag = true;
    set_range_table(query, state, entry, bms_copy(planning->columns));
    query->resultRelation = list_length(query->rtable);
    query->jointree = makeFromExpr(NIL, nullptr);
    query->targetList = parameters(planning);
    query->override = OVERRIDING_SYSTEM_VALUE;
    query->stmt_location = -1;
    free_parsestate(state);
    return query;
}

/* The row is one of values that are given, not of anything that is scanned. */
bool is_row_of_values(const Plan *plan) {
    return plan != nullptr && IsA(plan, Result) && outerPlan(plan) == nullptr && plan->qual == NIL &&
           reinterpret_cast<const Result *>(plan)->resconstantqual == nullptr;
}

bool inserts_into(const PlannedStmt *plan, Oid target) {
    if (plan->commandType != CMD_INSERT || !IsA(plan->planTree, ModifyTable)) {
        return false;
    }
    const auto *node = reinterpret_cast<const ModifyTable *>(plan->planTree);
    return node->operation == CMD_INSERT && list_length(node->resultRelations) == 1 &&
           rt_fetch(linitial_int(node->resultRelations), plan->rtable)->relid == target &&
           is_row_of_values(outerPlan(&node->plan));
}

bool does_no_more(const PlannedStmt *plan, Oid target) {
    const auto *node = reinterpret_cast<const ModifyTable *>(plan->planTree);
    ListCell *cell;

    foreach (cell, plan->rtable) {
        const auto *entry = lfirst_node(RangeTblEntry, cell);
        if (entry->rtekind != RTE_RESULT && (entry->rtekind != RTE_RELATION || entry->relid != target)) {
            return false;
        }
    }
    return plan->subplans == NIL && plan->rowMarks == NIL && !plan->hasReturning && !plan->hasModifyingCTE &&
           node->withCheckOptionLists == NIL && node->returningLists == NIL && node->plan.initPlan == NIL &&
           node->onConflictAction == ONCONFLICT_NONE;
}

const char *describe(const Plan *plan) {
    return IsA(plan, CustomScan) ? psprintf("its INSERT is planned as custom scan \"%s\"",
                                            reinterpret_cast<const CustomScan *>(plan)->methods->CustomName)
                                 : "its INSERT is not planned as one into the table itself";
}

void plan_query(void *argument) {
    auto *planning = static_cast<Planning *>(argument);
    const Oid target = RelationGetRelid(planning->target);

    List *queries = list_make1(insert_query(planning));
    if (planning->rewrite) {
        queries = QueryRewrite(linitial_node(Query, queries));
    }
    if (list_length(queries) != 1 || linitial_node(Query, queries)->commandType == CMD_UTILITY) {
        planning->found = {InsertedBy::Other, "its INSERT is not one statement"};
        return;
    }
    PushActiveSnapshot(GetTransactionSnapshot());
    const PlannedStmt *plan =
        plan_query_of(linitial_node(Query, queries), psprintf("INSERT INTO %s", qualified_name(planning->target)));
    PopActiveSnapshot();

    const MemoryContext context = MemoryContextSwitchTo(planning->context);
    if (!inserts_into(plan, target)) {
        planning->found = {InsertedBy::Other, describe(plan->planTree)};
    } else if (!does_no_more(plan, target)) {
        planning->found = {InsertedBy::Executor, "its INSERT is planned as more than one into the table"};
    } else {
        planning->found = {InsertedBy::Heap, nullptr};
    }
    MemoryContextSwitchTo(context);
}

PlannedInsert ask_planner(Planning *planning) {
    ErrorData *error = try_in_subtransaction(plan_query, planning);

    if (error == nullptr) {
        return planning->found;
    }
    if (is_cancel(error) || may_pass(error) ||
        ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION) {
        ReThrowError(error);
    }
    return {InsertedBy::Other, psprintf("its INSERT of one row cannot be planned: %s", error->message)};
}

} // namespace

PlannedInsert plan_insert(Relation target, const char *const *columns, int column_count) {
    /* The fast writers, as COPY, do not invoke rules. */
    Planning planning = {target,
                         column_numbers(target, columns, column_count),
                         !has_insert_rule(target),
                         CurrentMemoryContext,
                         {InsertedBy::Other, nullptr}};

    return ask_planner(&planning);
}

bool is_kept_elsewhere(Relation table) {
    Planning planning = {table, nullptr, false, CurrentMemoryContext, {InsertedBy::Other, nullptr}};

    return ask_planner(&planning).by == InsertedBy::Other;
}

} // namespace movielens_ingest::pg
