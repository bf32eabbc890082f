#include "pg/ledger.hpp"

#include "pg/ledger_statement.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

namespace {

Parameter *room_for(int count) { return static_cast<Parameter *>(palloc(sizeof(Parameter) * Max(count, 1))); }

void change_reasons(const Ledger *ledger, const PendingOutcome *outcome) {
    enum { Id, Column, State, Message, Detail, kColumns };
    Parameter *columns[kColumns];
    Parameter parameters[kColumns];
    int count = 0;

    for (int i = 0; i < kColumns; i++) {
        columns[i] = room_for(outcome->count);
    }
    for (int i = 0; i < outcome->count; i++) {
        const Refusal *why = &outcome->reasons[i];

        if (why->sqlerrcode != 0) {
            columns[Id][count] = param(outcome->records[i].id);
            columns[Column][count] = param(why->column);
            columns[State][count] = param(unpack_sql_state(why->sqlerrcode));
            columns[Message][count] = param(why->message);
            columns[Detail][count++] = param(why->detail);
        }
    }
    if (count == 0) {
        return;
    }
    for (int i = 0; i < kColumns; i++) {
        parameters[i] =
            param_array(columns[i], count, i == Id ? INT8OID : TEXTOID, i == Id ? INT8ARRAYOID : TEXTARRAYOID);
    }
    run_statement(ledger,
                  "UPDATE ledger.rejected_rows r SET column_name = n.column_name, sqlstate = n.sqlstate,"
                  " message = n.message, detail = n.detail"
                  " FROM unnest($1, $2, $3, $4, $5) AS n (id, column_name, sqlstate, message, detail)"
                  " WHERE r.id = n.id",
                  parameters);
}

} // namespace

int64 count_pending(const Ledger *ledger, int64 import_id) {
    const StatementScope scope = begin_statement(ledger);
    run_statement(ledger,
                  "SELECT count(*) FROM ledger.rejected_rows WHERE uploaded_file_id = $1 AND pending AND NOT EXISTS"
                  " (SELECT FROM ledger.process_chunks WHERE uploaded_file_id = $1 AND status <> 'Completed')",
                  {param(import_id)});
    const int64 count = result_int64(0, 1);
    end_statement(&scope);
    return count;
}

PendingRecord *read_pending(const Ledger *ledger, int64 import_id, int64 before_row, int most, int *count) {
    const MemoryContext context = CurrentMemoryContext;
    const StatementScope scope = begin_statement(ledger);
    const uint64 found = run_statement(ledger,
                                       "SELECT r.id, r.process_chunk_id, r.row_number, r.line_number, r.byte_offset,"
                                       " c.end_byte FROM ledger.rejected_rows r"
                                       " JOIN ledger.process_chunks c ON c.id = r.process_chunk_id"
                                       " WHERE r.uploaded_file_id = $1 AND r.pending AND r.row_number < $2"
                                       " ORDER BY r.row_number DESC LIMIT $3 FOR UPDATE OF r",
                                       {param(import_id), param(before_row), param(most)});
    auto *records =
        static_cast<PendingRecord *>(MemoryContextAllocHuge(context, sizeof(PendingRecord) * Max(found, 1)));
    for (uint64 i = 0; i < found; i++) {
        records[i] = {result_int64(i, 1), result_int64(i, 2), result_int64(i, 3),
                      result_int64(i, 4), result_int64(i, 5), result_int64(i, 6)};
    }
    *count = static_cast<int>(found);
    end_statement(&scope);
    return records;
}

void settle_pending(const Ledger *ledger, const PendingOutcome *outcome) {
    Parameter *ids = room_for(outcome->count);
    Parameter *chunks = room_for(outcome->count);
    Parameter *skipped = room_for(outcome->count);
    int count = 0;

    for (int i = 0; i < outcome->count; i++) {
        if (outcome->gone[i]) {
            ids[count] = param(outcome->records[i].id);
            chunks[count] = param(outcome->records[i].chunk_id);
            /* How many a trigger has dropped is known, but not which ones. */
            skipped[count] = param(count < outcome->skipped);
            count++;
        }
    }
    const StatementScope scope = begin_statement(ledger);
    run_statement(ledger, "DELETE FROM ledger.rejected_rows WHERE id = ANY ($1)",
                  {param_array(ids, count, INT8OID, INT8ARRAYOID)});
    run_statement(
        ledger,
        "UPDATE ledger.process_chunks c SET error_count = error_count - g.loaded - g.skipped,"
        " success_count = success_count + g.loaded, skipped_count = skipped_count + g.skipped"
        " FROM (SELECT n.id, count(*) FILTER (WHERE NOT n.skipped) AS loaded,"
        "  count(*) FILTER (WHERE n.skipped) AS skipped"
        "  FROM unnest($1, $2) AS n (id, skipped) GROUP BY n.id) g WHERE c.id = g.id",
        {param_array(chunks, count, INT8OID, INT8ARRAYOID), param_array(skipped, count, BOOLOID, BOOLARRAYOID)});
    change_reasons(ledger, outcome);
    end_statement(&scope);
}

Refused read_refused(const Ledger *ledger, int64 import_id) {
    const MemoryContext context = CurrentMemoryContext;
    Refused refused;

    memset(&refused, 0, sizeof(refused));
    const StatementScope scope = begin_statement(ledger);
    run_statement(ledger,
                  "SELECT coalesce(sum(error_count), 0)::bigint FROM ledger.process_chunks WHERE uploaded_file_id = $1",
                  {param(import_id)});
    refused.count = result_int64(0, 1);
    if (run_statement(ledger,
                      "SELECT line_number, sqlstate, message, detail FROM ledger.rejected_rows"
                      " WHERE uploaded_file_id = $1 AND pending ORDER BY row_number LIMIT 1",
                      {param(import_id)}) > 0) {
        const char *state = result_text(0, 2, context);

        refused.first.line_number = result_int64(0, 1);
        refused.first.why.sqlerrcode = MAKE_SQLSTATE(state[0], state[1], state[2], state[3], state[4]);
        refused.first.why.message = result_text(0, 3, context);
        refused.first.why.detail = result_text(0, 4, context);
    }
    end_statement(&scope);
    return refused;
}

void close_pending(const Ledger *ledger, int64 import_id) {
    const StatementScope scope = begin_statement(ledger);
    run_statement(ledger, "UPDATE ledger.rejected_rows SET pending = false WHERE uploaded_file_id = $1 AND pending",
                  {param(import_id)});
    end_statement(&scope);
}

} // namespace movielens_ingest::pg
