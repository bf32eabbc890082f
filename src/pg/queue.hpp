/*
 * queue.hpp - imports that found no slot of max_worker_processes free wait until a leader ends.
 *
 * Every leader holds the mover's lock, looks at the queue when it ends, and drops that lock only if it finds the queue
 * empty, while it holds the queue's lock. Who puts an import into the queue holds the queue's lock until his commit,
 * and does so only while somebody has the mover's lock. So an import cannot be left behind by leaders that end.
 */
#pragma once

#include "pg/ledger.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/*
 * Makes the batch wait, if some leader is alive that will look at the queue after this transaction has committed. To be
 * called in its pre-commit callback. False: there is none.
 */
bool enqueue_batch(const Ledger *ledger, int64 batch_id);

/*
 * When the server has started: puts every batch of this database into the queue that was begun here and is not led,
 * though its status says so, and whose files are there. Returns the OID of uploaded_files, InvalidOid: the extension is
 * not there.
 */
Oid queue_interrupted(const Identity *identity);

/*
 * In a background process: starts batches of the queue, each under its own identity, as far as slots are free. leaving:
 * this process is about to end; if there is no slot for the next one it gets this process's own, and the call does not
 * return.
 */
void move_queue(Oid files, const Identity *identity, bool leaving);

} // namespace movielens_ingest::pg
