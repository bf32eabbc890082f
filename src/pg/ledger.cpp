#include "pg/ledger.hpp"

#include "pg/ledger_statement.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

bool reopen_ledger(Oid files, Ledger *ledger) {
    HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(files));

    if (!HeapTupleIsValid(tuple)) {
        return false;
    }
    const auto *relation = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple));
    const Oid schema = relation->relnamespace;
    ledger->files = files;
    ledger->owner = relation->relowner;
    ReleaseSysCache(tuple);

    const char *name = get_namespace_name(schema);
    if (name == nullptr) {
        return false;
    }
    strlcpy(ledger->schema, quote_identifier(name), sizeof(ledger->schema));
    return true;
}

Ledger open_ledger(Oid schema) {
    Ledger ledger;
    const Oid files = get_relname_relid("uploaded_files", schema);

    if (!OidIsValid(files) || !reopen_ledger(files, &ledger)) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("the tables of extension \"movielens_ingest\" do not exist")));
    }
    return ledger;
}

StatementScope begin_statement(const Ledger *ledger) {
    StatementScope scope;

    GetUserIdAndSecContext(&scope.user, &scope.security_context);
    SetUserIdAndSecContext(ledger->owner, scope.security_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
    scope.guc_level = NewGUCNestLevel();
    (void)set_config_option("search_path", "pg_catalog, pg_temp", PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
                            false);
    (void)set_config_option("lock_timeout", "0", PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
    (void)set_config_option("row_security", "on", PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
    if (SPI_connect() != SPI_OK_CONNECT) {
        elog(ERROR, "SPI_connect failed");
    }
    return scope;
}

void end_statement(const StatementScope *scope) {
    if (SPI_finish() != SPI_OK_FINISH) {
        elog(ERROR, "SPI_finish failed");
    }
    AtEOXact_GUC(true, scope->guc_level);
    SetUserIdAndSecContext(scope->user, scope->security_context);
}

Parameter param(const char *value) {
    return {TEXTOID, value == nullptr ? Datum(0) : CStringGetTextDatum(value), value == nullptr};
}

Parameter param(ArrayType *value, Oid array_type) { return {array_type, PointerGetDatum(value), false}; }

uint64 run_statement(const Ledger *ledger, const char *text, const Parameter *parameters, int count, bool read_only) {
    constexpr int kMost = 16;
    Oid types[kMost];
    Datum values[kMost];
    char nulls[kMost];
    StringInfoData sql;

    Assert(count <= kMost);
    for (int i = 0; i < count; i++) {
        types[i] = parameters[i].type;
        values[i] = parameters[i].value;
        nulls[i] = parameters[i].null ? 'n' : ' ';
    }

    static const char placeholder[] = "ledger.";
    initStringInfo(&sql);
    for (const char *found; (found = strstr(text, placeholder)) != nullptr; text = found + sizeof(placeholder) - 1) {
        appendBinaryStringInfo(&sql, text, static_cast<int>(found - text));
        appendStringInfo(&sql, "%s.", ledger->schema);
    }
    appendStringInfoString(&sql, text);

    const int code = SPI_execute_with_args(sql.data, count, types, values, nulls, read_only, 0);
    if (code < 0) {
        elog(ERROR, "SPI_execute_with_args failed: %s", SPI_result_code_string(code));
    }
    return SPI_processed;
}

Datum result(uint64 row, int column, bool *null) {
    return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, null);
}

int64 result_int64(uint64 row, int column) {
    bool null;
    const Datum value = result(row, column, &null);

    if (null) {
        elog(ERROR, "unexpected null in column %d of the ledger", column);
    }
    return DatumGetInt64(value);
}

char *result_text(uint64 row, int column, MemoryContext context) {
    bool null;
    const Datum value = result(row, column, &null);

    return null ? nullptr : MemoryContextStrdup(context, TextDatumGetCString(value));
}

} // namespace movielens_ingest::pg
