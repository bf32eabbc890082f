#include "pg/writer_choice.hpp"

#include "pg/foreign_keys.hpp"
#include "pg/heap_pages.hpp"
#include "pg/pg.hpp"
#include "pg/planned_insert.hpp"
#include "pg/settings.hpp"
#include "pg/target.hpp"

namespace movielens_ingest::pg {

namespace {

/* A trigger of the table's own that an INSERT fires in this session; those of foreign keys are looked at elsewhere. */
bool has_trigger(Relation target) {
    const TriggerDesc *triggers = target->trigdesc;

    for (int i = 0; triggers != nullptr && i < triggers->numtriggers; i++) {
        const Trigger *trigger = &triggers->triggers[i];

        if (TRIGGER_FOR_INSERT(trigger->tgtype) && RI_FKey_trigger_type(trigger->tgfoid) == RI_TRIGGER_NONE &&
            trigger_fires(trigger)) {
            return true;
        }
    }
    return false;
}

/* Exclusion constraints, and unique keys that are checked behind the statement. */
bool has_late_constraint(Relation target) {
    ListCell *cell;
    bool found = false;

    foreach (cell, RelationGetIndexList(target)) {
        Relation index = index_open(lfirst_oid(cell), AccessShareLock);
        found = found || index->rd_index->indisexclusion ||
                (index->rd_index->indisunique && !index->rd_index->indimmediate);
        index_close(index, AccessShareLock);
    }
    return found;
}

bool is_named(const char *name, const char *const *names, int count) {
    for (int i = 0; i < count; i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* Such functions may look at the rows before this one, which multi_insert puts in later (BeginCopyFrom). */
bool has_volatile_default(Relation target, const char *const *columns, int column_count) {
    const TupleDesc desc = RelationGetDescr(target);

    for (int i = 0; i < desc->natts; i++) {
        const Form_pg_attribute attribute = TupleDescAttr(desc, i);

        if (attribute->attisdropped || attribute->attgenerated != '\0' ||
            is_named(NameStr(attribute->attname), columns, column_count)) {
            continue;
        }
        Node *expression = build_column_default(target, i + 1);
        if (expression != nullptr && contain_volatile_functions_not_nextval(reinterpret_cast<Node *>(
                                         expression_planner(reinterpret_cast<Expr *>(expression))))) {
            return true;
        }
    }
    return false;
}

bool has_volatile_check(Relation target) {
    const TupleConstr *constraints = RelationGetDescr(target)->constr;

    for (int i = 0; constraints != nullptr && i < constraints->num_check; i++) {
        const ConstrCheck *check = &constraints->check[i];

        if (is_enforced(check) && contain_volatile_functions(static_cast<Node *>(stringToNode(check->ccbin)))) {
            return true;
        }
    }
    return false;
}

const char *name_of(WriterKind kind) {
    switch (kind) {
    case WriterKind::Pages:
        return "pages";
    case WriterKind::MultiInsert:
        return "multi_insert";
    case WriterKind::Spi:
        break;
    }
    return "spi";
}

const char *only_by_spi(Relation target, const char *const *columns, int column_count, WriterChoice *choice) {
    const char *why;

    switch (target->rd_rel->relkind) {
    case RELKIND_RELATION:
        break;
    case RELKIND_PARTITIONED_TABLE:
        return "it is partitioned";
    case RELKIND_FOREIGN_TABLE:
        return "it is a foreign table";
    default:
        return "it is a view";
    }
    if (target->rd_rel->relam != HEAP_TABLE_AM_OID) {
        return "its access method is not heap";
    }
    if (check_enable_rls(RelationGetRelid(target), InvalidOid, false) == RLS_ENABLED) {
        return "it has policies that apply";
    }
    /* Before triggers: a deferrable key has one. */
    if (has_late_constraint(target)) {
        return "it has an exclusion constraint or a deferrable key";
    }
    if (has_trigger(target)) {
        return "it has triggers";
    }
    if (has_volatile_default(target, columns, column_count)) {
        return "it has a volatile default";
    }
    if (has_volatile_check(target)) {
        return "it has a volatile check constraint";
    }
    choice->self_references = find_self_references_by_set(target);
    choice->foreign_keys = find_foreign_keys(target, &why);
    return why;
}

/* COPY does not invoke rules, and an INSERT statement cannot do without them. */
void require_no_rules(Relation target) {
    if (has_insert_rule(target)) {
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("cannot import into table \"%s\" with a rule for INSERT by writer \"spi\"",
                               RelationGetRelationName(target))));
    }
}

/* When a server loses the rows of an unlogged table, only the witness of its own tables goes with them. */
void require_witness(const Import *import) {
    if (import->unlogged && !import->options.at_least_once) {
        ereport(ERROR,
                (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                 errmsg("records cannot be loaded exactly once into unlogged table %s", import->target),
                 errdetail("Its rows are kept elsewhere, and this server does not learn when a crash takes them."),
                 errhint("With at_least_once => true it is loaded; a failure may then leave some records in it twice, "
                         "or lose some.")));
    }
}

/* A library that only the caller's session had loaded is not here to take its rows. */
void require_still_elsewhere(const Import *import, bool elsewhere) {
    if (import->elsewhere && !elsewhere) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("the rows of table %s were kept elsewhere when its import was called", import->target),
                        errdetail("In the processes of the import, the server inserts into the table itself."),
                        errhint("The library that keeps the rows has to be in shared_preload_libraries or "
                                "session_preload_libraries.")));
    }
}

} // namespace

WriterChoice choose_writer(Relation target, const Import *import) {
    const WriterSetting setting = writer_setting();
    WriterChoice choice = {WriterKind::Pages, NIL, NIL, false};
    const char *why = only_by_spi(target, import->columns, import->column_count, &choice);
    const PlannedInsert planned = plan_insert(target, import->columns, import->column_count);

    choice.elsewhere = planned.by == InsertedBy::Other;
    require_still_elsewhere(import, choice.elsewhere);
    if (why == nullptr || choice.elsewhere) {
        why = planned.why;
    }
    if (why != nullptr) {
        choice.kind = WriterKind::Spi;
    } else if (!takes_whole_pages(target)) {
        choice.kind = WriterKind::MultiInsert;
        why = "logical decoding reads it as a catalog";
    }
    if (setting != WriterSetting::Auto) {
        const auto wanted = static_cast<WriterKind>(static_cast<int>(setting) - 1);
        if (wanted < choice.kind) {
            ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                            errmsg("cannot import into table \"%s\" by writer \"%s\"", RelationGetRelationName(target),
                                   name_of(wanted)),
                            errdetail("The table cannot be written that way: %s.", why),
                            errhint("Set movielens_ingest.writer to \"auto\".")));
        }
        if (wanted > choice.kind) {
            choice.kind = wanted;
            why = "movielens_ingest.writer asks for it";
        }
    }
    if (choice.kind == WriterKind::Spi) {
        choice.foreign_keys = NIL; /* the statement fires their triggers */
        require_no_rules(target);
        if (choice.elsewhere) {
            choice.self_references = NIL;
            require_witness(import);
        }
    }
    ereport(DEBUG1, (why == nullptr ? errmsg_internal("table \"%s\" is written by %s", RelationGetRelationName(target),
                                                      name_of(choice.kind))
                                    : errmsg_internal("table \"%s\" is written by %s: %s",
                                                      RelationGetRelationName(target), name_of(choice.kind), why)));
    return choice;
}

} // namespace movielens_ingest::pg
