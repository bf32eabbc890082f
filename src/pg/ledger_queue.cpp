#include "pg/ledger.hpp"

#include "pg/incarnation.hpp"
#include "pg/ledger_statement.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

bool has_queued_batches(const Ledger *ledger) {
    const StatementScope scope = begin_statement(ledger);
    const bool found =
        run_statement(ledger,
                      "SELECT FROM ledger.uploaded_files f JOIN ledger._callers c ON c.uploaded_file_id = f.dataset_id"
                      " WHERE status = 'Queued' AND plan @> $1::jsonb LIMIT 1",
                      {param(describe_incarnation())}) > 0;
    end_statement(&scope);
    return found;
}

QueuedBatch *queued_batches(const Ledger *ledger, int most, int *count) {
    const MemoryContext context = CurrentMemoryContext;
    const StatementScope scope = begin_statement(ledger);
    /* From role to role, and from batch to batch of each, along the index: however many there are of one. */
    const uint64 found = run_statement(
        ledger,
        "WITH RECURSIVE login (oid) AS ("
        " (SELECT (plan ->> 'login')::bigint FROM ledger.uploaded_files WHERE status = 'Queued'"
        "  AND (plan ->> 'login')::bigint >= 0 ORDER BY 1 LIMIT 1)"
        " UNION ALL"
        " SELECT (SELECT (plan ->> 'login')::bigint FROM ledger.uploaded_files WHERE status = 'Queued'"
        "  AND (plan ->> 'login')::bigint > login.oid ORDER BY 1 LIMIT 1) FROM login WHERE login.oid IS NOT NULL)"
        " SELECT queued.id, c.authenticated_role::bigint, c.process_limit::bigint"
        " FROM login, LATERAL (SELECT DISTINCT f.dataset_id AS id FROM ledger.uploaded_files f"
        "  WHERE f.status = 'Queued' AND (f.plan ->> 'login')::bigint = login.oid"
        "  AND f.plan @> $1::jsonb ORDER BY 1 LIMIT $2) queued"
        " JOIN ledger._callers c ON c.uploaded_file_id = queued.id",
        {param(describe_incarnation()), param(static_cast<int64>(most))});
    auto *batches = static_cast<QueuedBatch *>(MemoryContextAlloc(context, sizeof(QueuedBatch) * Max(found, 1)));
    for (uint64 i = 0; i < found; i++) {
        batches[i] = {result_int64(i, 1), static_cast<Oid>(result_int64(i, 2)), static_cast<int>(result_int64(i, 3)),
                      false};
    }
    *count = static_cast<int>(found);
    end_statement(&scope);
    return batches;
}

} // namespace movielens_ingest::pg
