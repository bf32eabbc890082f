/*
 * shared_progress.hpp - how far the imports of a batch are, from its shared memory, for whoever asks.
 */
#pragma once

#include "pg/pg.hpp"
#include "pg/shared_batch.hpp"

namespace movielens_ingest::pg {

/* Leader: what the ledger says of it already. */
void set_shared_progress(SharedBatch *batch, int import, const Progress *progress);
/* Leader: the records that were pending are in, or refused. */
void settle_shared_pending(SharedBatch *batch, int import);
void set_shared_phase(SharedBatch *batch, int import, Phase phase);

/* Another process looks at a batch, or asks for its end, while it stands between these two. Null: it is gone. */
struct BatchView {
    dsm_segment *segment; /* null: this process had it mapped already */
    SharedBatch *batch;
};
BatchView open_batch_view(dsm_handle handle, Oid files, int64 batch_id, int leader_pid);
void close_batch_view(const BatchView *view);

/* The index of an import, -1: it is not in the batch. */
int shared_index(SharedBatch *batch, int64 id);
Progress read_progress(SharedBatch *batch, int import);
/* Notes where each import is now, once in a while, so that rates can be told. */
void sample_progress(SharedBatch *batch);

} // namespace movielens_ingest::pg
