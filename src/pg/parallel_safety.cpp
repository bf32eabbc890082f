#include "pg/parallel_safety.hpp"

namespace movielens_ingest::pg {

namespace {

/* What runs for a record. */
struct Code {
    List *expressions;
    List *types; /* whose functions are among them */
};

void add_expression(Code *code, Node *expression) {
    if (expression != nullptr) {
        code->expressions = lappend(code->expressions, expression);
    }
}

/* For nobody to evaluate: it stands for the function. */
void add_function(Code *code, Oid function) {
    if (OidIsValid(function)) {
        add_expression(code, reinterpret_cast<Node *>(makeFuncExpr(function, InvalidOid, NIL, InvalidOid, InvalidOid,
                                                                   COERCE_EXPLICIT_CALL)));
    }
}

void add_type(Code *code, Oid type);

void add_domain(Code *code, Oid type) {
    auto *constraints = static_cast<DomainConstraintRef *>(palloc(sizeof(DomainConstraintRef)));
    ListCell *cell;

    InitDomainConstraintRef(type, constraints, CurrentMemoryContext, false);
    foreach (cell, constraints->constraints) {
        add_expression(code, reinterpret_cast<Node *>(lfirst_node(DomainConstraintState, cell)->check_expr));
    }
    add_type(code, getBaseType(type));
}

void add_row_type(Code *code, Oid type) {
    const TupleDesc desc = lookup_rowtype_tupdesc_copy(type, -1);

    for (int i = 0; i < desc->natts; i++) {
        if (!TupleDescAttr(desc, i)->attisdropped) {
            add_type(code, TupleDescAttr(desc, i)->atttypid);
        }
    }
}

/* Its input function, which reads a field, its output function, for an error's detail, and those that they call. */
void add_type(Code *code, Oid type) {
    constexpr int kRange = TYPECACHE_RANGE_INFO | TYPECACHE_MULTIRANGE_INFO;
    Oid function;
    Oid parameter;
    bool varlena;

    if (!OidIsValid(type) || list_member_oid(code->types, type)) {
        return;
    }
    code->types = lappend_oid(code->types, type);
    getTypeInputInfo(type, &function, &parameter);
    add_function(code, function);
    getTypeOutputInfo(type, &function, &varlena);
    add_function(code, function);
    add_type(code, get_element_type(type));

    const TypeCacheEntry *entry = lookup_type_cache(type, kRange);
    switch (entry->typtype) {
    case TYPTYPE_DOMAIN:
        add_domain(code, type);
        break;
    case TYPTYPE_COMPOSITE:
        add_row_type(code, type);
        break;
    case TYPTYPE_RANGE:
        add_function(code, entry->rng_canonical_finfo.fn_oid);
        add_function(code, entry->rng_cmp_proc_finfo.fn_oid);
        add_type(code, entry->rngelemtype->type_id);
        break;
    case TYPTYPE_MULTIRANGE:
        add_type(code, entry->rngtype->type_id);
        break;
    default:
        break;
    }
}

/* Volatile ones are not evaluated, as tuple_former.cpp finds them. */
void add_default(Code *code, Relation target, AttrNumber attnum) {
    Node *expression = build_column_default(target, attnum);

    if (expression != nullptr && !contain_volatile_functions(reinterpret_cast<Node *>(
                                     expression_planner(reinterpret_cast<Expr *>(expression))))) {
        add_expression(code, expression);
    }
}

void add_columns(Code *code, Relation target) {
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

void add_constraints(Code *code, Relation target) {
    const TupleConstr *constraints = RelationGetDescr(target)->constr;

    for (int i = 0; constraints != nullptr && i < constraints->num_check; i++) {
        add_expression(code, static_cast<Node *>(stringToNode(constraints->check[i].ccbin)));
    }
    if (target->rd_rel->relispartition) {
        add_expression(code, reinterpret_cast<Node *>(RelationGetPartitionQual(target)));
    }
}

/* By the rule that decides whether a query may have a parallel plan (standard_planner), taken strictly. */
bool is_parallel_safe(const Code *code) {
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
    Code code = {NIL, NIL};

    add_columns(&code, target);
    add_constraints(&code, target);
    const bool safe = is_parallel_safe(&code);
    table_close(target, NoLock);
    MemoryContextSwitchTo(old_context);
    MemoryContextDelete(context);
    return safe;
}

} // namespace movielens_ingest::pg
