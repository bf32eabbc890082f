#include "pg/ledger.hpp"

#include "pg/ledger_statement.hpp"
#include "pg/pg.hpp"
#include "pg/session.hpp"

namespace movielens_ingest::pg {

namespace {

/*
 * Of the other import: no crash has taken what it has loaded. $2: the table is unlogged now. If it is logged, nothing
 * tells whether it was so when the witness went: then the rows are taken to be there, for loading them twice would be
 * worse than asking for force. OFFSET keeps the planner from reading all witnesses into a hash table.
 */
#define OTHER_HAS_ROWS                                                                                                 \
    " AND (NOT coalesce((other.plan ->> 'unlogged')::boolean, false) OR NOT $2"                                        \
    " OR EXISTS (SELECT FROM ledger._unlogged_witnesses w WHERE w.uploaded_file_id = other.id OFFSET 0))"

/* As objsubid of a lock on uploaded_files: no import's lock has it, for its ids are below 2^47. */
constexpr uint16 kAdmissionLock = 0xFFFF;

const char *const kLineEnds[] = {"unknown", "lf", "crlf", "cr"}; /* by core::LineEnd */

core::LineEnd line_end_of(const char *name) {
    for (size_t i = 0; i < lengthof(kLineEnds); i++) {
        if (strcmp(name, kLineEnds[i]) == 0) {
            return static_cast<core::LineEnd>(i);
        }
    }
    elog(ERROR, "unknown line end \"%s\" in the ledger", name);
}

ArrayType *text_array(const char *const *texts, int count) {
    auto *datums = static_cast<Datum *>(palloc(sizeof(Datum) * Max(count, 1)));

    for (int i = 0; i < count; i++) {
        datums[i] = CStringGetTextDatum(texts[i]);
    }
    return construct_array(datums, count, TEXTOID, -1, false, TYPALIGN_INT);
}

/* The names of the columns that a flag is set for. */
ArrayType *flagged_columns(const Import *import, const bool *flags) {
    auto **names = static_cast<const char **>(palloc(sizeof(char *) * static_cast<Size>(Max(import->column_count, 1))));
    int count = 0;

    for (int i = 0; i < import->column_count; i++) {
        if (flags[i]) {
            names[count++] = import->columns[i];
        }
    }
    return text_array(names, count);
}

const char *character(char c) { return psprintf("%c", c); }

/* Of the import, when its row is there. */
void add_options(const Ledger *ledger, const Import *import, int64 id) {
    const ImportOptions *options = &import->options;

    run_statement(ledger,
                  "UPDATE ledger.uploaded_files SET options = jsonb_build_object('delimiter', $2, 'quote', $3,"
                  " 'escape', $4, 'null_string', $5, 'header', $6, 'columns', CASE WHEN $7 THEN plan -> 'columns' END,"
                  " 'encoding', $8, 'force_null', $9, 'force_not_null', $10, 'on_error', $11,"
                  " 'reject_limit', nullif($12, -1), 'chunk_size', $13, 'min_chunks', $14, 'max_workers', $15,"
                  " 'max_retries', $16, 'force', $17, 'at_least_once', $18) WHERE id = $1",
                  {param(id), param(character(options->delimiter)), param(character(options->quote)),
                   param(character(options->escape)), param(options->null_string), param(options->header),
                   param(options->columns != NIL), param(pg_encoding_to_char(import->encoding)),
                   param(flagged_columns(import, import->force_null), TEXTARRAYOID),
                   param(flagged_columns(import, import->force_not_null), TEXTARRAYOID),
                   param(on_error_name(options->on_error)), param(options->reject_limit), param(options->chunk_size),
                   param(options->min_chunks), param(options->max_workers), param(options->max_retries),
                   param(options->force), param(options->at_least_once)});
}

/* The columns of an import and what stands in the options about them. */
void read_columns(const Ledger *ledger, MemoryContext context, Import *import) {
    const uint64 count = run_statement(ledger,
                                       "SELECT value, (options -> 'force_null' ? value)::integer::bigint,"
                                       " (options -> 'force_not_null' ? value)::integer::bigint"
                                       " FROM ledger.uploaded_files,"
                                       " jsonb_array_elements_text(plan -> 'columns') WITH ORDINALITY"
                                       " WHERE id = $1 ORDER BY ordinality",
                                       {param(import->id)});
    const Size size = static_cast<Size>(Max(count, 1));

    import->column_count = static_cast<int>(count);
    import->columns = static_cast<const char **>(MemoryContextAlloc(context, sizeof(char *) * size));
    import->force_null = static_cast<bool *>(MemoryContextAlloc(context, sizeof(bool) * size));
    import->force_not_null = static_cast<bool *>(MemoryContextAlloc(context, sizeof(bool) * size));
    for (uint64 i = 0; i < count; i++) {
        import->columns[i] = result_text(i, 1, context);
        import->force_null[i] = result_int64(i, 2) != 0;
        import->force_not_null[i] = result_int64(i, 3) != 0;
    }
}

void read_options(const Ledger *ledger, MemoryContext context, Import *import) {
    ImportOptions *options = &import->options;

    run_statement(ledger,
                  "SELECT options ->> 'delimiter', options ->> 'quote', options ->> 'escape',"
                  " options ->> 'null_string', options ->> 'encoding', options ->> 'on_error',"
                  " (options ->> 'header')::boolean::integer::bigint,"
                  " coalesce((options ->> 'reject_limit')::bigint, -1),"
                  " (options ->> 'chunk_size')::bigint, (options ->> 'min_chunks')::bigint,"
                  " (options ->> 'max_workers')::bigint, (options ->> 'max_retries')::bigint,"
                  " (options ->> 'force')::boolean::integer::bigint,"
                  " (options ->> 'at_least_once')::boolean::integer::bigint"
                  " FROM ledger.uploaded_files WHERE id = $1",
                  {param(import->id)});
    options->delimiter = *required_text(0, 1, context);
    options->quote = *required_text(0, 2, context);
    options->escape = *required_text(0, 3, context);
    options->null_string = required_text(0, 4, context);
    options->encoding = required_text(0, 5, context);
    (void)on_error_of(required_text(0, 6, context), &options->on_error);
    options->header = result_int64(0, 7) != 0;
    options->reject_limit = static_cast<int>(result_int64(0, 8));
    options->chunk_size = static_cast<int>(result_int64(0, 9));
    options->min_chunks = static_cast<int>(result_int64(0, 10));
    options->max_workers = static_cast<int>(result_int64(0, 11));
    options->max_retries = static_cast<int>(result_int64(0, 12));
    options->force = result_int64(0, 13) != 0;
    options->at_least_once = result_int64(0, 14) != 0;
    /* The lists of columns: see read_columns(). */
    options->columns = options->force_null = options->force_not_null = NIL;
}

const char *base_name(const char *path) { return strrchr(path, '/') + 1; }

} // namespace

List *role_setting_names(const Ledger *ledger) {
    const MemoryContext context = CurrentMemoryContext;
    List *names = NIL;

    const StatementScope scope = begin_statement(ledger);
    const uint64 count = run_statement(ledger,
                                       "SELECT DISTINCT split_part(setting, '=', 1)"
                                       " FROM pg_db_role_setting, unnest(setconfig) AS setting"
                                       " WHERE setdatabase IN (0, $1) AND setrole IN (0, $2)",
                                       {param(MyDatabaseId), param(GetAuthenticatedUserId())});
    for (uint64 i = 0; i < count; i++) {
        char *name = result_text(i, 1, context);
        const MemoryContext spi_context = MemoryContextSwitchTo(context);
        names = lappend(names, name);
        MemoryContextSwitchTo(spi_context);
    }
    end_statement(&scope);
    return names;
}

int64 add_import(const Ledger *ledger, const Import *import) {
    int setting_count;
    const Setting *settings = capture_settings(role_setting_names(ledger), &setting_count);
    const Oid user = GetUserId();
    const char *user_name = GetUserNameFromId(user, false);
    ArrayType *columns = text_array(import->columns, import->column_count);

    const StatementScope scope = begin_statement(ledger);
    /* A file name of more than 255 characters is cut; file_path has all of it. */
    run_statement(
        ledger,
        "INSERT INTO ledger.uploaded_files"
        " (file_name, file_path, file_size, target, owner_oid, owner_name, options, plan, origin)"
        " VALUES (left($1, 255), $2, $3, $4, $5, $6::name, '{}', $7::jsonb, (SELECT id FROM ledger._origin))"
        " RETURNING id",
        {param(base_name(import->path)), param(import->path), param(import->file.size), param(import->target),
         param(user), param(user_name),
         param(psprintf("{\"device\": " INT64_FORMAT ", \"inode\": " INT64_FORMAT ", \"modified\": " INT64_FORMAT
                        ", \"line_end\": \"%s\", \"data_start\": " INT64_FORMAT ", \"data_line\": " INT64_FORMAT
                        ", \"target_oid\": %u, \"elsewhere\": %s, \"login\": %u}",
                        import->file.device, import->file.inode, import->file.modified,
                        kLineEnds[static_cast<int>(import->line_end)], import->data_start, import->data_line,
                        import->target_oid, import->elsewhere ? "true" : "false", GetAuthenticatedUserId()))});
    const int64 id = result_int64(0, 1);
    run_statement(ledger, "INSERT INTO ledger._callers VALUES ($1, $2, $3, $4, $5)",
                  {param(id), param(user), param(GetSessionUserId()), param(GetAuthenticatedUserId()),
                   param(max_processes_per_role_setting())});
    run_statement(ledger,
                  "UPDATE ledger.uploaded_files SET dataset_id = $3, plan = plan || jsonb_build_object('columns', $2)"
                  " WHERE id = $1",
                  {param(id), param(columns, TEXTARRAYOID), param(import->batch_id != 0 ? import->batch_id : id)});
    add_options(ledger, import, id);
    for (int i = 0; i < setting_count; i++) {
        run_statement(ledger, "INSERT INTO ledger._session_settings VALUES ($1, $2, $3, $4, $5)",
                      {param(id), param(settings[i].name), param(settings[i].value), param(settings[i].context),
                       param(settings[i].role)});
    }
    end_statement(&scope);
    note_origin(ledger, import->batch_id != 0 ? import->batch_id : id);
    return id;
}

int64 find_import_of_file(const Ledger *ledger, const Import *import) {
    const StatementScope scope = begin_statement(ledger);
    const uint64 found =
        run_statement(ledger,
                      "SELECT id FROM ledger.uploaded_files other"
                      " WHERE target = $1 AND status NOT IN ('Failed', 'Cancelled')" OTHER_HAS_ROWS
                      " AND file_size = $3 AND (plan ->> 'device')::bigint = $4 AND (plan ->> 'inode')::bigint = $5"
                      " AND (plan ->> 'modified')::bigint = $6 ORDER BY id LIMIT 1",
                      {param(import->target), param(import->unlogged), param(import->file.size),
                       param(import->file.device), param(import->file.inode), param(import->file.modified)});
    const int64 id = found > 0 ? result_int64(0, 1) : 0;
    end_statement(&scope);
    return id;
}

int64 admit_import(const Ledger *ledger, const Import *import) {
    int64 other = 0;

    const StatementScope scope = begin_statement(ledger);
    /* Until the commit: of two copies that are planned at the same time, the second finds the first admitted. */
    LockDatabaseObject(ledger->files, import->target_oid, kAdmissionLock, ExclusiveLock);
    if (!import->options.force &&
        run_statement(ledger,
                      "SELECT other.id FROM ledger.uploaded_files this"
                      " JOIN ledger.process_chunks first ON first.uploaded_file_id = this.id AND first.chunk_number = 1"
                      " JOIN ledger.process_chunks same ON same.checksum = first.checksum AND same.chunk_number = 1"
                      " JOIN ledger.uploaded_files other ON other.id = same.uploaded_file_id"
                      " AND other.target = this.target AND other.id <> this.id"
                      " AND other.file_size = this.file_size AND other.plan -> 'columns' = this.plan -> 'columns'"
                      " AND other.plan ? 'admitted' AND other.status NOT IN ('Failed', 'Cancelled')"
                      " WHERE this.id = $1" OTHER_HAS_ROWS
                      " AND NOT EXISTS (SELECT FROM ledger.process_chunks c JOIN ledger.process_chunks o"
                      "  ON o.uploaded_file_id = other.id AND o.chunk_number = c.chunk_number"
                      "  WHERE c.uploaded_file_id = $1 AND (o.checksum, o.end_byte) <> (c.checksum, c.end_byte)"
                      "  OFFSET 0)" /* it is not to become a join, which would read all chunks that there are */
                      " ORDER BY other.id LIMIT 1",
                      {param(import->id), param(import->unlogged)}) > 0) {
        other = result_int64(0, 1);
    } else {
        run_statement(ledger,
                      "UPDATE ledger.uploaded_files SET plan = plan || jsonb_build_object('admitted', true)"
                      " WHERE id = $1",
                      {param(import->id)});
    }
    end_statement(&scope);
    return other;
}

Oid target_of_import(const Ledger *ledger, int64 id) {
    const StatementScope scope = begin_statement(ledger);
    const bool made_here = run_statement(ledger,
                                         "SELECT (plan ->> 'target_oid')::bigint FROM ledger.uploaded_files"
                                         " JOIN ledger._callers ON uploaded_file_id = id WHERE id = $1",
                                         {param(id)}) > 0;
    const Oid target = made_here ? static_cast<Oid>(result_int64(0, 1)) : InvalidOid;
    end_statement(&scope);
    return target;
}

bool read_import(const Ledger *ledger, int64 id, Import *import) {
    const MemoryContext context = CurrentMemoryContext;
    const StatementScope scope = begin_statement(ledger);
    if (run_statement(ledger,
                      "SELECT file_path, target, plan ->> 'line_end', file_size,"
                      " (plan ->> 'device')::bigint, (plan ->> 'inode')::bigint, (plan ->> 'modified')::bigint,"
                      " (plan ->> 'data_start')::bigint, (plan ->> 'data_line')::bigint,"
                      " (plan ->> 'target_oid')::bigint, dataset_id, coalesce(row_count, -1),"
                      " coalesce((plan ->> 'unlogged')::boolean, false)::integer::bigint,"
                      " (plan ->> 'elsewhere')::boolean::integer::bigint"
                      " FROM ledger.uploaded_files JOIN ledger._callers ON uploaded_file_id = id WHERE id = $1",
                      {param(id)}) == 0) {
        end_statement(&scope);
        return false;
    }
    import->id = id;
    import->path = required_text(0, 1, context);
    import->target = required_text(0, 2, context);
    import->line_end = line_end_of(required_text(0, 3, context));
    import->file.size = result_int64(0, 4);
    import->file.device = result_int64(0, 5);
    import->file.inode = result_int64(0, 6);
    import->file.modified = result_int64(0, 7);
    import->data_start = result_int64(0, 8);
    import->data_line = result_int64(0, 9);
    import->target_oid = static_cast<Oid>(result_int64(0, 10));
    import->batch_id = result_int64(0, 11);
    import->rows = result_int64(0, 12);
    import->unlogged = result_int64(0, 13) != 0;
    import->elsewhere = result_int64(0, 14) != 0;

    read_options(ledger, context, import);
    import->encoding = pg_char_to_encoding(import->options.encoding);
    read_columns(ledger, context, import);

    const uint64 settings = run_statement(ledger,
                                          "SELECT name, value, context::bigint, role::bigint"
                                          " FROM ledger._session_settings WHERE uploaded_file_id = $1",
                                          {param(id)});
    import->setting_count = static_cast<int>(settings);
    import->settings = static_cast<Setting *>(MemoryContextAlloc(context, sizeof(Setting) * Max(settings, 1)));
    for (uint64 i = 0; i < settings; i++) {
        import->settings[i] = {result_text(i, 1, context), result_text(i, 2, context),
                               static_cast<int>(result_int64(i, 3)), static_cast<Oid>(result_int64(i, 4))};
    }
    end_statement(&scope);
    return true;
}

int64 loaded_records(const Ledger *ledger, int64 id) {
    const StatementScope scope = begin_statement(ledger);
    run_statement(ledger,
                  "SELECT coalesce(sum(success_count), 0)::bigint FROM ledger.process_chunks"
                  " WHERE uploaded_file_id = $1",
                  {param(id)});
    const int64 loaded = result_int64(0, 1);
    end_statement(&scope);
    return loaded;
}

void mark_started(const Ledger *ledger, int64 id) {
    const StatementScope scope = begin_statement(ledger);
    run_statement(ledger,
                  "UPDATE ledger.uploaded_files SET start_time = coalesce(start_time, clock_timestamp()) WHERE id = $1",
                  {param(id)});
    end_statement(&scope);
}

void mark_planned(const Ledger *ledger, int64 id, int64 rows) {
    const StatementScope scope = begin_statement(ledger);
    run_statement(ledger,
                  "UPDATE ledger.uploaded_files SET row_count = $2,"
                  " unprocessed_count = $2 - success_count - error_count - skipped_count WHERE id = $1",
                  {param(id), param(rows)});
    end_statement(&scope);
}

/* One statement writes all counts, from the chunks that have been committed: so they add up at every commit. */
void refresh_totals(const Ledger *ledger, int64 id) {
    const StatementScope scope = begin_statement(ledger);
    run_statement(ledger,
                  "UPDATE ledger.uploaded_files f SET success_count = c.loaded, error_count = c.rejected,"
                  " skipped_count = c.skipped, unprocessed_count = f.row_count - c.loaded - c.rejected - c.skipped,"
                  " end_time = c.now, processing_duration = c.now - f.start_time"
                  " FROM (SELECT clock_timestamp() AS now, coalesce(sum(success_count), 0)::bigint AS loaded,"
                  "  coalesce(sum(error_count), 0)::bigint AS rejected,"
                  "  coalesce(sum(skipped_count), 0)::bigint AS skipped"
                  "  FROM ledger.process_chunks WHERE uploaded_file_id = $1) c"
                  " WHERE f.id = $1",
                  {param(id)});
    end_statement(&scope);
}

const char *end_import(const Ledger *ledger, int64 id, const char *status, const char *sqlstate, const char *error) {
    const MemoryContext context = CurrentMemoryContext;

    refresh_totals(ledger, id);

    const StatementScope scope = begin_statement(ledger);
    /* Without an error of its own, a Failed import shows that of its first Failed chunk. */
    const bool ended =
        run_statement(
            ledger,
            "UPDATE ledger.uploaded_files f SET"
            " status = coalesce($2, CASE WHEN c.chunk_number IS NOT NULL OR f.unprocessed_count > 0 THEN 'Failed'"
            "  WHEN f.error_count > 0 THEN 'Completed with errors' ELSE 'Completed' END),"
            " sqlstate = coalesce($3, c.sqlstate,"
            "  CASE WHEN $2 IS NULL AND f.unprocessed_count > 0 THEN '55006' END),"
            " error = coalesce($4, c.errors, CASE WHEN $2 IS NULL AND f.unprocessed_count > 0"
            "  THEN 'chunks of the import are held by another process' END)"
            " FROM (VALUES (1)) one LEFT JOIN LATERAL (SELECT chunk_number, sqlstate, errors"
            "  FROM ledger.process_chunks WHERE uploaded_file_id = $1 AND status = 'Failed'"
            "  ORDER BY chunk_number LIMIT 1) c ON true"
            " WHERE f.id = $1 AND f.status IN ('Queued', 'Processing') RETURNING f.status::text",
            {param(id), param(status), param(sqlstate), param(error)}) > 0;
    const char *last = ended ? result_text(0, 1, context) : "";
    run_statement(ledger, "DELETE FROM ledger._cancel_requests WHERE uploaded_file_id = $1", {param(id)});
    end_statement(&scope);
    if (ended) {
        notify_state(ledger, id, last);
    }
    return last;
}

} // namespace movielens_ingest::pg
