#include "pg/abandoned_import.hpp"

#include "pg/cancel_hold.hpp"
#include "pg/deferred_indexes.hpp"
#include "pg/error_text.hpp"
#include "pg/import_lock.hpp"
#include "pg/patience.hpp"
#include "pg/pg.hpp"
#include "pg/risky_step.hpp"

namespace movielens_ingest::pg {

const char *end_abandoned(const Ledger *ledger, int64 id, Oid target, const char *status, const char *sqlstate,
                          const char *error) {
    await_attempts(ledger, id);
    const char *unbuilt = build_abandoned_indexes(ledger, target);
    (void)end_import(ledger, id, status, sqlstate, unbuilt != nullptr ? psprintf("%s; %s", error, unbuilt) : error);
    return unbuilt;
}

const char *end_cancelled(const Ledger *ledger, int64 id, Oid target) {
    await_attempts(ledger, id);
    const char *unbuilt = build_abandoned_indexes(ledger, target);
    if (unbuilt == nullptr && is_all_loaded(ledger, id)) {
        (void)end_import(ledger, id, nullptr, nullptr, nullptr);
    } else {
        (void)end_import(ledger, id, kCancelled, unpack_sql_state(ERRCODE_QUERY_CANCELED),
                         unbuilt != nullptr ? psprintf("%s; %s", kCancelMessage, unbuilt) : kCancelMessage);
    }
    return unbuilt;
}

namespace {

void fail_members(const Ledger *ledger, int64 batch_id, const char *sqlstate, const char *error) {
    int count;
    const BatchMember *members = read_batch(ledger, batch_id, &count);

    for (int i = 0; i < count; i++) {
        if (is_open_status(members[i].status)) {
            release_lock_beside(loading_lock(members[i].target_oid)); /* should this process have it */
            (void)end_abandoned(ledger, members[i].id, members[i].target_oid, kFailed, sqlstate, error);
        }
    }
}

/* A leader that is about to begin waits for the rows, or we for it; one that has begun cancels the import itself. */
void end_requested(const Ledger *ledger, const CancelRequest *request) {
    int count;

    lock_batch(ledger, request->batch_id);
    const CancelRequest *requests = cancel_requests_of_batch(ledger, request->batch_id, &count);
    for (int i = 0; i < count && !lock_is_held(leader_lock(ledger->files, request->batch_id)); i++) {
        if (requests[i].id == request->id) {
            ereport(LOG, (errmsg("import " INT64_FORMAT " was cancelled, and its leader has gone", request->id)));
            (void)end_cancelled(ledger, request->id, target_of_import(ledger, request->id));
        }
    }
}

ErrorData *try_to_end(Oid files, const Identity *identity, const CancelRequest *request) {
    const MemoryContext context = CurrentMemoryContext;
    const CancelHold hold = current_hold();
    ErrorData *volatile error = nullptr;

    PG_TRY();
    {
        note_patiently(identity, "end an import that was cancelled", [=]() {
            Ledger ledger;

            if (reopen_ledger(files, &ledger)) {
                end_requested(&ledger, request);
            }
        });
    }
    PG_CATCH();
    { error = abort_transaction(context, hold); }
    PG_END_TRY();
    return error;
}

} // namespace

void fail_abandoned_batch(const Identity *identity, Oid files, int64 batch_id, int sqlerrcode, const char *error) {
    begin_risky_step(identity, files, RiskyStep::IndexingAll, batch_id);
    note_patiently(identity, "write the end of an import that nobody leads", [=]() {
        Ledger ledger;

        if (reopen_ledger(files, &ledger)) {
            fail_members(&ledger, batch_id, unpack_sql_state(sqlerrcode), error);
        }
    });
    end_risky_step();
}

void end_cancelled_imports(Oid files, const Identity *identity) {
    const MemoryContext context = CurrentMemoryContext;
    CancelRequest *requests = nullptr;
    int count = 0;

    note_patiently(identity, "look for imports that were cancelled", [&]() {
        Ledger ledger;

        if (reopen_ledger(files, &ledger)) {
            const MemoryContext transaction_context = MemoryContextSwitchTo(context);
            requests = cancel_requests(&ledger, &count);
            MemoryContextSwitchTo(transaction_context);
        }
    });
    for (int i = 0; i < count; i++) {
        begin_risky_step(identity, files, RiskyStep::IndexingAll, requests[i].batch_id);
        const ErrorData *error = try_to_end(files, identity, &requests[i]);
        end_risky_step();
        if (error != nullptr) {
            ereport(LOG, (errcode(error->sqlerrcode),
                          errmsg("could not end import " INT64_FORMAT ", which was cancelled: %s", requests[i].id,
                                 show_message(error->message))));
        }
    }
}

} // namespace movielens_ingest::pg
