#include "pg/referenced_keys.hpp"

#include "pg/pg.hpp"
#include "pg/referenced_query.hpp"
#include "pg/table_share.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr Size kMostMemory = 12 * 1024 * 1024; /* of all keys that are remembered */

/* What is known of a foreign key of the target. */
struct ReferencedKeys {
    Oid constraint;
    Oid referenced;
    LocalTransactionId asked_in; /* the transaction that settled how it locks */
    bool share;                  /* we have SHARE, since before the first key that is remembered */
    bool complete;               /* all keys of the table are known */
    bool too_many;               /* to be read at once */
    uint64 asked;                /* how many keys were looked up so far */
    KeySet *known;
};

/* Outlives transactions. */
struct Memory {
    Oid target;
    MemoryContext context;
    List *keys; /* of ReferencedKeys */
};

Memory memory;

void forget(ReferencedKeys *keys) {
    keys->complete = false;
    empty_key_set(keys->known);
}

void give_up(ReferencedKeys *keys) {
    forget(keys);
    if (keys->share) {
        keys->share = false;
        release_share(keys->referenced);
    }
}

/* A transaction of this process ends. It must not raise an error. */
void end_transaction(XactEvent event, void *) {
    ListCell *cell;

    if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT) {
        return;
    }
    foreach (cell, memory.keys) {
        auto *keys = static_cast<ReferencedKeys *>(lfirst(cell));

        if (event == XACT_EVENT_ABORT) {
            keys->share = false; /* the abort drops it */
        }
        if (!keys->share || written_here(keys->referenced) || share_is_wanted(keys->referenced)) {
            give_up(keys);
        }
    }
}

/*
 * Outside a transaction nothing else would release a lock of the session (see import_lock.hpp): it would stay for as
 * long as the server runs.
 */
void give_up_at_exit(int, Datum) {
    AbortOutOfAnyTransaction();
    give_up_referenced_keys();
    LockReleaseAll(DEFAULT_LOCKMETHOD, true);
}

void remember_for(Oid target) {
    if (memory.context == nullptr) {
        memory.context =
            AllocSetContextCreate(TopMemoryContext, "movielens_ingest referenced keys", ALLOCSET_DEFAULT_SIZES);
        RegisterXactCallback(end_transaction, nullptr);
        before_shmem_exit(give_up_at_exit, Datum(0));
    }
    if (memory.target != target) {
        give_up_referenced_keys();
        memory.keys = NIL;
        memory.target = target;
        MemoryContextReset(memory.context);
    }
}

ReferencedKeys *referenced_keys(Relation target, const ForeignKey *key) {
    ListCell *cell;

    remember_for(RelationGetRelid(target));
    foreach (cell, memory.keys) {
        auto *keys = static_cast<ReferencedKeys *>(lfirst(cell));
        if (keys->constraint == key->constraint) {
            return keys;
        }
    }
    const MemoryContext context = MemoryContextSwitchTo(memory.context);
    auto *keys = static_cast<ReferencedKeys *>(palloc0(sizeof(ReferencedKeys)));
    keys->constraint = key->constraint;
    keys->referenced = key->referenced;
    keys->known = make_key_set(key->integers);
    memory.keys = lappend(memory.keys, keys);
    MemoryContextSwitchTo(context);
    return keys;
}

/*
 * Looking keys up one by one costs about as much as reading a few of the table's pages. Once that much has been spent,
 * the whole table is read: the keys to come are then known, and those that are nowhere are not looked for.
 */
bool reading_all_pays(const ReferencedKeys *keys) {
    constexpr uint64 kKeysPerBlock = 2;
    constexpr BlockNumber kMostBlocks = 8192;

    Relation referenced = table_open(keys->referenced, AccessShareLock);
    const BlockNumber blocks = RelationGetNumberOfBlocks(referenced);
    table_close(referenced, NoLock);
    return blocks <= kMostBlocks && keys->asked >= blocks * kKeysPerBlock;
}

void read_all(ReferencedKeys *keys, const ForeignKey *key, Size most_memory) {
    forget(keys);
    keys->complete = read_all_keys(key, keys->known, most_memory);
    keys->too_many = !keys->complete;
}

/* Learns which of the keys, by their number in the batch, are referenced. */
void look_up(ReferencedKeys *keys, Relation target, const ForeignKey *key, HeapTuple const *tuples,
             const KeyBatch *batch, const int *unknown, int count) {
    KeySet *once = make_key_set(batch->of_integers);
    auto *distinct = static_cast<int *>(palloc_extended(sizeof(int) * static_cast<Size>(count), MCXT_ALLOC_HUGE));
    auto *records = static_cast<int *>(palloc_extended(sizeof(int) * static_cast<Size>(count), MCXT_ALLOC_HUGE));
    int distinct_count = 0;

    for (int i = 0; i < count; i++) {
        if (insert_key(once, batch, unknown[i])) {
            records[distinct_count] = batch->records[unknown[i]];
            distinct[distinct_count++] = unknown[i];
        }
    }
    auto *present = static_cast<bool *>(palloc(sizeof(bool) * static_cast<Size>(distinct_count)));
    const KeyPlaces places = places_in_row(target, key);
    look_up_keys(target, key, &places, tuples, records, distinct_count, keys->share ? RowLock::None : RowLock::KeyShare,
                 present);
    keys->asked += static_cast<uint64>(distinct_count);
    for (int i = 0; i < distinct_count; i++) {
        if (present[i]) {
            (void)insert_key(keys->known, batch, distinct[i]);
        }
    }
}

} // namespace

void keep_referenced_keys_for(Oid target) {
    if (memory.target != target || !ConditionalLockRelationOid(target, RowExclusiveLock)) {
        give_up_referenced_keys();
    }
}

void give_up_referenced_keys() {
    ListCell *cell;

    foreach (cell, memory.keys) {
        give_up(static_cast<ReferencedKeys *>(lfirst(cell)));
    }
}

int find_unreferenced(Relation target, const ForeignKey *key, int key_count, HeapTuple const *tuples,
                      const KeyBatch *batch, int *unreferenced) {
    const Size most_memory = kMostMemory / static_cast<Size>(key_count);
    ReferencedKeys *keys = referenced_keys(target, key);

    Assert(GetCurrentTransactionNestLevel() == 1);
    if (keys->asked_in != local_xid(MyProc)) {
        keys->asked_in = local_xid(MyProc);
        keys->share = keys->share || take_share(keys->referenced);
    }
    const bool written = written_here(keys->referenced);
    if (written || key_set_size(keys->known) > most_memory) {
        forget(keys);
    }
    int count = keys_outside(keys->known, batch, unreferenced);
    if (count > 0 && keys->share && key->integers && !written && !keys->complete && !keys->too_many &&
        reading_all_pays(keys)) {
        read_all(keys, key, most_memory);
        count = keys_outside(keys->known, batch, unreferenced);
    }
    if (count > 0 && !keys->complete) {
        look_up(keys, target, key, tuples, batch, unreferenced, count);
        count = keys_outside(keys->known, batch, unreferenced);
    }
    return count;
}

} // namespace movielens_ingest::pg
