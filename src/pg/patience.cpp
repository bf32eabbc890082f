#include "pg/patience.hpp"

#include "pg/error_text.hpp"
#include "pg/subtransaction.hpp"

namespace movielens_ingest::pg {

namespace {

ErrorData *try_once(void (*work)(void *), void *argument, MemoryContext context) {
    ErrorData *volatile error = nullptr;
    const CancelHold hold = current_hold();

    PG_TRY();
    { work(argument); }
    PG_CATCH();
    { error = abort_transaction(context, hold); }
    PG_END_TRY();
    return error;
}

} // namespace

void run_patiently(const char *what, void (*work)(void *), void *argument) {
    const MemoryContext caller = CurrentMemoryContext;
    const MemoryContext context = AllocSetContextCreate(caller, "movielens_ingest patience", ALLOCSET_SMALL_SIZES);

    for (;;) {
        MemoryContextSwitchTo(caller);
        ErrorData *error = try_once(work, argument, context);
        if (error == nullptr) {
            break;
        }
        if (!may_pass(error)) {
            ReThrowError(error);
        }
        log_trouble(what, error);
        MemoryContextReset(context);
        rest(kRest);
    }
    MemoryContextSwitchTo(caller);
    MemoryContextDelete(context);
}

void log_trouble(const char *what, const ErrorData *error) {
    constexpr int kInterval = 60 * 1000; /* milliseconds */
    static TimestampTz logged = 0;
    static int sqlerrcode = 0;
    const TimestampTz now = GetCurrentTimestamp();

    if (error->sqlerrcode == sqlerrcode && !TimestampDifferenceExceeds(logged, now, kInterval)) {
        return;
    }
    logged = now;
    sqlerrcode = error->sqlerrcode;
    ereport(LOG, (errcode(error->sqlerrcode), errmsg("could not %s: %s", what, show_message(error->message)),
                  errdetail("It is tried again until it succeeds.")));
}

void rest(long milliseconds) {
    const TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), milliseconds);

    for (;;) {
        CHECK_FOR_INTERRUPTS();
        const long left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
        if (left <= 0) {
            break;
        }
        (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, left, PG_WAIT_EXTENSION);
        ResetLatch(MyLatch);
    }
}

} // namespace movielens_ingest::pg
