#include "pg/ledger.hpp"

#include "pg/ledger_statement.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

namespace {

/* A request is for the import as it stood: ml_resume() since then has overruled it, whichever of them commits first. */
#define IS_OBEYED                                                                                                      \
    " r.uploaded_file_id = f.id AND f.status IN ('Queued', 'Processing')"                                              \
    " AND r.resumed = coalesce((f.plan ->> 'resumed')::bigint, 0)"

CancelRequest *read_requests(uint64 found, MemoryContext context, int *count) {
    auto *requests =
        static_cast<CancelRequest *>(MemoryContextAllocHuge(context, sizeof(CancelRequest) * Max(found, 1)));

    for (uint64 i = 0; i < found; i++) {
        requests[i] = {result_int64(i, 1), result_int64(i, 2)};
    }
    *count = static_cast<int>(found);
    return requests;
}

} // namespace

void request_cancel(const Ledger *ledger, const VisibleImport *import) {
    const StatementScope scope = begin_statement(ledger);
    run_statement(ledger, "INSERT INTO ledger._cancel_requests (uploaded_file_id, resumed) VALUES ($1, $2)",
                  {param(import->id), param(import->resumed)});
    end_statement(&scope);
}

CancelRequest *cancel_requests_of_batch(const Ledger *ledger, int64 batch_id, int *count) {
    const MemoryContext context = CurrentMemoryContext;
    const StatementScope scope = begin_statement(ledger);
    const uint64 found = run_statement(ledger,
                                       "SELECT f.id, f.dataset_id FROM ledger.uploaded_files f WHERE f.dataset_id = $1"
                                       " AND EXISTS (SELECT FROM ledger._cancel_requests r WHERE" IS_OBEYED ")",
                                       {param(batch_id)});
    CancelRequest *requests = read_requests(found, context, count);
    end_statement(&scope);
    return requests;
}

CancelRequest *cancel_requests(const Ledger *ledger, int *count) {
    const MemoryContext context = CurrentMemoryContext;
    const StatementScope scope = begin_statement(ledger);
    const uint64 found = run_statement(
        ledger, "SELECT DISTINCT f.id, f.dataset_id FROM ledger._cancel_requests r, ledger.uploaded_files f"
                " WHERE" IS_OBEYED " ORDER BY f.id");
    CancelRequest *requests = read_requests(found, context, count);
    end_statement(&scope);
    return requests;
}

void forget_cancel_requests(const Ledger *ledger) {
    const StatementScope scope = begin_statement(ledger);
    run_statement(ledger, "DELETE FROM ledger._cancel_requests r WHERE NOT EXISTS"
                          " (SELECT FROM ledger.uploaded_files f WHERE" IS_OBEYED ")");
    end_statement(&scope);
}

bool is_all_loaded(const Ledger *ledger, int64 id) {
    const StatementScope scope = begin_statement(ledger);
    const bool all = run_statement(ledger,
                                   /* a row without its chunks can come with a dump */
                                   "SELECT FROM ledger.uploaded_files f WHERE f.id = $1 AND f.row_count ="
                                   " (SELECT coalesce(sum(c.end_row - c.start_row + 1), 0)"
                                   "    FROM ledger.process_chunks c WHERE c.uploaded_file_id = $1)"
                                   " AND NOT EXISTS (SELECT FROM ledger.process_chunks c"
                                   "  WHERE c.uploaded_file_id = $1 AND c.status <> 'Completed')"
                                   " AND NOT EXISTS (SELECT FROM ledger.rejected_rows r"
                                   "  WHERE r.uploaded_file_id = $1 AND r.pending)",
                                   {param(id)}) > 0;
    end_statement(&scope);
    return all;
}

} // namespace movielens_ingest::pg
