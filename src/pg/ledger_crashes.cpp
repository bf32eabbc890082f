#include "pg/ledger.hpp"

#include "pg/ledger_statement.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

namespace {

/* Where uploaded_files.plan has the count; an index that was put off has a row of its own. */
const char *plan_key(RiskyStep step) {
    switch (step) {
    case RiskyStep::Planning:
        return "planning_crashes";
    case RiskyStep::Pending:
        return "pending_crashes";
    default:
        return "analyzing_crashes";
    }
}

} // namespace

int step_crashes(const Ledger *ledger, RiskyStep step, int64 of) {
    const StatementScope scope = begin_statement(ledger);
    const bool found =
        step == RiskyStep::Indexing
            ? run_statement(ledger, "SELECT crashes::bigint FROM ledger._deferred_indexes WHERE index_oid = $1",
                            {param(static_cast<Oid>(of))}) > 0
            : run_statement(ledger,
                            "SELECT coalesce((plan ->> $2)::bigint, 0) FROM ledger.uploaded_files"
                            " WHERE id = $1",
                            {param(of), param(plan_key(step))}) > 0;
    const int crashes = found ? static_cast<int>(result_int64(0, 1)) : 0;
    end_statement(&scope);
    return crashes;
}

void count_step(const Ledger *ledger, RiskyStep step, int64 of, int change, bool wait) {
    const char *lock = wait ? "FOR UPDATE" : "FOR UPDATE SKIP LOCKED";
    const StatementScope scope = begin_statement(ledger);
    if (step == RiskyStep::Indexing) {
        run_statement(
            ledger,
            psprintf("UPDATE ledger._deferred_indexes SET crashes = greatest(crashes + $2, 0) WHERE index_oid ="
                     " (SELECT index_oid FROM ledger._deferred_indexes WHERE index_oid = $1 %s)",
                     lock),
            {param(static_cast<Oid>(of)), param(change)});
    } else if (step == RiskyStep::IndexingAll) {
        run_statement(
            ledger,
            psprintf("UPDATE ledger._deferred_indexes SET crashes = greatest(crashes + $2, 0) WHERE index_oid IN"
                     " (SELECT index_oid FROM ledger._deferred_indexes WHERE target_oid IN"
                     "  (SELECT (f.plan ->> 'target_oid')::oid FROM ledger.uploaded_files f"
                     "   JOIN ledger._callers ON uploaded_file_id = f.id WHERE f.dataset_id = $1) %s)",
                     lock),
            {param(of), param(change)});
    } else {
        run_statement(ledger,
                      psprintf("UPDATE ledger.uploaded_files SET plan = plan ||"
                               " jsonb_build_object($2, greatest(coalesce((plan ->> $2)::integer, 0) + $3, 0))"
                               " WHERE id = (SELECT id FROM ledger.uploaded_files WHERE id = $1 %s)",
                               lock),
                      {param(of), param(plan_key(step)), param(change)});
    }
    end_statement(&scope);
}

void forget_crashes(const Ledger *ledger, int64 batch_id) {
    const StatementScope scope = begin_statement(ledger);
    run_statement(
        ledger,
        "UPDATE ledger.uploaded_files SET plan = plan - 'planning_crashes' - 'pending_crashes' - 'analyzing_crashes'"
        " FROM ledger._callers WHERE id = uploaded_file_id AND dataset_id = $1",
        {param(batch_id)});
    run_statement(ledger,
                  "UPDATE ledger._deferred_indexes SET crashes = 0 WHERE crashes > 0 AND target_oid IN"
                  " (SELECT (f.plan ->> 'target_oid')::oid FROM ledger.uploaded_files f"
                  "  JOIN ledger._callers ON uploaded_file_id = f.id WHERE f.dataset_id = $1)",
                  {param(batch_id)});
    end_statement(&scope);
}

} // namespace movielens_ingest::pg
