#include "pg/ledger.hpp"

#include "pg/ledger_statement.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

void note_deferred_index(const Ledger *ledger, Oid target, Oid index) {
    const StatementScope scope = begin_statement(ledger);
    /* Of those that were dropped nobody will ask. Nor are they waited for: the caller has the table locked. */
    run_statement(ledger, "DELETE FROM ledger._deferred_indexes WHERE index_oid IN (SELECT index_oid"
                          " FROM ledger._deferred_indexes d"
                          " WHERE NOT EXISTS (SELECT FROM pg_index i WHERE i.indexrelid = d.index_oid)"
                          " FOR UPDATE SKIP LOCKED)");
    /* A row that is there already is left from an import that a crash ended, after which the index was built by hand.
     */
    run_statement(ledger,
                  "INSERT INTO ledger._deferred_indexes (index_oid, target_oid) VALUES ($1, $2)"
                  " ON CONFLICT (index_oid) DO UPDATE SET target_oid = excluded.target_oid, crashes = 0",
                  {param(index), param(target)});
    end_statement(&scope);
}

DeferredIndex *deferred_indexes(const Ledger *ledger, Oid target, int *count) {
    const MemoryContext context = CurrentMemoryContext;
    const StatementScope scope = begin_statement(ledger);
    const uint64 found = run_statement(ledger,
                                       "SELECT index_oid::bigint, index_oid::regclass::text, CASE WHEN EXISTS"
                                       "  (SELECT FROM pg_index i WHERE i.indexrelid = d.index_oid"
                                       "   AND i.indrelid = d.target_oid AND NOT i.indisready)"
                                       "  THEN d.crashes::bigint ELSE 0 END"
                                       " FROM ledger._deferred_indexes d WHERE target_oid = $1 ORDER BY d.index_oid",
                                       {param(target)});
    auto *indexes = static_cast<DeferredIndex *>(MemoryContextAlloc(context, sizeof(DeferredIndex) * Max(found, 1)));
    for (uint64 i = 0; i < found; i++) {
        indexes[i] = {static_cast<Oid>(result_int64(i, 1)), static_cast<int>(result_int64(i, 3)),
                      result_text(i, 2, context)};
    }
    *count = static_cast<int>(found);
    end_statement(&scope);
    return indexes;
}

bool forget_deferred_index(const Ledger *ledger, Oid index) {
    const StatementScope scope = begin_statement(ledger);
    const bool found =
        run_statement(ledger, "DELETE FROM ledger._deferred_indexes WHERE index_oid = $1", {param(index)}) > 0;
    end_statement(&scope);
    return found;
}

} // namespace movielens_ingest::pg
