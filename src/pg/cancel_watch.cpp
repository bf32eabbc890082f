#include "pg/cancel_watch.hpp"

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr int kInterval = 1000; /* milliseconds */
constexpr int kPatience = 10;   /* so many of them */

/* What the handler of a signal reads: in shared memory, and null without a watch. */
const volatile int *volatile watched = nullptr;
volatile int seen_before;
volatile int in_vain; /* cancels */
volatile bool may_terminate;
TimeoutId timeout;

bool is_cancelled() { return watched != nullptr && *watched != seen_before; }

/* In the handler of SIGALRM: what StatementCancelHandler and die do. */
void look() {
    if (!is_cancelled()) {
        return;
    }
    if (may_terminate && in_vain >= kPatience) {
        ProcDiePending = true;
    } else {
        QueryCancelPending = true;
    }
    in_vain = in_vain + 1;
    InterruptPending = true;
    SetLatch(MyLatch);
}

/* The segment is unmapped later in the exit. */
void stop_watching(int, Datum) { watched = nullptr; }

} // namespace

void begin_watch(SharedBatch *batch, int import, int seen, WatchEnd end) {
    static bool registered = false;

    if (!registered) {
        timeout = RegisterTimeout(USER_TIMEOUT, look);
        before_shmem_exit(stop_watching, Datum(0));
        registered = true;
    }
    seen_before = seen;
    in_vain = 0;
    may_terminate = end == WatchEnd::Terminate;
    watched = &batch->imports[import].cancels;
    enable_timeout_every(timeout, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), kInterval), kInterval);
}

void end_watch() {
    if (watched == nullptr) {
        return;
    }
    watched = nullptr;
    disable_timeout(timeout, false);
    if (in_vain > 0) {
        QueryCancelPending = false;
    }
}

void obey_watch() {
    if (is_cancelled()) {
        QueryCancelPending = true;
        InterruptPending = true;
        CHECK_FOR_INTERRUPTS();
    }
}

} // namespace movielens_ingest::pg
