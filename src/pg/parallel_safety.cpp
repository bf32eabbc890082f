#include "pg/parallel_safety.hpp"

#include "pg/type_code.hpp"

namespace movielens_ingest::pg {

namespace {

/* Volatile ones are not evaluated, as tuple_former.cpp finds them. */
void add_default(TypeCode *code, Relation target, AttrNumber attnum) {
    Node *expression = build_column_default(target, attnum);

    if (expression != nullptr && !contain_volatile_functions(reinterpret_cast<Node *>(
                                     expression_planner(reinterpret_cast<Expr *>(expression))))) {
        add_expression(code, expression);
    }
}

void add_columns(TypeCode *code, Relation target) {
    const TupleDesc desc = RelationGetDescr(target);

    for (int i = 0; i < desc->natts; i++) {
        const Form_pg_attribute attribute = TupleDescAttr(desc, i);

        if (!attribute->attisdropped) {
            add_type(code, attribute->atttypid);
            if (attribute->attgenerated != '\0') {
                add_expression(code, build_column_default(target, attribute->attnum));
            } else {
                add_default(code, target, attribute->attnum);
            }
        }
    }
}

void add_constraints(TypeCode *code, Relation target) {
    const TupleConstr *constraints = RelationGetDescr(target)->constr;

    for (int i = 0; constraints != nullptr && i < constraints->num_check; i++) {
        add_expression(code, static_cast<Node *>(stringToNode(constraints->check[i].ccbin)));
    }
    if (target->rd_rel->relispartition) {
        add_expression(code, reinterpret_cast<Node *>(RelationGetPartitionQual(target)));
    }
}

/* By the rule that decides whether a query may have a parallel plan (standard_planner), taken strictly. */
bool is_parallel_safe(const TypeCode *code) {
    auto *query = makeNode(Query);
    ListCell *cell;

    query->commandType = CMD_SELECT;
    query->jointree = makeFromExpr(NIL, nullptr);
    foreach (cell, code->expressions) {
        query->targetList =
            lappend(query->targetList,
                    makeTargetEntry(static_cast<Expr *>(lfirst(cell)),
                                    static_cast<AttrNumber>(foreach_current_index(cell) + 1), nullptr, false));
    }
    return max_parallel_hazard(query) == PROPARALLEL_SAFE;
}

} // namespace

bool records_are_parallel_safe(const Import *import) {
    const MemoryContext context =
        AllocSetContextCreate(CurrentMemoryContext, "movielens_ingest parallel safety", ALLOCSET_DEFAULT_SIZES);
    const MemoryContext old_context = MemoryContextSwitchTo(context);
    Relation target = table_open(import->target_oid, NoLock); /* the call has locked it */
    TypeCode code = {NIL, NIL};

    add_columns(&code, target);
    add_constraints(&code, target);
    const bool safe = is_parallel_safe(&code);
    table_close(target, NoLock);
    MemoryContextSwitchTo(old_context);
    MemoryContextDelete(context);
    return safe;
}

} // namespace movielens_ingest::pg
