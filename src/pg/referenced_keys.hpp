/*
 * referenced_keys.hpp - which keys have a referenced row that stays until the chunk commits.
 *
 * The guarantee is that of the trigger (RI_FKey_check): a row with the key is there for a snapshot taken now, and can
 * be neither deleted nor given another key before our commit. The trigger locks each row FOR KEY SHARE. For millions of
 * records that writes a lock record for each key in each chunk, and breeds multixacts as soon as two chunks lock the
 * same row. So this process takes SHARE on the referenced table, keeps it from chunk to chunk, and remembers the keys.
 *
 * Why that is as good, for a record whose key k was looked up, or remembered, under SHARE:
 *
 * - SHARE keeps out every writer of the table, for each takes at least ROW EXCLUSIVE first and keeps it until its
 *   transaction, be it prepared, has ended for others' snapshots. The query's snapshot is taken behind the lock: it
 *   sees a delete or a change of the key that has committed, and there is none in progress. So a row that it sees is
 *   live, and its key needs no lock of its own.
 * - A delete, an update of the key or a TRUNCATE ... CASCADE that comes later waits until the lock is given up, which
 *   happens behind the commit of the chunk. Its own action then looks for referencing rows with a snapshot of its own
 *   (ri_PerformCheck), and finds ours; TRUNCATE takes the referencing table too.
 * - The lock is the session's: a commit keeps it (ProcReleaseLocks), so there is no gap between two chunks in which a
 *   remembered key could go. An abort drops it, and then the keys are forgotten.
 * - A row that another transaction inserts cannot be seen before its commit, as with COPY, and not at all while we have
 *   the lock. So where all keys of the table were read, one that is not among them is not there.
 * - Only this transaction itself can write to the table meanwhile: a volatile function in a domain, say. It then has a
 *   lock that shows it (written_here), and nothing is remembered. The writers run no other code that may write, and the
 *   look-up does not run in a subtransaction that could be undone while its records stay.
 *
 * An open UPDATE of some other column holds ROW EXCLUSIVE too, and must not stop an import, as it does not stop COPY;
 * and while we wait for SHARE, writers wait behind us. So it is waited for only for a moment, and not each time.
 * Without it the distinct keys of the chunk are locked FOR KEY SHARE, each once; then they are remembered until the
 * chunk ends. So it is for a role that could not LOCK TABLE.
 *
 * Who waits for the table gets it at the end of the chunk: in the queue we stand behind them. Nothing else is waited
 * for between chunks while SHARE is held. Within a chunk it can be, for instance the end of another transaction that
 * has inserted the same unique key; if that one waits for the referenced table, it is a deadlock, and one of both is
 * undone.
 */
#pragma once

#include "pg/foreign_keys.hpp"
#include "pg/key_set.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/*
 * Before the lock on the target is taken: what is remembered serves this target only. Gives it up for another one, and
 * if the lock is not to be had at once: who has it may wait for the referenced table next.
 */
void keep_referenced_keys_for(Oid target);

/* Gives up what is remembered, and the locks: to be called before any sleep or long work. Not within a chunk. */
void give_up_referenced_keys();

/*
 * Which keys of the batch have no referenced row; returns how many. The first call in a transaction settles how it
 * locks. keys: how many foreign keys the target has, which share the memory.
 */
int find_unreferenced(Relation target, const ForeignKey *key, int keys, HeapTuple const *tuples, const KeyBatch *batch,
                      int *unreferenced);

} // namespace movielens_ingest::pg
