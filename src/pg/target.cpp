#include "pg/target.hpp"

#include "pg/error_text.hpp"
#include "pg/movielens_tables.hpp"
#include "pg/pg.hpp"
#include "pg/session.hpp"

namespace movielens_ingest::pg {

namespace {

Oid find_on_path(const char *table_name) { return RelnameGetRelid(table_name); }

Oid create_with_notice(const DataTable *table, Oid in_schema, Oid movies) {
    const Oid created = create_data_table(table, in_schema, movies);

    ereport(NOTICE, (errmsg("table \"%s\" does not exist, creating it in schema \"%s\"", table->name,
                            get_namespace_name(in_schema))));
    return created;
}

/* What an import cannot load into; COPY's words where COPY refuses it too (CopyFrom). */
void require_loadable(Relation target) {
    const char *name = RelationGetRelationName(target);

    switch (target->rd_rel->relkind) {
    case RELKIND_RELATION:
    case RELKIND_PARTITIONED_TABLE:
        break;
    case RELKIND_VIEW:
        if (target->trigdesc == nullptr || !target->trigdesc->trig_insert_instead_row) {
            ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("cannot import into view \"%s\"", name),
                            errhint("To enable importing into a view, provide an INSTEAD OF INSERT trigger.")));
        }
        break;
    case RELKIND_FOREIGN_TABLE: {
        ResultRelInfo *relinfo = makeNode(ResultRelInfo);
        InitResultRelInfo(relinfo, target, 1, nullptr, 0);
        check_insert_into(relinfo);
        break;
    }
    case RELKIND_MATVIEW:
        ereport(ERROR,
                (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("cannot import into materialized view \"%s\"", name)));
        break;
    case RELKIND_SEQUENCE:
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("cannot import into sequence \"%s\"", name)));
        break;
    default:
        ereport(ERROR,
                (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("cannot import into non-table relation \"%s\"", name)));
    }

    if (IsSystemRelation(target)) {
        ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                        errmsg("permission denied: \"%s\" is a system catalog", name)));
    }
    if (target->rd_rel->relpersistence == RELPERSISTENCE_TEMP) {
        ereport(ERROR,
                (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("cannot import into temporary table \"%s\"", name),
                 errdetail("Other processes load it, and they cannot see a temporary table.")));
    }
}

/*
 * What a parser asks who looks up a name with a schema (LookupExplicitNamespace), as COPY's does. A target given by its
 * OID has passed none.
 */
void require_usage(Relation target) {
    const Oid schema = RelationGetNamespace(target);
    const AclResult result = check_usage_of_schema(schema);

    if (result != ACLCHECK_OK) {
        aclcheck_error(result, OBJECT_SCHEMA, get_namespace_name(schema));
    }
}

/* INSERT on the table or on each of the columns, or on some column if none is named: by the rule of the executor. */
void require_insert(Relation target, const char *const *columns, int column_count) {
    Bitmapset *numbers = column_numbers(target, columns, column_count);

    check_insert_permission(insert_target(target, numbers));
}

} // namespace

Oid find_target(const char *path, Missing missing) {
    const char *file_name = strrchr(path, '/') + 1;
    const DataTable *table = data_table_of_file(file_name);

    if (table == nullptr) {
        ereport(ERROR,
                (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("no table is known for file \"%s\"", show_name(file_name)),
                 errdetail("Only the files of MovieLens are known by their names."),
                 errhint("Name the table with the parameter \"target\".")));
    }

    const Oid found = find_on_path(table->name);
    if (OidIsValid(found)) {
        return found;
    }
    if (missing == Missing::Error) {
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("relation \"%s\" does not exist", table->name)));
    }

    List *path_schemas = fetch_search_path(false);
    if (path_schemas == NIL) {
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_SCHEMA), errmsg("no schema has been selected to create in")));
    }
    const Oid in_schema = linitial_oid(path_schemas);
    Oid movies = find_on_path(kDataTables[0].name);
    if (table->references_movies && !OidIsValid(movies)) {
        movies = create_with_notice(&kDataTables[0], in_schema, InvalidOid);
    }
    return create_with_notice(table, in_schema, movies);
}

Relation open_target(Oid target, const char *name, const char *const *columns, int column_count) {
    Relation relation = try_relation_open(target, RowExclusiveLock);

    if (relation == nullptr) {
        ereport(
            ERROR,
            (errcode(ERRCODE_UNDEFINED_TABLE),
             name != nullptr ? errmsg("table %s does not exist", name)
                             : errmsg("relation with OID %u does not exist", target),
             name != nullptr ? errdetail("It was dropped; a table that has its name since then is another one.") : 0));
    }
    require_usage(relation);
    require_loadable(relation);
    require_insert(relation, columns, column_count);
    return relation;
}

Bitmapset *column_numbers(Relation target, const char *const *columns, int column_count) {
    Bitmapset *numbers = nullptr;

    for (int i = 0; i < column_count; i++) {
        const AttrNumber attnum = get_attnum(RelationGetRelid(target), columns[i]);

        numbers = bms_add_member(numbers, attnum - FirstLowInvalidHeapAttributeNumber);
    }
    return numbers;
}

InsertTarget insert_target(Relation target, const Bitmapset *columns) {
    auto *entry = makeNode(RangeTblEntry);

    entry->rtekind = RTE_RELATION;
    entry->relid = RelationGetRelid(target);
    entry->relkind = target->rd_rel->relkind;
    entry->rellockmode = RowExclusiveLock;
    return require_insert_of(entry, bms_copy(columns));
}

bool has_insert_rule(Relation target) {
    const RuleLock *rules = target->rd_rules;
    bool found = false;

    for (int i = 0; rules != nullptr && i < rules->numLocks; i++) {
        found |= rules->rules[i]->event == CMD_INSERT && rules->rules[i]->enabled != RULE_DISABLED;
    }
    return found;
}

bool can_be_analyzed(Oid target) {
    const char kind = get_rel_relkind(target);

    return kind == RELKIND_RELATION || kind == RELKIND_PARTITIONED_TABLE;
}

bool may_analyze(Oid target) { return may_maintain_table(target) || owns_database(MyDatabaseId); }

const char *qualified_name(Relation target) {
    /* Imports are compared by it, so it must not depend on a setting of the session. */
    const int guc_level = NewGUCNestLevel();
    set_locally("quote_all_identifiers", "off");
    const char *name =
        quote_qualified_identifier(get_namespace_name(RelationGetNamespace(target)), RelationGetRelationName(target));
    AtEOXact_GUC(true, guc_level);
    return name;
}

} // namespace movielens_ingest::pg
