/*
 * cancel_watch.hpp - ml_cancel() means the import, whatever user code does with the cancel of a statement.
 *
 * A function can catch query_canceled and go on, and a signal can come just before what it was for. So a process that
 * is about to run user code, or something long, watches the import's state in shared memory: it cancels itself once a
 * second while a cancel stands, and ends itself when that has been in vain for a while. No function can catch that.
 */
#pragma once

#include "pg/pg.hpp"
#include "pg/shared_batch.hpp"

namespace movielens_ingest::pg {

/* What may come of it in the end. */
enum class WatchEnd {
    Cancel,    /* it runs no user code */
    Terminate, /* it may run some */
};

/* Until end_watch(). seen: so many cancels of the import have been obeyed before; see cancels_of(). */
void begin_watch(SharedBatch *batch, int import, int seen, WatchEnd end);
/* Also in a PG_CATCH. A cancel of the watch's own that has come too late is forgotten. */
void end_watch();

/* Raises the error of a cancel if one stands, also when user code has caught it before. Does nothing without a watch.
 */
void obey_watch();

} // namespace movielens_ingest::pg
