#include "pg/ledger.hpp"

#include "pg/error_text.hpp"
#include "pg/ledger_statement.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

namespace {

/* Checksums are unsigned; the column is a bigint with the same bits. */
ArrayType *bigint_array(const core::Chunk *chunks, int count, uint64_t core::Chunk::*member) {
    auto *datums = static_cast<Datum *>(palloc(sizeof(Datum) * count));

    for (int i = 0; i < count; i++) {
        datums[i] = Int64GetDatum(static_cast<int64>(chunks[i].*member));
    }
    return construct_array(datums, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
}

Parameter bigints(const core::Chunk *chunks, int count, uint64_t core::Chunk::*member) {
    return param(bigint_array(chunks, count, member), INT8ARRAYOID);
}

} // namespace

void add_chunks(const Ledger *ledger, const Import *import, const core::Chunk *chunks, int count) {
    using core::Chunk;

    if (count == 0) {
        return;
    }
    const StatementScope scope = begin_statement(ledger);
    const uint64 different = run_statement(
        ledger,
        "WITH planned AS (SELECT * FROM unnest($2, $3, $4, $5, $6, $7, $8) AS c"
        "  (chunk_number, start_row, end_row, start_byte, end_byte, start_line, checksum)),"
        " added AS (INSERT INTO ledger.process_chunks (uploaded_file_id, chunk_number, start_row, end_row,"
        "  start_byte, end_byte, start_line, checksum)"
        "  SELECT $1, planned.* FROM planned ON CONFLICT (uploaded_file_id, chunk_number) DO NOTHING)"
        /* OFFSET 0: each is looked up by its key, also when the plan was made with an empty ledger. */
        " SELECT FROM planned CROSS JOIN LATERAL (SELECT * FROM ledger.process_chunks c"
        "  WHERE c.uploaded_file_id = $1 AND c.chunk_number = planned.chunk_number OFFSET 0) c"
        " WHERE (c.start_row, c.end_row, c.start_byte, c.end_byte, c.start_line, c.checksum) IS DISTINCT FROM"
        "  (planned.start_row, planned.end_row, planned.start_byte, planned.end_byte, planned.start_line,"
        "  planned.checksum)",
        {param(import->id), bigints(chunks, count, &Chunk::number), bigints(chunks, count, &Chunk::start_row),
         bigints(chunks, count, &Chunk::end_row), bigints(chunks, count, &Chunk::start_byte),
         bigints(chunks, count, &Chunk::end_byte), bigints(chunks, count, &Chunk::start_line),
         bigints(chunks, count, &Chunk::checksum)});
    end_statement(&scope);
    if (different > 0) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("file \"%s\" has changed since its import began", show_name(import->path)),
                        errdetail("Its chunks are not those that were planned before.")));
    }
}

bool begin_attempt(const Ledger *ledger, int64 import_id, int64 number, int most_crashes, bool wait,
                   LedgerChunk *chunk) {
    const char *text =
        psprintf("UPDATE ledger.process_chunks SET attempts = attempts + 1, crashes = crashes + 1 WHERE id ="
                 " (SELECT id FROM ledger.process_chunks WHERE uploaded_file_id = $1 AND chunk_number = $2"
                 " AND status = 'Pending' AND crashes <= $3 FOR UPDATE %s)"
                 " RETURNING id, start_row, end_row, start_byte, end_byte, start_line, checksum, attempts::bigint",
                 wait ? "" : "SKIP LOCKED");
    const StatementScope scope = begin_statement(ledger);
    const bool found = run_statement(ledger, text, {param(import_id), param(number), param(most_crashes)}) > 0;
    if (found) {
        chunk->id = result_int64(0, 1);
        chunk->chunk.number = static_cast<uint64_t>(number);
        chunk->chunk.start_row = static_cast<uint64_t>(result_int64(0, 2));
        chunk->chunk.end_row = static_cast<uint64_t>(result_int64(0, 3));
        chunk->chunk.start_byte = static_cast<uint64_t>(result_int64(0, 4));
        chunk->chunk.end_byte = static_cast<uint64_t>(result_int64(0, 5));
        chunk->chunk.start_line = static_cast<uint64_t>(result_int64(0, 6));
        chunk->chunk.checksum = static_cast<uint64_t>(result_int64(0, 7));
        chunk->attempts = static_cast<int>(result_int64(0, 8));
    }
    end_statement(&scope);
    return found;
}

void uncount_attempt(const Ledger *ledger, int64 chunk_id, bool only_crash) {
    const StatementScope scope = begin_statement(ledger);
    run_statement(ledger,
                  "UPDATE ledger.process_chunks SET crashes = crashes - 1, attempts = attempts - (NOT $2)::integer"
                  " WHERE crashes > 0 AND id IN"
                  " (SELECT id FROM ledger.process_chunks WHERE id = $1 AND status = 'Pending' FOR UPDATE SKIP LOCKED)",
                  {param(chunk_id), param(only_crash)});
    end_statement(&scope);
}

bool claim_chunk(const Ledger *ledger, int64 chunk_id, bool wait) {
    const StatementScope scope = begin_statement(ledger);
    /* READ COMMITTED: the status is that of the row's newest version, looked at again once the lock is held. */
    const bool claimed =
        run_statement(
            ledger,
            wait ? "SELECT FROM ledger.process_chunks WHERE id = $1 AND status = 'Pending' FOR UPDATE"
                 : "SELECT FROM ledger.process_chunks WHERE id = $1 AND status = 'Pending' FOR UPDATE SKIP LOCKED",
            {param(chunk_id)}) > 0;
    end_statement(&scope);
    return claimed;
}

void add_rejects(const Ledger *ledger, int64 import_id, int64 chunk_id, const Reject *rejects, int count) {
    enum { Row, Line, Offset, Column, State, Message, Detail, Raw, Bytes, Pending, kColumns };
    constexpr Oid types[][2] = {{INT8OID, INT8ARRAYOID}, {INT8OID, INT8ARRAYOID}, {INT8OID, INT8ARRAYOID},
                                {TEXTOID, TEXTARRAYOID}, {TEXTOID, TEXTARRAYOID}, {TEXTOID, TEXTARRAYOID},
                                {TEXTOID, TEXTARRAYOID}, {TEXTOID, TEXTARRAYOID}, {BYTEAOID, BYTEAARRAYOID},
                                {BOOLOID, BOOLARRAYOID}};
    Parameter *columns[kColumns];
    Parameter parameters[2 + kColumns] = {param(import_id), param(chunk_id)};

    for (int i = 0; i < kColumns; i++) {
        columns[i] = static_cast<Parameter *>(palloc(sizeof(Parameter) * Max(count, 1)));
    }
    for (int i = 0; i < count; i++) {
        const Reject *reject = &rejects[i];

        columns[Row][i] = param(reject->row_number);
        columns[Line][i] = param(reject->line_number);
        columns[Offset][i] = param(reject->byte_offset);
        columns[Column][i] = param(reject->why.column);
        columns[State][i] = param(unpack_sql_state(reject->why.sqlerrcode));
        columns[Message][i] = param(reject->why.message);
        columns[Detail][i] = param(reject->why.detail);
        columns[Raw][i] = param(reject->raw.text);
        columns[Bytes][i] = {PointerGetDatum(reject->raw.bytes), BYTEAOID, reject->raw.bytes == nullptr};
        columns[Pending][i] = param(reject->pending);
    }
    for (int i = 0; i < kColumns; i++) {
        parameters[2 + i] = param_array(columns[i], count, types[i][0], types[i][1]);
    }
    const StatementScope scope = begin_statement(ledger);
    run_statement(ledger,
                  "INSERT INTO ledger.rejected_rows (uploaded_file_id, process_chunk_id, row_number, line_number,"
                  " byte_offset, column_name, sqlstate, message, detail, raw_line, raw_bytes, pending)"
                  " SELECT $1, $2, * FROM unnest($3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
                  parameters);
    end_statement(&scope);
}

void complete_chunk(const Ledger *ledger, int64 chunk_id, const ChunkCounts *counts) {
    const StatementScope scope = begin_statement(ledger);
    run_statement(ledger,
                  "UPDATE ledger.process_chunks SET status = 'Completed', ended = clock_timestamp(),"
                  " success_count = $2, error_count = $3, skipped_count = $4, crashes = crashes - 1 WHERE id = $1",
                  {param(chunk_id), param(counts->loaded), param(counts->rejected), param(counts->skipped)});
    end_statement(&scope);
}

bool fail_attempt(const Ledger *ledger, int64 import_id, int64 number, const char *sqlstate, const char *error,
                  int max_retries, bool uncount) {
    const StatementScope scope = begin_statement(ledger);
    const uint64 updated = run_statement(
        ledger,
        "UPDATE ledger.process_chunks SET sqlstate = $3, errors = $4, attempts = attempts - $6::integer,"
        " crashes = crashes - 1,"
        " status = CASE WHEN attempts - $6::integer > $5 THEN 'Failed' ELSE status END,"
        " ended = CASE WHEN attempts - $6::integer > $5 THEN clock_timestamp() END"
        " WHERE uploaded_file_id = $1 AND chunk_number = $2 AND status = 'Pending'"
        " RETURNING (status = 'Pending')::integer::bigint",
        {param(import_id), param(number), param(sqlstate), param(error), param(max_retries), param(uncount)});
    const bool pending = updated > 0 && result_int64(0, 1) != 0;
    end_statement(&scope);
    return pending;
}

bool fail_lost_attempt(const Ledger *ledger, int64 import_id, int64 number, const char *sqlstate, const char *error,
                       int max_retries) {
    const StatementScope scope = begin_statement(ledger);
    /* The process has taken the count of the crash back itself, in its exit. */
    const uint64 updated =
        run_statement(ledger,
                      "UPDATE ledger.process_chunks SET sqlstate = $3, errors = $4,"
                      " status = CASE WHEN attempts > $5 THEN 'Failed' ELSE status END,"
                      " ended = CASE WHEN attempts > $5 THEN clock_timestamp() END"
                      " WHERE uploaded_file_id = $1 AND chunk_number = $2 AND status = 'Pending'"
                      " RETURNING (status = 'Pending')::integer::bigint",
                      {param(import_id), param(number), param(sqlstate), param(error), param(max_retries)});
    const bool failed = updated > 0 && result_int64(0, 1) == 0;
    end_statement(&scope);
    return failed;
}

void fail_crashed_chunk(const Ledger *ledger, int64 import_id, int64 number) {
    const StatementScope scope = begin_statement(ledger);
    run_statement(ledger,
                  "UPDATE ledger.process_chunks SET status = 'Failed', ended = clock_timestamp(), sqlstate = $3,"
                  " errors = format('the server crashed %s times while the chunk was being loaded', crashes)"
                  " WHERE uploaded_file_id = $1 AND chunk_number = $2 AND status = 'Pending'",
                  {param(import_id), param(number), param(unpack_sql_state(ERRCODE_CRASH_SHUTDOWN))});
    end_statement(&scope);
}

void await_attempts(const Ledger *ledger, int64 import_id) {
    const StatementScope scope = begin_statement(ledger);
    run_statement(ledger,
                  "SELECT FROM ledger.process_chunks WHERE uploaded_file_id = $1 AND status = 'Pending' FOR UPDATE",
                  {param(import_id)});
    end_statement(&scope);
}

LeftChunk *left_chunks(const Ledger *ledger, int64 import_id, int *count) {
    const MemoryContext context = CurrentMemoryContext;
    const StatementScope scope = begin_statement(ledger);
    const uint64 found = run_statement(ledger,
                                       "SELECT chunk_number, crashes::bigint FROM ledger.process_chunks"
                                       " WHERE uploaded_file_id = $1 AND status = 'Pending' ORDER BY chunk_number",
                                       {param(import_id)});
    auto *chunks = static_cast<LeftChunk *>(MemoryContextAllocHuge(context, sizeof(LeftChunk) * Max(found, 1)));
    for (uint64 i = 0; i < found; i++) {
        chunks[i] = {result_int64(i, 1), static_cast<int>(result_int64(i, 2))};
    }
    *count = static_cast<int>(found);
    end_statement(&scope);
    return chunks;
}

core::Chunk *unloaded_chunks(const Ledger *ledger, int64 import_id, int *count) {
    const MemoryContext context = CurrentMemoryContext;
    const StatementScope scope = begin_statement(ledger);
    const uint64 found = run_statement(ledger,
                                       "SELECT start_byte, end_byte, checksum FROM ledger.process_chunks"
                                       " WHERE uploaded_file_id = $1 AND (status <> 'Completed' OR id IN"
                                       "  (SELECT process_chunk_id FROM ledger.rejected_rows"
                                       "   WHERE uploaded_file_id = $1 AND pending))"
                                       " ORDER BY chunk_number",
                                       {param(import_id)});
    auto *chunks = static_cast<core::Chunk *>(
        MemoryContextAllocExtended(context, sizeof(core::Chunk) * Max(found, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO));
    for (uint64 i = 0; i < found; i++) {
        chunks[i].start_byte = static_cast<uint64_t>(result_int64(i, 1));
        chunks[i].end_byte = static_cast<uint64_t>(result_int64(i, 2));
        chunks[i].checksum = static_cast<uint64_t>(result_int64(i, 3));
    }
    *count = static_cast<int>(found);
    end_statement(&scope);
    return chunks;
}

} // namespace movielens_ingest::pg
