#include "pg/type_code.hpp"

namespace movielens_ingest::pg {

namespace {

/* For nobody to evaluate: it stands for the function. */
void add_function(TypeCode *code, Oid function) {
    if (OidIsValid(function)) {
        add_expression(code, reinterpret_cast<Node *>(makeFuncExpr(function, InvalidOid, NIL, InvalidOid, InvalidOid,
                                                                   COERCE_EXPLICIT_CALL)));
    }
}

void add_domain(TypeCode *code, Oid type) {
    auto *constraints = static_cast<DomainConstraintRef *>(palloc(sizeof(DomainConstraintRef)));
    ListCell *cell;

    InitDomainConstraintRef(type, constraints, CurrentMemoryContext, false);
    foreach (cell, constraints->constraints) {
        add_expression(code, reinterpret_cast<Node *>(lfirst_node(DomainConstraintState, cell)->check_expr));
    }
    add_type(code, getBaseType(type));
}

void add_row_type(TypeCode *code, Oid type) {
    const TupleDesc desc = lookup_rowtype_tupdesc_copy(type, -1);

    for (int i = 0; i < desc->natts; i++) {
        if (!TupleDescAttr(desc, i)->attisdropped) {
            add_type(code, TupleDescAttr(desc, i)->atttypid);
        }
    }
}

} // namespace

void add_expression(TypeCode *code, Node *expression) {
    if (expression != nullptr) {
        code->expressions = lappend(code->expressions, expression);
    }
}

void add_type(TypeCode *code, Oid type) {
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

bool reading_is_volatile(Oid type) {
    const MemoryContext context =
        AllocSetContextCreate(CurrentMemoryContext, "movielens_ingest type", ALLOCSET_SMALL_SIZES);
    const MemoryContext old_context = MemoryContextSwitchTo(context);
    TypeCode code = {NIL, NIL};

    add_type(&code, type);
    const bool is_volatile = contain_volatile_functions(reinterpret_cast<Node *>(code.expressions));
    MemoryContextSwitchTo(old_context);
    MemoryContextDelete(context);
    return is_volatile;
}

} // namespace movielens_ingest::pg
