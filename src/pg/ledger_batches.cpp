#include "pg/ledger.hpp"

#include "pg/incarnation.hpp"
#include "pg/ledger_statement.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr char kChannel[] = "movielens_ingest";

void notify_in_statement(const Ledger *ledger, int64 id, const char *status) {
    run_statement(ledger, "SELECT pg_notify($1, json_build_object('id', $2, 'state', $3)::text)",
                  {param(kChannel), param(id), param(status)});
}

} // namespace

void notify_state(const Ledger *ledger, int64 id, const char *status) {
    const StatementScope scope = begin_statement(ledger);
    notify_in_statement(ledger, id, status);
    end_statement(&scope);
}

int change_status(const Ledger *ledger, int64 batch_id, const char *from, const char *to) {
    const StatementScope scope = begin_statement(ledger);
    const uint64 changed = run_statement(ledger,
                                         "UPDATE ledger.uploaded_files SET status = $3"
                                         " WHERE dataset_id = $1 AND status = $2 RETURNING id",
                                         {param(batch_id), param(from), param(to)});
    auto *ids = static_cast<int64 *>(palloc(sizeof(int64) * Max(changed, 1)));
    for (uint64 i = 0; i < changed; i++) {
        ids[i] = result_int64(i, 1);
    }
    for (uint64 i = 0; i < changed; i++) {
        notify_in_statement(ledger, ids[i], to);
    }
    end_statement(&scope);
    return static_cast<int>(changed);
}

void mark_led(const Ledger *ledger, int64 batch_id, dsm_handle segment) {
    const StatementScope scope = begin_statement(ledger);
    run_statement(ledger,
                  "UPDATE ledger.uploaded_files SET"
                  " plan = (plan - 'held') || jsonb_build_object('leader', pg_backend_pid(), 'segment', $2)"
                  " WHERE dataset_id = $1 AND status = 'Processing'",
                  {param(batch_id), param(static_cast<int64>(segment))});
    end_statement(&scope);
}

BatchMember *read_batch(const Ledger *ledger, int64 batch_id, int *count) {
    const MemoryContext context = CurrentMemoryContext;
    const StatementScope scope = begin_statement(ledger);
    const uint64 found = run_statement(ledger,
                                       "SELECT id, file_name::text, target, (plan ->> 'target_oid')::bigint, file_size,"
                                       " status::text, (options ->> 'max_workers')::bigint"
                                       " FROM ledger._callers first, ledger.uploaded_files f"
                                       " JOIN ledger._callers c ON c.uploaded_file_id = f.id"
                                       " WHERE first.uploaded_file_id = $1 AND f.dataset_id = $1"
                                       " AND c.role = first.role ORDER BY id",
                                       {param(batch_id)});
    auto *members = static_cast<BatchMember *>(MemoryContextAllocZero(context, sizeof(BatchMember) * Max(found, 1)));
    for (uint64 i = 0; i < found; i++) {
        members[i].id = result_int64(i, 1);
        members[i].file_name = result_text(i, 2, context);
        members[i].target = result_text(i, 3, context);
        members[i].target_oid = static_cast<Oid>(result_int64(i, 4));
        members[i].file_size = result_int64(i, 5);
        members[i].status = result_text(i, 6, context);
        members[i].max_workers = static_cast<int>(result_int64(i, 7));
        members[i].processing = strcmp(members[i].status, kProcessing) == 0;
        members[i].completed = is_complete(members[i].status);
    }
    *count = static_cast<int>(found);
    end_statement(&scope);
    return members;
}

void read_references(const Ledger *ledger, const Oid *tables, int count, uint32 *references) {
    const StatementScope scope = begin_statement(ledger);
    const uint64 found = run_statement(ledger, psprintf("SELECT DISTINCT conrelid::bigint, confrelid::bigint"
                                                        " FROM pg_constraint"
                                                        " WHERE contype = 'f' AND conrelid <> confrelid%s",
                                                        kAndEnforced));
    for (int i = 0; i < count; i++) {
        references[i] = 0;
    }
    for (uint64 row = 0; row < found; row++) {
        const Oid from = static_cast<Oid>(result_int64(row, 1));
        const Oid to = static_cast<Oid>(result_int64(row, 2));
        for (int i = 0; i < count; i++) {
            for (int j = 0; j < count; j++) {
                if (tables[i] == from && tables[j] == to) {
                    references[i] |= 1U << j;
                }
            }
        }
    }
    end_statement(&scope);
}

Progress read_ledger_progress(const Ledger *ledger, int64 id) {
    Progress progress;

    memset(&progress, 0, sizeof(progress));
    const StatementScope scope = begin_statement(ledger);
    run_statement(ledger,
                  "SELECT f.file_size - (f.plan ->> 'data_start')::bigint,"
                  " coalesce(sum(c.success_count + c.error_count + c.skipped_count), 0)::bigint,"
                  " coalesce(sum(c.error_count), 0)::bigint,"
                  " coalesce(sum(end_byte - start_byte) FILTER (WHERE c.status = 'Completed'), 0)::bigint,"
                  " count(*) FILTER (WHERE c.status = 'Completed'), count(*) FILTER (WHERE c.status = 'Failed'),"
                  " count(c.id), coalesce(sum(greatest(attempts - 1, 0)), 0)::bigint,"
                  " (SELECT count(*) FROM ledger.rejected_rows WHERE uploaded_file_id = $1 AND pending)"
                  " FROM (SELECT * FROM ledger.uploaded_files WHERE id = $1) f"
                  " LEFT JOIN ledger.process_chunks c ON c.uploaded_file_id = f.id"
                  " GROUP BY f.file_size, f.plan",
                  {param(id)});
    progress.total_bytes = result_int64(0, 1);
    progress.rows = result_int64(0, 2);
    progress.rejected = result_int64(0, 3);
    progress.bytes = result_int64(0, 4);
    progress.chunks_done = result_int64(0, 5);
    progress.chunks_failed = result_int64(0, 6);
    progress.chunks = result_int64(0, 7);
    progress.retries = result_int64(0, 8);
    progress.pending = result_int64(0, 9);
    progress.rejected -= progress.pending;
    end_statement(&scope);
    return progress;
}

bool read_batch_identity(const Ledger *ledger, int64 batch_id, Identity *identity) {
    const StatementScope scope = begin_statement(ledger);
    const bool found =
        run_statement(ledger,
                      "SELECT authenticated_role::bigint, session_role::bigint, role::bigint, process_limit::bigint"
                      " FROM ledger._callers WHERE uploaded_file_id = $1",
                      {param(batch_id)}) > 0;
    if (found) {
        identity->database = MyDatabaseId;
        identity->authenticated_user = static_cast<Oid>(result_int64(0, 1));
        identity->session_user = static_cast<Oid>(result_int64(0, 2));
        identity->user = static_cast<Oid>(result_int64(0, 3));
        identity->process_limit = static_cast<int>(result_int64(0, 4));
    }
    end_statement(&scope);
    return found;
}

void lock_batch(const Ledger *ledger, int64 batch_id) {
    const StatementScope scope = begin_statement(ledger);
    run_statement(ledger, "SELECT FROM ledger.uploaded_files WHERE dataset_id = $1 ORDER BY id FOR UPDATE",
                  {param(batch_id)});
    end_statement(&scope);
}

void reopen_batch(const Ledger *ledger, int64 batch_id, const Identity *identity) {
    const StatementScope scope = begin_statement(ledger);
    run_statement(ledger,
                  "UPDATE ledger.process_chunks SET status = 'Pending', ended = NULL, attempts = 0, crashes = 0"
                  " WHERE uploaded_file_id = ANY (ARRAY(SELECT id FROM ledger.uploaded_files"
                  "  WHERE dataset_id = $1 AND status NOT LIKE 'Completed%')) AND status = 'Failed'",
                  {param(batch_id)});
    run_statement(ledger,
                  "UPDATE ledger._callers c SET session_role = $2, authenticated_role = $3, process_limit = $5"
                  " FROM ledger.uploaded_files f"
                  " WHERE f.id = c.uploaded_file_id AND f.dataset_id = $1 AND c.role = $4",
                  {param(batch_id), param(identity->session_user), param(identity->authenticated_user),
                   param(identity->user), param(identity->process_limit)});
    run_statement(ledger,
                  "UPDATE ledger.uploaded_files SET status = 'Processing', sqlstate = NULL, error = NULL,"
                  " plan = (plan - 'leader' - 'segment')"
                  "  || jsonb_build_object('resumed', coalesce((plan ->> 'resumed')::bigint, 0) + 1, 'login', $3)"
                  " FROM ledger._callers c"
                  " WHERE id = uploaded_file_id AND c.role = $2 AND dataset_id = $1 AND status NOT LIKE 'Completed%'",
                  {param(batch_id), param(identity->user), param(static_cast<int64>(identity->authenticated_user))});
    end_statement(&scope);
    note_origin(ledger, batch_id);
    forget_crashes(ledger, batch_id);
}

void replace_file(const Ledger *ledger, int64 id, const FileIdentity *file) {
    const StatementScope scope = begin_statement(ledger);
    run_statement(ledger,
                  "UPDATE ledger.uploaded_files SET"
                  " plan = plan || jsonb_build_object('device', $2, 'inode', $3, 'modified', $4) WHERE id = $1",
                  {param(id), param(file->device), param(file->inode), param(file->modified)});
    end_statement(&scope);
}

} // namespace movielens_ingest::pg
