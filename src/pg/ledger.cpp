#include "pg/ledger.hpp"

#include "pg/ledger_statement.hpp"
#include "pg/pg.hpp"
#include "pg/raw_line.hpp"

namespace movielens_ingest::pg {

namespace {

void raise_no_ledger() {
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("the tables of extension \"movielens_ingest\" do not exist")));
}

void set_for_statement(const char *name, const char *value) {
    (void)set_config_option(name, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

} // namespace

bool reopen_ledger(Oid files, Ledger *ledger) {
    /* DROP EXTENSION waits for it. */
    LockRelationOid(files, AccessShareLock);
    HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(files));

    if (!HeapTupleIsValid(tuple)) {
        UnlockRelationOid(files, AccessShareLock);
        return false;
    }
    ledger->files = files;
    ledger->owner = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple))->relowner;
    ReleaseSysCache(tuple);
    return true;
}

Ledger open_ledger(Oid schema) {
    Ledger ledger;
    const Oid files = get_relname_relid("uploaded_files", schema);

    if (!OidIsValid(files) || !reopen_ledger(files, &ledger)) {
        raise_no_ledger();
    }
    return ledger;
}

StatementScope begin_statement(const Ledger *ledger) {
    StatementScope scope;
    Ledger now;

    /* Another role could have made tables of these names meanwhile: nothing runs as the owner before the ledger is
     * found. */
    if (!reopen_ledger(ledger->files, &now)) {
        raise_no_ledger();
    }
    GetUserIdAndSecContext(&scope.user, &scope.security_context);
    SetUserIdAndSecContext(now.owner, scope.security_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
    scope.guc_level = NewGUCNestLevel();
    set_for_statement("search_path", "pg_catalog, pg_temp");
    set_for_statement("lock_timeout", "0");
    set_for_statement("row_security", "on");
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
    if (value == nullptr) {
        return {TEXTOID, Datum(0), true};
    }
    /* A message may quote bytes that are not text (under client_encoding SQL_ASCII): a dump of them could not be
     * restored. */
    if (!pg_verifymbstr(value, static_cast<int>(strlen(value)), true)) {
        value = show_raw_line(value, strlen(value), GetDatabaseEncoding()).text;
    }
    return {TEXTOID, CStringGetTextDatum(value), false};
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
    const char *schema = quote_identifier(get_namespace_name(get_rel_namespace(ledger->files)));
    initStringInfo(&sql);
    for (const char *found; (found = strstr(text, placeholder)) != nullptr; text = found + sizeof(placeholder) - 1) {
        appendBinaryStringInfo(&sql, text, static_cast<int>(found - text));
        appendStringInfo(&sql, "%s.", schema);
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
