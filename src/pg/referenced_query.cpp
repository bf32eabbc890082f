#include "pg/referenced_query.hpp"

#include "pg/pg.hpp"
#include "pg/statement_binding.hpp"
#include "pg/tuple_value.hpp"

namespace movielens_ingest::pg {

namespace {

/* What a query names: the table, and for each column an operator and the types that it compares. */
constexpr int kMostObjects = 1 + INDEX_MAX_KEYS * (1 + 4 * kMostTypes);

struct Caller {
    Oid user;
    int security_context;
    int guc_level;
};

/*
 * Restricted, as what maintains a table for its owner (do_analyze_rel): code of the owner's can run here, in the
 * predicate of an index or in a cast, and must leave neither settings nor deferred triggers to the importer, who
 * commits.
 */
Caller become_owner(Relation referenced) {
    Caller caller;

    GetUserIdAndSecContext(&caller.user, &caller.security_context);
    SetUserIdAndSecContext(RelationGetForm(referenced)->relowner,
                           caller.security_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS |
                               SECURITY_RESTRICTED_OPERATION);
    caller.guc_level = NewGUCNestLevel();
    if (SPI_connect() != SPI_OK_CONNECT) {
        elog(ERROR, "SPI_connect failed");
    }
    return caller;
}

void become_caller(const Caller *caller) {
    if (SPI_finish() != SPI_OK_FINISH) {
        elog(ERROR, "SPI_finish failed");
    }
    AtEOXact_GUC(false, caller->guc_level);
    SetUserIdAndSecContext(caller->user, caller->security_context);
}

const char *name_of(Relation referenced) {
    return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(referenced)),
                                      RelationGetRelationName(referenced));
}

/* What a comparison of values of these types is made of, from objects[count] on; returns the new count. */
int add_comparison(ObjectAddress *objects, int count, Oid equals, Oid left, Oid right) {
    Oid left_input;
    Oid right_input;

    op_input_types(equals, &left_input, &right_input);
    ObjectAddressSet(objects[count], ProcedureRelationId, get_opcode(equals));
    count++;
    for (const Oid type : {left, right, left_input, right_input}) {
        count = add_types(objects, count, type);
    }
    return count;
}

/*
 * As RI_FKey_check has it for one key; the operator is the constraint's, whatever search_path says. The objects that
 * the text names go into objects, and how many into object_count: it runs as the owner of the table.
 */
const char *lookup_query(Relation target, Relation referenced, const ForeignKey *key, RowLock lock,
                         ObjectAddress *objects, int *object_count) {
    StringInfoData query;
    StringInfoData names;

    ObjectAddressSet(objects[0], RelationRelationId, RelationGetRelid(referenced));
    *object_count = 1;

    initStringInfo(&query);
    initStringInfo(&names);
    appendStringInfoString(&query, "SELECT k.n FROM ROWS FROM (");
    for (int i = 0; i < key->count; i++) {
        appendStringInfo(&query, "%spg_catalog.unnest($%d)", i > 0 ? ", " : "", i + 1);
        appendStringInfo(&names, "k%d, ", i);
    }
    appendStringInfo(&query, ") WITH ORDINALITY AS k (%sn) JOIN ONLY %s x ON ", names.data, name_of(referenced));
    for (int i = 0; i < key->count; i++) {
        const Form_pg_attribute left = TupleDescAttr(RelationGetDescr(referenced), key->referenced_columns[i] - 1);
        const Form_pg_attribute right = TupleDescAttr(RelationGetDescr(target), key->columns[i] - 1);

        if (i > 0) {
            appendStringInfoString(&query, " AND ");
        }
        generate_operator_clause(&query, psprintf("x.%s", quote_identifier(NameStr(left->attname))), left->atttypid,
                                 key->operators[i], psprintf("k.k%d", i), right->atttypid);
        *object_count = add_comparison(objects, *object_count, key->operators[i], left->atttypid, right->atttypid);
    }
    if (lock == RowLock::KeyShare) {
        appendStringInfoString(&query, " FOR KEY SHARE OF x");
    }
    return query.data;
}

/* A query that finds a row or none. */
struct RowQuery {
    StringInfoData text;
    const char *from;
    Oid types[INDEX_MAX_KEYS + 1];
    Datum arguments[INDEX_MAX_KEYS + 1];
    int argument_count;
    ObjectAddress objects[kMostObjects];
    int object_count;
};

RowQuery begin_row_query(Relation referenced) {
    const bool partitioned = RelationGetForm(referenced)->relkind == RELKIND_PARTITIONED_TABLE;
    RowQuery query;

    initStringInfo(&query.text);
    query.from = psprintf("%s%s", partitioned ? "" : "ONLY ", name_of(referenced));
    query.argument_count = 0;
    ObjectAddressSet(query.objects[0], RelationRelationId, RelationGetRelid(referenced));
    query.object_count = 1;
    return query;
}

/* Returns its number, from 1. */
int add_argument(RowQuery *query, Oid type, Datum value) {
    query->types[query->argument_count] = type;
    query->arguments[query->argument_count] = value;
    return ++query->argument_count;
}

/* The first columns of x equal those of a record. */
void append_equalities(RowQuery *query, Relation target, Relation referenced, const ForeignKeyCacheInfo *key, int count,
                       const Datum *values) {
    for (int i = 0; i < count; i++) {
        const Form_pg_attribute left = TupleDescAttr(RelationGetDescr(referenced), key->confkey[i] - 1);
        const Form_pg_attribute right = TupleDescAttr(RelationGetDescr(target), key->conkey[i] - 1);

        if (i > 0) {
            appendStringInfoString(&query->text, " AND ");
        }
        generate_operator_clause(&query->text, psprintf("x.%s", quote_identifier(NameStr(left->attname))),
                                 left->atttypid, key->conpfeqop[i],
                                 psprintf("$%d", add_argument(query, right->atttypid, values[i])), right->atttypid);
        query->object_count =
            add_comparison(query->objects, query->object_count, key->conpfeqop[i], left->atttypid, right->atttypid);
    }
}

bool finds_row(RowQuery *query, Relation referenced) {
    int code = 0;
    StatementBinding binding = bind_text(query->text.data, query->objects, query->object_count);
    const Caller caller = become_owner(referenced);

    while_bound(&binding, [&] {
        code = SPI_execute_with_args(query->text.data, query->argument_count, query->types, query->arguments, nullptr,
                                     false, 1);
    });
    if (code != SPI_OK_SELECT) {
        elog(ERROR, "could not run \"%s\"", query->text.data);
    }
    require_checked(&binding);
    const bool found = SPI_processed > 0;
    become_caller(&caller);
    return found;
}

} // namespace

void look_up_keys(Relation target, const ForeignKey *key, const KeyPlaces *places, HeapTuple const *tuples,
                  const int *records, int count, RowLock lock, bool *present) {
    Relation referenced = table_open(key->referenced, lock == RowLock::None ? AccessShareLock : RowShareLock);
    Datum arrays[INDEX_MAX_KEYS];
    Oid types[INDEX_MAX_KEYS];

    for (int i = 0; i < key->count; i++) {
        const Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(target), key->columns[i] - 1);
        auto *values = static_cast<Datum *>(palloc(sizeof(Datum) * static_cast<Size>(count)));
        bool null;

        for (int n = 0; n < count; n++) {
            values[n] = tuple_value(tuples[records[n]], places->columns[i], places->desc, &null);
        }
        types[i] = get_array_type(attribute->atttypid);
        arrays[i] = PointerGetDatum(construct_array(values, count, attribute->atttypid, attribute->attlen,
                                                    attribute->attbyval, attribute->attalign));
    }

    ObjectAddress objects[kMostObjects];
    int object_count;
    int code = 0;
    const char *query = lookup_query(target, referenced, key, lock, objects, &object_count);
    StatementBinding binding = bind_text(query, objects, object_count);
    const Caller caller = become_owner(referenced);
    while_bound(&binding, [&] { code = SPI_execute_with_args(query, key->count, types, arrays, nullptr, false, 0); });
    if (code != SPI_OK_SELECT) {
        elog(ERROR, "could not run \"%s\"", query);
    }
    require_checked(&binding);
    memset(present, 0, sizeof(bool) * static_cast<size_t>(count));
    for (uint64 i = 0; i < SPI_processed; i++) {
        bool null;
        const int64 number = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &null));
        present[number - 1] = true;
    }
    become_caller(&caller);
    table_close(referenced, NoLock);
}

bool has_referenced_row(Relation target, const ForeignKeyCacheInfo *key, const Datum *values) {
    Relation referenced = table_open(key->confrelid, AccessShareLock);
    RowQuery query = begin_row_query(referenced);

    appendStringInfo(&query.text, "SELECT FROM %s x WHERE ", query.from);
    append_equalities(&query, target, referenced, key, key->nkeys, values);
    const bool found = finds_row(&query, referenced);
    table_close(referenced, NoLock);
    return found;
}

bool is_covered(Relation target, const ForeignKeyCacheInfo *key, const Datum *values, Datum *periods, int count) {
    Relation referenced = table_open(key->confrelid, AccessShareLock);
    const int last = key->nkeys - 1;
    const Form_pg_attribute of_rows = TupleDescAttr(RelationGetDescr(referenced), key->confkey[last] - 1);
    const Form_pg_attribute of_record = TupleDescAttr(RelationGetDescr(target), key->conkey[last] - 1);
    RowQuery query = begin_row_query(referenced);

    appendStringInfo(&query.text, "SELECT FROM (SELECT x.%s AS r FROM %s x WHERE ",
                     quote_identifier(NameStr(of_rows->attname)), query.from);
    append_equalities(&query, target, referenced, key, last, values);
    const int own = add_argument(&query, of_record->atttypid, values[last]);
    const int others = add_argument(&query, get_array_type(of_rows->atttypid),
                                    PointerGetDatum(construct_array(periods, count, of_rows->atttypid, of_rows->attlen,
                                                                    of_rows->attbyval, of_rows->attalign)));
    appendStringInfo(&query.text,
                     " UNION ALL SELECT u.r FROM pg_catalog.unnest($%d) u (r)) p"
                     " WHERE p.r OPERATOR(pg_catalog.&&) $%d"
                     " HAVING $%d OPERATOR(pg_catalog.<@) pg_catalog.range_agg(p.r)",
                     others, own, own);
    query.object_count =
        add_comparison(query.objects, query.object_count, key->conpfeqop[last], of_rows->atttypid, of_record->atttypid);
    const bool found = finds_row(&query, referenced);
    table_close(referenced, NoLock);
    return found;
}

bool read_all_keys(const ForeignKey *key, KeySet *set, Size most_memory) {
    constexpr long kRowsTogether = 4096; /* what is in memory at once */
    Relation referenced = table_open(key->referenced, AccessShareLock);
    const Form_pg_attribute column = TupleDescAttr(RelationGetDescr(referenced), key->referenced_columns[0] - 1);
    const char *query =
        psprintf("SELECT x.%s FROM ONLY %s x", quote_identifier(NameStr(column->attname)), name_of(referenced));
    uint64 fetched;

    const ObjectAddress table = {RelationRelationId, RelationGetRelid(referenced), 0};
    StatementBinding binding = bind_text(query, &table, 1);
    Portal portal = nullptr;
    const Caller caller = become_owner(referenced);
    while_bound(&binding, [&] {
        portal = SPI_cursor_open_with_args(nullptr, query, 0, nullptr, nullptr, nullptr, false, CURSOR_OPT_NO_SCROLL);
    });
    require_checked(&binding);
    do {
        SPI_cursor_fetch(portal, true, kRowsTogether);
        fetched = SPI_processed;
        for (uint64 i = 0; i < fetched; i++) {
            bool null;
            const Datum value = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &null);
            if (!null) {
                insert_integer(set, integer_value(column, value));
            }
        }
        SPI_freetuptable(SPI_tuptable);
    } while (fetched > 0 && key_set_size(set) <= most_memory);
    SPI_cursor_close(portal);
    become_caller(&caller);
    table_close(referenced, NoLock);
    return fetched == 0;
}

} // namespace movielens_ingest::pg
