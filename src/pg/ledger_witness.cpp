#include "pg/ledger.hpp"

#include "pg/ledger_statement.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

bool has_loaded_chunks(const Ledger *ledger, int64 id) {
    const StatementScope scope = begin_statement(ledger);
    const bool found = run_statement(ledger,
                                     "SELECT FROM ledger.process_chunks"
                                     " WHERE uploaded_file_id = $1 AND status = 'Completed' LIMIT 1",
                                     {param(id)}) > 0;
    end_statement(&scope);
    return found;
}

bool add_witness(const Ledger *ledger, int64 id) {
    const StatementScope scope = begin_statement(ledger);
    const bool added =
        run_statement(ledger, "INSERT INTO ledger._unlogged_witnesses VALUES ($1) ON CONFLICT DO NOTHING",
                      {param(id)}) > 0;
    end_statement(&scope);
    return added;
}

void forget_chunks(const Ledger *ledger, int64 id) {
    StatementScope scope = begin_statement(ledger);
    run_statement(ledger, "DELETE FROM ledger.rejected_rows WHERE uploaded_file_id = $1", {param(id)});
    run_statement(ledger,
                  "UPDATE ledger.process_chunks SET status = 'Pending', ended = NULL, success_count = 0,"
                  " error_count = 0, skipped_count = 0 WHERE uploaded_file_id = $1",
                  {param(id)});
    end_statement(&scope);
    refresh_totals(ledger, id);
}

void note_unlogged(const Ledger *ledger, int64 id, bool unlogged) {
    const StatementScope scope = begin_statement(ledger);
    run_statement(ledger,
                  "UPDATE ledger.uploaded_files SET plan = plan || jsonb_build_object('unlogged', $2) WHERE id = $1",
                  {param(id), param(unlogged)});
    end_statement(&scope);
}

void reopen_lost(const Ledger *ledger, int64 batch_id) {
    const StatementScope scope = begin_statement(ledger);
    /* Where the table has become a logged one, its rows have stayed as far as anybody can tell. */
    run_statement(ledger,
                  "UPDATE ledger.uploaded_files f SET status = 'Processing' WHERE dataset_id = $1"
                  " AND status LIKE 'Completed%' AND (plan ->> 'unlogged')::boolean"
                  " AND NOT EXISTS (SELECT FROM ledger._unlogged_witnesses w WHERE w.uploaded_file_id = f.id)"
                  " AND EXISTS (SELECT FROM (SELECT (f.plan ->> 'target_oid')::oid AS oid"
                  "  UNION ALL SELECT relid FROM pg_partition_tree((f.plan ->> 'target_oid')::oid)) target"
                  "  JOIN pg_class c ON c.oid = target.oid WHERE c.relpersistence = 'u')",
                  {param(batch_id)});
    end_statement(&scope);
}

} // namespace movielens_ingest::pg
