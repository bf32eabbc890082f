#include "pg/subtransaction.hpp"

#include "core/error_fate.hpp"
#include "pg/cancel_hold.hpp"
#include "pg/error_text.hpp"

namespace movielens_ingest::pg {

namespace {

/* As PL/pgSQL does it for a block with EXCEPTION (exec_stmt_block). */
ErrorData *run_in_subtransaction(void (*work)(void *), void *argument, bool commit) {
    const MemoryContext context = CurrentMemoryContext;
    const ResourceOwner owner = CurrentResourceOwner;
    const CancelHold hold = current_hold();
    /* What a failed attempt leaves behind goes with it: there may be very many. */
    const MemoryContext work_context =
        AllocSetContextCreate(context, "movielens_ingest subtransaction", ALLOCSET_DEFAULT_SIZES);
    ErrorData *volatile error = nullptr;

    BeginInternalSubTransaction(nullptr);
    MemoryContextSwitchTo(work_context);
    PG_TRY();
    {
        work(argument);
        if (commit) {
            ReleaseCurrentSubTransaction();
        } else {
            RollbackAndReleaseCurrentSubTransaction();
        }
    }
    PG_CATCH();
    {
        put_back(hold);
        MemoryContextSwitchTo(AllocSetContextCreate(context, "movielens_ingest error", ALLOCSET_SMALL_SIZES));
        error = copy_error();
        FlushErrorState();
        RollbackAndReleaseCurrentSubTransaction();
    }
    PG_END_TRY();
    MemoryContextSwitchTo(context);
    MemoryContextDelete(work_context);
    CurrentResourceOwner = owner;
    return error;
}

bool was_interrupted(const ErrorData *error) {
    return error->funcname != nullptr && strcmp(error->funcname, "ProcessInterrupts") == 0;
}

} // namespace

ErrorData *try_in_subtransaction(void (*work)(void *), void *argument) {
    return run_in_subtransaction(work, argument, true);
}

void run_and_undo(void (*work)(void *), void *argument) {
    ErrorData *error = run_in_subtransaction(work, argument, false);

    if (error != nullptr) {
        ReThrowError(error);
    }
}

void free_error(ErrorData *error) { MemoryContextDelete(GetMemoryChunkContext(error)); }

bool is_cancel(const ErrorData *error) { return error->sqlerrcode == ERRCODE_QUERY_CANCELED && was_interrupted(error); }

bool is_lock_timeout(const ErrorData *error) {
    return error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE && was_interrupted(error);
}

bool may_pass(const ErrorData *error) {
    const core::ErrorFate fate = core::error_fate(sqlstate_of(error));

    return fate == core::ErrorFate::Retry || fate == core::ErrorFate::RetryAlone;
}

const char *sqlstate_of(const ErrorData *error) { return unpack_sql_state(error->sqlerrcode); }

} // namespace movielens_ingest::pg
