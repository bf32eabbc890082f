/*
 * ml_resume.cpp - the SQL function ml_resume(): has the chunks loaded that are not Completed, by the plan that the
 * ledger has.
 */
#include "pg/boundary.hpp"
#include "pg/identity.hpp"
#include "pg/import_lock.hpp"
#include "pg/import_wait.hpp"
#include "pg/launch.hpp"
#include "pg/ledger.hpp"
#include "pg/pg.hpp"
#include "pg/register_import.hpp"
#include "pg/same_file.hpp"
#include "pg/script_version.hpp"
#include "pg/shared_progress.hpp"
#include "pg/target.hpp"

using namespace movielens_ingest::pg;

namespace {

constexpr long kEndInterval = 10; /* milliseconds, while a leader ends */

/* It runs as its owner. */
Identity identity_of_resume(const Ledger *ledger, const VisibleImport *import) {
    Identity identity;

    /*
     * After pg_upgrade, as in a copy of the server, roles and tables have the OIDs that they had (since PostgreSQL 15
     * databases have too), and tables their rows: all that the import has committed is there.
     */
    if (read_origin(ledger, import->batch_id).where == Origin::Where::Elsewhere ||
        !read_batch_identity(ledger, import->batch_id, &identity)) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("import " INT64_FORMAT " was not made in this database", import->id),
                        errdetail("It came with a dump or a copy, so what it has loaded need not be here."),
                        errhint("Import the file again with force => true, into a table without its rows.")));
    }
    if (identity.user == GetUserId()) {
        return current_identity();
    }
    if (!superuser()) {
        ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                        errmsg("permission denied to resume import " INT64_FORMAT, import->id),
                        errdetail("Only the role that started it and superusers may resume it.")));
    }
    if (!OidIsValid(import->owner)) {
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
                        errmsg("the role that started import " INT64_FORMAT " does not exist", import->id)));
    }
    return identity;
}

struct BatchState {
    bool ended;    /* every import of it */
    bool complete; /* the same, and none failed or was cancelled */
};

BatchState state_of_batch(const Ledger *ledger, int64 batch_id) {
    BatchState state = {true, true};
    int count;
    const BatchMember *members = read_batch(ledger, batch_id, &count);

    for (int i = 0; i < count; i++) {
        state.ended = state.ended && !members[i].processing && strcmp(members[i].status, kQueued) != 0;
        state.complete = state.complete && members[i].completed;
    }
    return state;
}

/* A leader outlives the end of its last import for a moment. */
void let_leader_end(const Ledger *ledger, int64 batch_id) {
    while (state_of_batch(ledger, batch_id).ended && lock_is_held(leader_lock(ledger->files, batch_id))) {
        (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, kEndInterval, PG_WAIT_EXTENSION);
        ResetLatch(MyLatch);
        CHECK_FOR_INTERRUPTS();
    }
}

/* User code may have released the locks of its leader for the moment (pg_advisory_unlock_all()). */
bool has_leader(const Ledger *ledger, const VisibleImport *import) {
    if (import->leader == 0) {
        return false;
    }
    const BatchView view = open_batch_view(import->segment, ledger->files, import->batch_id, import->leader);
    const bool found = view.batch != nullptr;
    close_batch_view(&view);
    return found;
}

/* False, with a NOTICE: there is nothing to resume. */
bool can_be_resumed(const Ledger *ledger, const VisibleImport *import) {
    let_leader_end(ledger, import->batch_id);
    const bool led =
        is_own_batch(ledger->files, import->batch_id) || lock_is_held(leader_lock(ledger->files, import->batch_id));

    if (is_complete(import->status) && (led || state_of_batch(ledger, import->batch_id).complete)) {
        ereport(NOTICE, (errmsg("import " INT64_FORMAT " is complete", import->id)));
        return false;
    }
    if (is_open(import) && (led || import_is_alive(ledger, import) || has_leader(ledger, import))) {
        ereport(NOTICE, (errmsg("import " INT64_FORMAT " is %s", import->id,
                                strcmp(import->status, kQueued) == 0 ? "queued" : "running")));
        return false;
    }
    if (led) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
                        errmsg("the data set of import " INT64_FORMAT " is still being imported", import->id),
                        errhint("Resume it when the other files have ended.")));
    }
    return true;
}

void require_same_target(const Import *import) {
    Relation target = open_target(import->target_oid, import->target, nullptr, 0);

    if (strcmp(qualified_name(target), import->target) != 0) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("the table of import " INT64_FORMAT " was %s and is %s", import->id, import->target,
                               qualified_name(target)),
                        errhint("Give the table its old name, then resume the import.")));
    }
    table_close(target, NoLock);
}

} // namespace

MOVIELENS_INGEST_FUNCTION(ml_resume) {
    const Oid schema = schema_of_call(fcinfo);
    require_start_possible("ml_resume()");
    if (PG_ARGISNULL(0)) {
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("id of the import must not be null")));
    }
    const int64 id = PG_GETARG_INT64(0);
    const Ledger ledger = open_ledger(schema);
    VisibleImport import;
    int count;

    require_committed_import(id);
    if (!read_visible_import(&ledger, id, false, &import)) {
        raise_unknown_import(id);
    }
    const Identity identity = identity_of_resume(&ledger, &import);
    reopen_lost(&ledger, import.batch_id);
    (void)read_visible_import(&ledger, id, false, &import);
    if (!can_be_resumed(&ledger, &import)) {
        PG_RETURN_BOOL(false);
    }
    /* Of two that resume it at once, the second waits for the first here, with no row locked, and finds it running. */
    lock_resume(ledger.files, import.batch_id);
    if (!read_visible_import(&ledger, id, false, &import)) {
        raise_unknown_import(id);
    }
    if (!can_be_resumed(&ledger, &import)) {
        unlock_resume(ledger.files, import.batch_id);
        PG_RETURN_BOOL(false);
    }
    const BatchMember *members = read_batch(&ledger, import.batch_id, &count);
    for (int i = 0; i < count; i++) {
        Import member;

        if (!members[i].completed && read_import(&ledger, members[i].id, &member)) {
            require_same_target(&member);
            if (needs_file(&ledger, &member)) {
                require_same_file(&ledger, &member);
            }
        }
    }
    reopen_batch(&ledger, import.batch_id, &identity);
    for (int i = 0; i < count; i++) {
        if (!members[i].completed) {
            launch_at_commit(ledger.files, import.batch_id, members[i].id, &identity);
        }
    }
    PG_RETURN_BOOL(true);
}
