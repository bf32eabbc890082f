/*
 * queue.hpp - imports that found no slot of max_worker_processes free, or no permit (process_permit.hpp), wait until
 * they do.
 *
 * Every leader holds the mover's lock, looks at the queue when it ends, and drops that lock only if it finds the queue
 * empty, while it holds the queue's lock. Who puts an import into the queue holds the queue's lock until his commit,
 * and does so only while somebody has the mover's lock. So an import cannot be left behind by leaders that end.
 *
 * Leaders that load look at the queue too, but not while they are in user code, which may never return. So as long as
 * something is queued that waits for permits, one process that loads nothing has the tender's lock, and looks: a leader
 * that ends stays for it, or who queues has one started, if there is a slot.
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
 * In a background process: starts batches of the queue, each under its own identity, as far as there are slots and
 * permits: the next is the oldest of the role whose imports have the fewest processes.
 */
void move_queue(Oid files, const Identity *identity);

/*
 * The same by a process that is about to end, when it has given back its permit. If there is no slot for the next one,
 * that gets this process's own, and the call does not return. If its role, or all imports together, have as many
 * processes as they may, and no other process of this database looks at the queue, it waits until that has changed.
 */
void leave_queue(Oid files, const Identity *identity);

} // namespace movielens_ingest::pg
