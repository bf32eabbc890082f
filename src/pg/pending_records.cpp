#include "pg/pending_records.hpp"

#include "core/error_fate.hpp"
#include "pg/background_process.hpp"
#include "pg/cancel_watch.hpp"
#include "pg/chunk_attempt.hpp"
#include "pg/error_text.hpp"
#include "pg/import_lock.hpp"
#include "pg/pending_writer.hpp"
#include "pg/pg.hpp"
#include "pg/progress.hpp"
#include "pg/referenced_keys.hpp"
#include "pg/reject_limit.hpp"
#include "pg/risky_step.hpp"
#include "pg/session.hpp"
#include "pg/settings.hpp"
#include "pg/shared_chunks.hpp"
#include "pg/shared_progress.hpp"
#include "pg/subtransaction.hpp"

namespace movielens_ingest::pg {

namespace {

/*
 * A transaction has the rows, takes their rejects away and counts them anew: so each record is in once, or refused,
 * whenever the server crashes.
 */
ErrorData *try_part(Loader *leader, int index, PendingPart *part) {
    const MemoryContext context = CurrentMemoryContext;
    const CancelHold hold = current_hold();
    ErrorData *volatile error = nullptr;

    PG_TRY();
    {
        begin_watch(leader->shared, index, 0, WatchEnd::Terminate);
        begin_transaction(&leader->identity);
        const int guc_level = NewGUCNestLevel();
        obey_lock_timeout();
        set_constraints_immediate();
        write_pending(leader, import_of(leader, index), part);
        AtEOXact_GUC(true, guc_level);
        obey_watch();
        commit_transaction();
        report_chunk_ended();
    }
    PG_CATCH();
    {
        end_watch();
        error = abort_transaction(context, hold);
    }
    PG_END_TRY();
    end_watch();
    return error;
}

/* False: the import was stopped, or is to fail. */
bool load_part(Loader *leader, int index, PendingPart *part, const ErrorData **last) {
    const Import *import = import_of(leader, index);

    for (int attempt = 1;; attempt++) {
        if (import_is_stopped(leader->shared, index)) {
            return false;
        }
        PendingPart tried = *part; /* the commit may be what fails */
        ErrorData *error = try_part(leader, index, &tried);
        keep_locks(leader, index);
        if (error == nullptr) {
            *part = tried;
            return true;
        }
        const core::ErrorFate fate = core::error_fate(sqlstate_of(error));
        const bool again = fate == core::ErrorFate::Retry || fate == core::ErrorFate::RetryAlone;
        if (is_cancel(error)) {
            ReThrowError(error);
        }
        if (import_is_cancelled(leader->shared, index)) {
            return false; /* user code may have made another error of it */
        }
        ereport(LOG, (errcode(error->sqlerrcode),
                      errmsg("pending records of import " INT64_FORMAT " failed in attempt %d: %s", import->id, attempt,
                             show_message(error->message))));
        if (!again || attempt > import->options.max_retries) {
            *last = error;
            return false;
        }
        if (!pause(leader, index, retry_pause(attempt))) {
            return false;
        }
    }
}

/* The same. */
bool load_round(Loader *leader, int index, int *parts, int64 *gone, const ErrorData **error) {
    PendingPart part = {PG_INT64_MAX, 0, 0};

    *parts = 0;
    *gone = 0;
    do {
        if (!load_part(leader, index, &part, error)) {
            return false;
        }
        *parts += part.count > 0 ? 1 : 0;
        *gone += part.gone;
        require_postmaster();
        leader->look_around(leader);
        CHECK_FOR_INTERRUPTS();
    } while (part.count > 0);
    return true;
}

/* Those that are left are refused. */
void end_rounds(Loader *leader, const Import *import) {
    begin_transaction(&leader->identity);
    const Refused refused = read_refused(&leader->ledger, import->id);
    if (refused.first.why.sqlerrcode != 0) {
        require_import_goes_on(import, &refused.first, refused.count);
    }
    close_pending(&leader->ledger, import->id);
    commit_transaction();
}

/* They run code of a user's, as a chunk does: what was in two crashes has a third one alone. */
bool begin_step(Loader *leader, const Import *import) {
    const int crashes = crashes_in_step(leader, RiskyStep::Pending, import->id);
    const bool suspect = crashes >= kCrashesBeforeAlone;

    if (crashes >= kMostCrashes) {
        ereport(ERROR, (errcode(ERRCODE_CRASH_SHUTDOWN),
                        errmsg("the server crashed %d times while records that wait for others of their table were "
                               "being loaded",
                               crashes)));
    }
    if (suspect) {
        begin_transaction(&leader->identity);
        hold_lock(suspect_lock());
        commit_transaction();
    }
    begin_risky_step(leader, RiskyStep::Pending, import->id);
    return suspect;
}

void end_step(bool suspect) {
    end_risky_step();
    if (suspect) {
        release_lock(suspect_lock());
    }
}

} // namespace

/*
 * A part is tried as a whole, so that records which reference each other in a circle go in if they are in one part; and
 * parts from the end of the file to its beginning, where the parents stand of children that come first. Memory does not
 * grow with the file: it is that of a part.
 */
bool load_pending_records(Loader *leader, int index, const ErrorData **error) {
    const Import *import = import_of(leader, index);
    int parts;
    int64 gone;

    *error = nullptr;
    begin_transaction(&leader->identity);
    const int64 pending = count_pending(&leader->ledger, import->id);
    commit_transaction();
    if (pending == 0) {
        return true;
    }
    give_up_referenced_keys();
    report_activity("movielens_ingest: loading the records of import " INT64_FORMAT " that wait for others of %s",
                    import->id, import->target);
    const bool suspect = begin_step(leader, import);
    take_left_chunk(leader->shared, index, 0); /* who cancels the import cancels this process */
    bool stopped;
    do {
        stopped = !load_round(leader, index, &parts, &gone, error);
    } while (!stopped && gone > 0 && parts > 1);
    const ChunkEnd end = {ChunkEnd::How::Left, 0, 0, 0, 0, 0};
    finish_chunk(leader->shared, 0, &end);
    end_step(suspect);
    report_idle();
    if (stopped) {
        return false;
    }
    end_rounds(leader, import);
    settle_shared_pending(leader->shared, index);
    return true;
}

} // namespace movielens_ingest::pg
