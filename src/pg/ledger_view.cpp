#include "pg/ledger.hpp"

#include "pg/ledger_statement.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

namespace {

VisibleImport visible_import(uint64 row, MemoryContext context) {
    VisibleImport import;
    bool null;

    import.id = result_int64(row, 1);
    import.batch_id = result_int64(row, 2);
    import.status = result_text(row, 3, context);
    import.owner = static_cast<Oid>(result_int64(row, 4));
    import.leader = static_cast<int>(result_int64(row, 5));
    import.segment = static_cast<dsm_handle>(result_int64(row, 6));
    import.resumed = result_int64(row, 7);
    const Datum value = result(row, 8, &null);
    const MemoryContext spi_context = MemoryContextSwitchTo(context);
    import.row = datumCopy(value, false, -1);
    MemoryContextSwitchTo(spi_context);
    return import;
}

} // namespace

bool is_open(const VisibleImport *import) { return is_open_status(import->status); }

#define VISIBLE_COLUMNS                                                                                                \
    "f.id, coalesce(f.dataset_id, f.id), f.status::text,"                                                              \
    " coalesce(CASE WHEN f.origin = (SELECT o.id FROM ledger._origin o)"                                               \
    "  THEN (SELECT r.oid FROM pg_roles r WHERE r.oid = f.owner_oid)"                                                  \
    "  ELSE (SELECT r.oid FROM pg_roles r WHERE r.rolname = f.owner_name) END, 0)::bigint,"                            \
    " coalesce((f.plan ->> 'leader')::bigint, 0), coalesce((f.plan ->> 'segment')::bigint, 0),"                        \
    " coalesce((f.plan ->> 'resumed')::bigint, 0), f"

bool read_visible_import(const Ledger *ledger, int64 id, bool everyone, VisibleImport *import) {
    const MemoryContext context = CurrentMemoryContext;
    const Oid user = GetUserId();

    /* What has been committed by now, also in a transaction with an older snapshot. */
    PushActiveSnapshot(GetLatestSnapshot());
    const StatementScope scope = begin_statement(ledger);
    if (!everyone) {
        /* As the user, so that the policies of the table decide: the text is fixed, and search_path safe. */
        SetUserIdAndSecContext(user, scope.security_context);
    }
    const bool found = query_statement(ledger, "SELECT " VISIBLE_COLUMNS " FROM ledger.uploaded_files f WHERE id = $1",
                                       {param(id)}) > 0;
    if (found) {
        *import = visible_import(0, context);
    }
    end_statement(&scope);
    PopActiveSnapshot();
    return found;
}

ImportFailure read_failure(const Ledger *ledger, int64 id) {
    const MemoryContext context = CurrentMemoryContext;
    ImportFailure failure = {ERRCODE_INTERNAL_ERROR, "", ""};

    const StatementScope scope = begin_statement(ledger);
    if (run_statement(ledger,
                      "SELECT coalesce(sqlstate, 'XX000'), file_name::text, coalesce(error, status)"
                      " FROM ledger.uploaded_files WHERE id = $1",
                      {param(id)}) > 0) {
        const char *sqlstate = result_text(0, 1, context);
        failure.sqlerrcode = MAKE_SQLSTATE(sqlstate[0], sqlstate[1], sqlstate[2], sqlstate[3], sqlstate[4]);
        failure.file_name = result_text(0, 2, context);
        failure.message = result_text(0, 3, context);
    }
    end_statement(&scope);
    return failure;
}

VisibleImport *read_open_imports(const Ledger *ledger, int *count) {
    const MemoryContext context = CurrentMemoryContext;
    const Oid user = GetUserId();

    PushActiveSnapshot(GetLatestSnapshot());
    const StatementScope scope = begin_statement(ledger);
    SetUserIdAndSecContext(user, scope.security_context);
    const uint64 found = query_statement(ledger, "SELECT " VISIBLE_COLUMNS " FROM ledger.uploaded_files f"
                                                 " WHERE status IN ('Queued', 'Processing') ORDER BY id");
    auto *imports =
        static_cast<VisibleImport *>(MemoryContextAllocHuge(context, sizeof(VisibleImport) * Max(found, 1)));
    for (uint64 i = 0; i < found; i++) {
        imports[i] = visible_import(i, context);
    }
    *count = static_cast<int>(found);
    end_statement(&scope);
    PopActiveSnapshot();
    return imports;
}

} // namespace movielens_ingest::pg
