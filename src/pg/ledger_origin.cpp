#include "pg/ledger.hpp"

#include "pg/incarnation.hpp"
#include "pg/ledger_statement.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

namespace {

/* $1 of a statement: this incarnation. */
Parameter here() { return param(describe_incarnation()); }

} // namespace

void note_origin(const Ledger *ledger, int64 batch_id) {
    const StatementScope scope = begin_statement(ledger);
    run_statement(ledger,
                  "UPDATE ledger.uploaded_files SET plan = (plan - 'held') || $1::jsonb FROM ledger._callers"
                  " WHERE id = uploaded_file_id AND dataset_id = $2",
                  {here(), param(batch_id)});
    end_statement(&scope);
}

Origin read_origin(const Ledger *ledger, int64 batch_id) {
    const MemoryContext context = CurrentMemoryContext;
    Origin origin = {Origin::Where::Elsewhere, "it was not made in this database: it came with a dump or a copy"};

    const StatementScope scope = begin_statement(ledger);
    const bool found = run_statement(ledger,
                                     "SELECT f.plan @> $1::jsonb, there.database = here.database,"
                                     " there.system = here.system, there.timeline, here.timeline, f.plan ->> 'held'"
                                     " FROM ledger._callers JOIN ledger.uploaded_files f ON f.id = uploaded_file_id,"
                                     " jsonb_to_record($1::jsonb)"
                                     "  AS here (system text, database oid, timeline bigint, directory text),"
                                     " jsonb_to_record(f.plan)"
                                     "  AS there (system text, database oid, timeline bigint, directory text)"
                                     " WHERE f.id = $2",
                                     {here(), param(batch_id)}) > 0;
    if (found && result_bool(0, 1)) {
        origin = {Origin::Where::Here, result_text(0, 6, context)};
    } else if (found && result_bool(0, 2)) {
        origin.where = Origin::Where::Before;
        if (!result_bool(0, 3)) {
            origin.why_held = "the server has been upgraded since";
        } else if (result_int64(0, 4) != result_int64(0, 5)) {
            origin.why_held = MemoryContextStrdup(context, psprintf("it was begun on timeline " INT64_FORMAT
                                                                    " and the server is on timeline " INT64_FORMAT
                                                                    " now: it was promoted, or recovered from a backup",
                                                                    result_int64(0, 4), result_int64(0, 5)));
        } else {
            origin.why_held = "it was begun in another data directory: the server is a copy, or was restored or moved";
        }
    }
    end_statement(&scope);
    return origin;
}

void hold_back(const Ledger *ledger, int64 batch_id, const char *why) {
    const StatementScope scope = begin_statement(ledger);
    run_statement(
        ledger,
        "UPDATE ledger.uploaded_files SET status = 'Processing', plan = plan || jsonb_build_object('held', $2)"
        " FROM ledger._callers WHERE id = uploaded_file_id AND dataset_id = $1 AND status IN ('Queued', 'Processing')",
        {param(batch_id), param(why)});
    end_statement(&scope);
}

int64 *open_batches(const Ledger *ledger, int *count) {
    const MemoryContext context = CurrentMemoryContext;
    const StatementScope scope = begin_statement(ledger);
    const uint64 found = run_statement(ledger, "SELECT DISTINCT dataset_id FROM ledger.uploaded_files"
                                               " JOIN ledger._callers ON uploaded_file_id = dataset_id"
                                               " WHERE status IN ('Queued', 'Processing') ORDER BY dataset_id");
    auto *ids = static_cast<int64 *>(MemoryContextAllocHuge(context, sizeof(int64) * Max(found, 1)));
    for (uint64 i = 0; i < found; i++) {
        ids[i] = result_int64(i, 1);
    }
    *count = static_cast<int>(found);
    end_statement(&scope);
    return ids;
}

} // namespace movielens_ingest::pg
