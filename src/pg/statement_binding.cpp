#include "pg/statement_binding.hpp"

namespace movielens_ingest::pg {

namespace {

post_parse_analyze_hook_type next_hook = nullptr;
StatementBinding *current = nullptr;

void raise_strange(Oid catalog, Oid object) {
    const ObjectAddress address = {catalog, object, 0};

    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("a statement of extension \"movielens_ingest\" would use %s",
                           getObjectDescription(&address, false)),
                    errdetail("It has the name of what the statement was made for: a schema has been renamed.")));
}

/* What a query is looked at with. */
struct Check {
    const StatementBinding *binding;
    Oid extension; /* InvalidOid: its objects may not be used */
};

bool is_listed(const Check *check, Oid catalog, Oid object) {
    for (int i = 0; i < check->binding->object_count; i++) {
        const ObjectAddress *listed = &check->binding->objects[i];
        if (listed->classId == catalog && listed->objectId == object) {
            return true;
        }
    }
    return false;
}

bool is_of_extension(const Check *check, Oid catalog, Oid object) {
    return OidIsValid(check->extension) && getExtensionOfObject(catalog, object) == check->extension;
}

/* Only initdb gives OIDs below this one, and it makes nothing that an ordinary role owns. */
bool is_built_in(Oid object) { return object < FirstNormalObjectId; }

bool references_extension(const Check *check, Relation table) {
    /* A copy: the relation's own vanishes when it is rebuilt, as any look into the catalogs may bring it about. */
    const List *keys = static_cast<const List *>(copyObjectImpl(RelationGetFKeyList(table)));
    const ListCell *cell;

    foreach (cell, keys) {
        if (is_of_extension(check, RelationRelationId, static_cast<ForeignKeyCacheInfo *>(lfirst(cell))->confrelid)) {
            return true;
        }
    }
    return false;
}

/* A WHEN clause can call anything, also before a trigger function of ours. */
bool is_strange_trigger(const Check *check, const Trigger *trigger) {
    if (trigger->tgisinternal && RI_FKey_trigger_type(trigger->tgfoid) != RI_TRIGGER_NONE) {
        return false; /* of a foreign key; those of others run their queries as the owners of their tables */
    }
    return trigger->tgqual != nullptr || !is_of_extension(check, ProcedureRelationId, trigger->tgfoid);
}

/*
 * Looking here is enough: a new trigger or rule makes the plans of its table invalid, and with the lock that a
 * statement has on its tables none can be made.
 */
void require_no_code_of_others(const Check *check, Relation table) {
    ObjectAddress strange = InvalidObjectAddress;

    for (int i = 0; table->trigdesc != nullptr && i < table->trigdesc->numtriggers; i++) {
        if (is_strange_trigger(check, &table->trigdesc->triggers[i])) {
            ObjectAddressSet(strange, TriggerRelationId, table->trigdesc->triggers[i].tgoid);
        }
    }
    if (table->rd_rules != nullptr && table->rd_rules->numLocks > 0) {
        ObjectAddressSet(strange, RewriteRelationId, table->rd_rules->rules[0]->ruleId);
    }
    if (OidIsValid(strange.objectId)) {
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                 errmsg("%s is not part of extension \"movielens_ingest\"", getObjectDescription(&strange, false)),
                 errdetail("It would run with the rights of the table's owner."),
                 errhint("Drop it, and take back the privilege that let it be made.")));
    }
}

void check_table(const Check *check, const RangeTblEntry *entry) {
    bool known = is_built_in(entry->relid) || is_listed(check, RelationRelationId, entry->relid);

    /* EXCLUDED has the OID of the table, and is called a composite type (transformOnConflictClause). */
    const bool is_table = entry->relkind == RELKIND_RELATION || entry->relkind == RELKIND_COMPOSITE_TYPE;
    if (!known && OidIsValid(check->extension) && is_table) {
        Relation table = table_open(entry->relid, NoLock); /* the parser has locked it */
        if (is_of_extension(check, RelationRelationId, entry->relid)) {
            known = true;
            require_no_code_of_others(check, table);
        } else {
            known = RelationGetForm(table)->relowner == check->binding->user && references_extension(check, table);
        }
        table_close(table, NoLock);
    }
    if (!known) {
        raise_strange(RelationRelationId, entry->relid);
    }
}

bool is_strange_function(Oid function, void *context) {
    const auto *check = static_cast<const Check *>(context);

    if (!is_built_in(function) && !is_listed(check, ProcedureRelationId, function) &&
        !is_of_extension(check, ProcedureRelationId, function)) {
        raise_strange(ProcedureRelationId, function);
    }
    return false;
}

void check_type(const Check *check, Oid type) {
    if (!is_built_in(type) && !is_listed(check, TypeRelationId, type)) {
        raise_strange(TypeRelationId, type);
    }
}

/*
 * The type that a coercion leads to, InvalidOid for other nodes. Which function does it is in pg_cast, by the OIDs of
 * the types; but a type can stand in the text by name, and a domain has CHECK constraints of its owner's.
 */
Oid coerced_type(const Node *node) {
    switch (nodeTag(node)) {
    case T_FuncExpr: {
        const auto *call = reinterpret_cast<const FuncExpr *>(node);
        return call->funcformat == COERCE_EXPLICIT_CAST || call->funcformat == COERCE_IMPLICIT_CAST
                   ? call->funcresulttype
                   : InvalidOid;
    }
    case T_CoerceViaIO:
    case T_ArrayCoerceExpr:
    case T_ConvertRowtypeExpr:
    case T_CoerceToDomain:
        return exprType(node);
    default:
        return InvalidOid;
    }
}

void check_sort(void *check, const SortGroupClause *clause) {
    for (const Oid op : {clause->eqop, clause->sortop}) {
        if (OidIsValid(op) && !is_built_in(op)) {
            (void)is_strange_function(get_opcode(op), check);
        }
    }
}

bool check_node(Node *node, void *context) {
    const auto *check = static_cast<const Check *>(context);

    if (node == nullptr) {
        return false;
    }
    switch (nodeTag(node)) {
    case T_Query:
        return walk_query(reinterpret_cast<Query *>(node), check_node, context,
                          QTW_EXAMINE_RTES_BEFORE | QTW_EXAMINE_SORTGROUP);
    case T_RangeTblEntry: {
        const auto *entry = reinterpret_cast<RangeTblEntry *>(node);
        if (OidIsValid(entry->relid)) {
            check_table(check, entry);
        }
        return false; /* query_tree_walker goes on into it */
    }
    case T_SortGroupClause:
        check_sort(context, reinterpret_cast<SortGroupClause *>(node));
        return false;
    case T_TableSampleClause:
        (void)is_strange_function(reinterpret_cast<TableSampleClause *>(node)->tsmhandler, context);
        break;
    case T_WindowClause: {
        const auto *window = reinterpret_cast<WindowClause *>(node);
        for (const Oid function : {window->startInRangeFunc, window->endInRangeFunc}) {
            if (OidIsValid(function)) {
                (void)is_strange_function(function, context);
            }
        }
        break;
    }
    case T_RangeTblFunction: {
        const ListCell *cell;
        foreach (cell, reinterpret_cast<RangeTblFunction *>(node)->funccoltypes) {
            check_type(check, lfirst_oid(cell)); /* of AS r (column type, ...) */
        }
        break;
    }
    default:
        break;
    }
    const Oid type = coerced_type(node);
    if (OidIsValid(type)) {
        check_type(check, type);
    } else {
        (void)check_functions_in_node(node, is_strange_function, context);
    }
    return walk_expression(node, check_node, context);
}

bool is_bound(const StatementBinding *binding, const ParseState *state) {
    if (binding->text == nullptr) {
        return GetUserId() == binding->user;
    }
    /* By what it says, for a plan keeps a copy of the text. User code may run the same text: then it is held to it too.
     */
    return state->p_sourcetext != nullptr && strcmp(state->p_sourcetext, binding->text) == 0;
}

void check_statement(ParseState *state, Query *query, Jumble *jumble) {
    if (next_hook != nullptr) {
        next_hook(state, query, jumble);
    }
    if (current != nullptr && is_bound(current, state)) {
        Check check = {current, current->of_extension ? get_extension_oid("movielens_ingest", true) : InvalidOid};
        (void)check_node(reinterpret_cast<Node *>(query), &check);
        current->checked = true;
    }
}

} // namespace

StatementBinding bind_text(const char *text, const ObjectAddress *objects, int count) {
    return {text, InvalidOid, false, objects, count, false, nullptr};
}

int add_types(ObjectAddress *objects, int count, Oid type) {
    for (int i = 0; i < kMostTypes && OidIsValid(type); i++) {
        const Oid base = getBaseType(type);

        ObjectAddressSet(objects[count], TypeRelationId, type);
        count++;
        type = base != type ? base : get_element_type(type);
    }
    return count;
}

void install_statement_check() {
    next_hook = post_parse_analyze_hook;
    post_parse_analyze_hook = check_statement;
}

void enter_binding(StatementBinding *binding) {
    binding->outer = current;
    current = binding;
}

void leave_binding(const StatementBinding *binding) { current = binding->outer; }

void require_checked(const StatementBinding *binding) {
    if (!binding->checked) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("extension \"movielens_ingest\" cannot look at its statements"),
                        errdetail("A library that was loaded later does not call the hook that it found "
                                  "(post_parse_analyze_hook).")));
    }
}

} // namespace movielens_ingest::pg
