#include "pg/ledger.hpp"

#include "pg/ledger_statement.hpp"
#include "pg/pg.hpp"
#include "pg/raw_line.hpp"
#include "pg/script_version.hpp"
#include "pg/statement_binding.hpp"

namespace movielens_ingest::pg {

namespace {

void raise_no_ledger() {
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("the tables of extension \"movielens_ingest\" do not exist")));
}

Oid owner_of(Oid relation) {
    HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));

    if (!HeapTupleIsValid(tuple)) {
        return InvalidOid;
    }
    const Oid owner = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple))->relowner;
    ReleaseSysCache(tuple);
    return owner;
}

/*
 * Locks a table of the ledger as a statement does that writes it, and makes sure that it is the ledger's own. That the
 * statement gets this table, and not another one of its name, is for its binding to see; with the lock held, its parser
 * has nothing to wait for meanwhile.
 */
void lock_table(const Ledger *ledger, const char *name) {
    const Oid schema = get_rel_namespace(ledger->files);
    const Oid table = get_relname_relid(name, schema);

    if (!OidIsValid(table)) {
        raise_no_ledger();
    }
    LockRelationOid(table, RowExclusiveLock);
    if (get_relname_relid(name, schema) != table || owner_of(table) != owner_of(ledger->files)) {
        raise_no_ledger();
    }
}

} // namespace

bool reopen_ledger(Oid files, Ledger *ledger) {
    /* DROP EXTENSION waits for it. */
    LockRelationOid(files, AccessShareLock);
    ledger->files = files;
    ledger->owner = owner_of(files);
    if (!OidIsValid(ledger->owner)) {
        UnlockRelationOid(files, AccessShareLock);
        return false;
    }
    require_script(get_rel_namespace(files));
    return true;
}

bool can_open_ledger_now(Oid files) {
    const Oid chunks = get_relname_relid("process_chunks", get_rel_namespace(files));

    return OidIsValid(chunks) && ConditionalLockRelationOid(files, RowExclusiveLock) &&
           ConditionalLockRelationOid(chunks, RowExclusiveLock);
}

Ledger open_ledger(Oid schema) {
    Ledger ledger;
    const Oid files = get_relname_relid("uploaded_files", schema);

    if (!OidIsValid(files) || !reopen_ledger(files, &ledger)) {
        raise_no_ledger();
    }
    return ledger;
}

bool find_extension_ledger(Ledger *ledger) {
    ScanKeyData key;
    Oid schema = InvalidOid;

    Relation catalog = table_open(ExtensionRelationId, AccessShareLock);
    ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum("movielens_ingest"));
    SysScanDesc scan = systable_beginscan(catalog, ExtensionNameIndexId, true, nullptr, 1, &key);
    HeapTuple tuple = systable_getnext(scan);
    if (HeapTupleIsValid(tuple)) {
        schema = reinterpret_cast<Form_pg_extension>(GETSTRUCT(tuple))->extnamespace;
    }
    systable_endscan(scan);
    table_close(catalog, AccessShareLock);
    const Oid files = OidIsValid(schema) ? get_relname_relid("uploaded_files", schema) : InvalidOid;

    return OidIsValid(files) && reopen_ledger(files, ledger);
}

StatementScope begin_statement(const Ledger *ledger) {
    StatementScope scope;
    Ledger now;

    scope.guc_level = NewGUCNestLevel();
    set_locally("lock_timeout", "0");
    if (!reopen_ledger(ledger->files, &now)) {
        raise_no_ledger();
    }
    lock_table(&now, "uploaded_files");
    GetUserIdAndSecContext(&scope.user, &scope.security_context);
    /*
     * Restricted: whoever may reference a table of the ledger has triggers that our DELETE fires (RI_FKey_cascade_del).
     * They must leave nothing behind for the commit, which is the importer's (afterTriggerMarkEvents).
     */
    SetUserIdAndSecContext(now.owner, scope.security_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS |
                                          SECURITY_RESTRICTED_OPERATION);
    set_locally("search_path", "pg_catalog, pg_temp");
    set_locally("row_security", "on");
    /*
     * A plan made while the ledger is small is to serve when it has grown: each statement looks a few rows up by their
     * keys, and no other way to them, nor a join that reads all of a table or an index, does not grow with the ledger.
     */
    set_locally("enable_seqscan", "off");
    set_locally("enable_hashjoin", "off");
    set_locally("enable_mergejoin", "off");
    set_locally("jit", "off"); /* where there is no index to use, the plan looks dear for that */
    if (SPI_connect() != SPI_OK_CONNECT) {
        elog(ERROR, "SPI_connect failed");
    }
    return scope;
}

void end_statement(const StatementScope *scope) {
    if (SPI_finish() != SPI_OK_FINISH) {
        elog(ERROR, "SPI_finish failed");
    }
    AtEOXact_GUC(false, scope->guc_level); /* with what such a trigger may have set */
    SetUserIdAndSecContext(scope->user, scope->security_context);
}

Parameter param(const char *value) {
    if (value == nullptr) {
        return {Datum(0), TEXTOID, true};
    }
    /* A message may quote bytes that are not text (under client_encoding SQL_ASCII): a dump of them could not be
     * restored. */
    if (!pg_verifymbstr(value, static_cast<int>(strlen(value)), true)) {
        value = show_raw_line(value, strlen(value), GetDatabaseEncoding()).text;
    }
    return {CStringGetTextDatum(value), TEXTOID, false};
}

Parameter param(ArrayType *value, Oid array_type) { return {PointerGetDatum(value), array_type, false}; }

Parameter param_array(const Parameter *elements, int count, Oid type, Oid array_type) {
    auto *values = static_cast<Datum *>(palloc(sizeof(Datum) * Max(count, 1)));
    auto *nulls = static_cast<bool *>(palloc(sizeof(bool) * Max(count, 1)));
    int dimensions[] = {count};
    int bounds[] = {1};
    int16 length;
    bool by_value;
    char alignment;

    for (int i = 0; i < count; i++) {
        values[i] = elements[i].value;
        nulls[i] = elements[i].null;
    }
    get_typlenbyvalalign(type, &length, &by_value, &alignment);
    return param(construct_md_array(values, nulls, 1, dimensions, bounds, type, length, by_value, alignment),
                 array_type);
}

namespace {

/* A statement that this process has prepared. There are as many as the ledger*.cpp have, for each ledger met. */
struct Prepared {
    const char *sql;
    SPIPlanPtr plan;
    Prepared *next;
};

/* A chunk takes three statements. Planning them costs more than running them, so it is done once. */
SPIPlanPtr prepare(const StatementBinding *binding, const char *sql, int count, Oid *types) {
    static Prepared *first = nullptr;

    for (const Prepared *prepared = first; prepared != nullptr; prepared = prepared->next) {
        if (strcmp(prepared->sql, sql) == 0) {
            return prepared->plan;
        }
    }
    SPIPlanPtr plan = SPI_prepare_cursor(sql, count, types, CURSOR_OPT_GENERIC_PLAN);
    if (plan == nullptr) {
        elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
    }
    require_checked(binding);
    auto *prepared = static_cast<Prepared *>(MemoryContextAlloc(TopMemoryContext, sizeof(Prepared)));
    *prepared = {MemoryContextStrdup(TopMemoryContext, sql), plan, first};
    SPI_keepplan(plan);
    first = prepared;
    return plan;
}

} // namespace

uint64 run_statement(const Ledger *ledger, const char *text, const Parameter *parameters, int count, bool read_only) {
    Oid types[kMostParameters];
    Datum values[kMostParameters];
    char nulls[kMostParameters];
    StringInfoData sql;

    Assert(count <= kMostParameters);
    for (int i = 0; i < count; i++) {
        types[i] = parameters[i].type;
        values[i] = parameters[i].value;
        nulls[i] = parameters[i].null ? 'n' : ' ';
    }

    static const char placeholder[] = "ledger.";
    constexpr size_t kPlaceholderSize = sizeof(placeholder) - 1;
    for (const char *found = text; (found = strstr(found, placeholder)) != nullptr; found += kPlaceholderSize) {
        const char *name = found + kPlaceholderSize;
        lock_table(ledger, pnstrdup(name, strspn(name, "abcdefghijklmnopqrstuvwxyz_")));
    }

    const char *schema = quote_identifier(get_namespace_name(get_rel_namespace(ledger->files)));
    initStringInfo(&sql);
    for (const char *found; (found = strstr(text, placeholder)) != nullptr; text = found + kPlaceholderSize) {
        appendBinaryStringInfo(&sql, text, static_cast<int>(found - text));
        appendStringInfo(&sql, "%s.", schema);
    }
    appendStringInfoString(&sql, text);

    int code = 0;
    StatementBinding binding = {nullptr, GetUserId(), true, nullptr, 0, false, nullptr};
    while_bound(&binding, [&] {
        code = SPI_execute_plan(prepare(&binding, sql.data, count, types), values, nulls, read_only, 0);
    });
    if (code < 0) {
        elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(code));
    }
    return SPI_processed;
}

Datum result(uint64 row, int column, bool *null) {
    return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, null);
}

namespace {

Datum required_result(uint64 row, int column) {
    bool null;
    const Datum value = result(row, column, &null);

    if (null) {
        elog(ERROR, "unexpected null in column %d of the ledger", column);
    }
    return value;
}

} // namespace

int64 result_int64(uint64 row, int column) { return DatumGetInt64(required_result(row, column)); }

char *required_text(uint64 row, int column, MemoryContext context) {
    return MemoryContextStrdup(context, TextDatumGetCString(required_result(row, column)));
}

bool result_bool(uint64 row, int column) {
    bool null;
    const Datum value = result(row, column, &null);

    return !null && DatumGetBool(value);
}

char *result_text(uint64 row, int column, MemoryContext context) {
    bool null;
    const Datum value = result(row, column, &null);

    return null ? nullptr : MemoryContextStrdup(context, TextDatumGetCString(value));
}

} // namespace movielens_ingest::pg
