#include "pg/deferred_indexes.hpp"

#include "pg/background_process.hpp"
#include "pg/cancel_watch.hpp"
#include "pg/chunk_attempt.hpp"
#include "pg/error_text.hpp"
#include "pg/import_lock.hpp"
#include "pg/planned_insert.hpp"
#include "pg/process_permit.hpp"
#include "pg/progress.hpp"
#include "pg/risky_step.hpp"
#include "pg/session.hpp"
#include "pg/settings.hpp"
#include "pg/shared_progress.hpp"
#include "pg/subscribed_table.hpp"
#include "pg/subtransaction.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr int64 kLeastFileSize = 1024 * 1024; /* bytes: below, a build costs more than it saves */
constexpr int64 kMostBytes = BLCKSZ / 4;      /* of an entry: a btree's is limited to a third of a page */
constexpr int kLookLate = 10;    /* times deadlock_timeout: a build's wait is long when it looks for a deadlock */
constexpr int kMostHelpers = 64; /* of one build */
constexpr BlockNumber kMostBlocks = 1024; /* of dead rows to look through while the table is locked */

bool is_wanted(const Import *import) {
    switch (defer_setting()) {
    case DeferSetting::Off:
        return false;
    case DeferSetting::On:
        return true;
    default:
        return import->file.size >= kLeastFileSize;
    }
}

/* The right to REINDEX. Must be asked before a lock that shuts others out is taken, and again with it. */
bool may_lock(Oid target) { return get_rel_relkind(target) == RELKIND_RELATION && may_maintain_table(target); }

/* Triggers of the user's own may look for rows of the table by an index. */
bool has_trigger(Relation target) {
    const TriggerDesc *triggers = target->trigdesc;

    for (int i = 0; triggers != nullptr && i < triggers->numtriggers; i++) {
        if (RI_FKey_trigger_type(triggers->triggers[i].tgfoid) == RI_TRIGGER_NONE) {
            return true;
        }
    }
    return false;
}

bool is_made_of_others(Oid type) { return type == RECORDOID || (IsPolymorphicType(type) && type != ANYENUMOID); }

/*
 * No row can be refused by it, as one that is too long for an index is refused when the index is maintained
 * (_bt_check_third_page), or one for which an expression raises an error: a build would find it when it is in.
 */
bool takes_any_row(Relation index) {
    const TupleDesc desc = RelationGetDescr(index);
    int64 bytes = 0;

    for (int i = 0; i < desc->natts; i++) {
        const Form_pg_attribute column = TupleDescAttr(desc, i);
        const int32 most = column->attlen > 0 ? column->attlen : type_maximum_size(column->atttypid, column->atttypmod);

        if (index->rd_index->indkey.values[i] == 0 || most < 0) {
            return false;
        }
        bytes += MAXALIGN(most);
    }
    for (int i = 0; i < index->rd_index->indnkeyatts; i++) {
        /* The user's own operators, or those of what the value is made of. */
        if (index->rd_opfamily[i] >= FirstNormalObjectId || is_made_of_others(index->rd_opcintype[i])) {
            return false;
        }
    }
    return bytes <= kMostBytes && heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, nullptr);
}

/*
 * An index that enforces something is never put off; a clustered one must be valid (index_set_state_flags), and one
 * that is attached to a partitioned index makes that valid or not.
 */
bool can_be_deferred(Relation index) {
    const Form_pg_index form = index->rd_index;

    return (index->rd_rel->relam == BTREE_AM_OID || index->rd_rel->relam == HASH_AM_OID) && form->indislive &&
           form->indisready && form->indisvalid && !form->indisunique && !form->indisexclusion &&
           !form->indisclustered && !form->indisreplident && !index->rd_rel->relispartition && takes_any_row(index);
}

/* Those that nobody has locked, who may have locked the index alone; ours are released again, or kept. */
List *deferrable_indexes(Relation target, LOCKMODE lock, LOCKMODE released) {
    List *found = NIL;
    ListCell *cell;

    if (target->rd_rel->relam != HEAP_TABLE_AM_OID || has_trigger(target) || is_kept_elsewhere(target) ||
        is_subscribed(target)) {
        return NIL;
    }
    foreach (cell, RelationGetIndexList(target)) {
        const Oid oid = lfirst_oid(cell);
        if (!ConditionalLockRelationOid(oid, lock)) {
            continue;
        }
        Relation index = index_open(oid, NoLock);
        if (can_be_deferred(index)) {
            found = lappend_oid(found, oid);
        }
        index_close(index, released);
    }
    return found;
}

/* With the table locked. Rows that only older snapshots see do not matter: the build indexes them, as any build does.
 */
bool is_empty(Relation table) {
    if (RelationGetNumberOfBlocks(table) > kMostBlocks) {
        return false;
    }
    Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
    TableScanDesc scan = begin_scan(table, snapshot);
    const bool empty = heap_getnext(scan, ForwardScanDirection) == nullptr;
    table_endscan(scan);
    UnregisterSnapshot(snapshot);
    return empty;
}

void defer_index(Relation table, Oid index_oid) {
    Relation catalog = table_open(IndexRelationId, RowExclusiveLock);
    Relation index = index_open(index_oid, NoLock);
    HeapTuple tuple = SearchSysCacheCopy1(INDEXRELID, ObjectIdGetDatum(index_oid));

    if (!HeapTupleIsValid(tuple)) {
        elog(ERROR, "cache lookup failed for index %u", index_oid);
    }
    /* What a serializable transaction has read by it must be found where others write (as in index_drop). */
    TransferPredicateLocksToHeapRelation(index);
    auto *form = reinterpret_cast<Form_pg_index>(GETSTRUCT(tuple));
    form->indisvalid = false;
    form->indisready = false;
    CatalogTupleUpdate(catalog, &tuple->t_self, tuple);
    CacheInvalidateRelcache(table);
    index_close(index, NoLock);
    table_close(catalog, RowExclusiveLock);
}

/* Nobody is made to wait: neither by us, nor by being in a queue behind us. */
bool has_deferrable_indexes(Oid target) {
    if (!may_lock(target) || !ConditionalLockRelationOid(target, AccessShareLock)) {
        return false;
    }
    Relation table = try_relation_open(target, NoLock);
    const bool found =
        table != nullptr && may_lock(target) && deferrable_indexes(table, AccessShareLock, AccessShareLock) != NIL;
    if (table != nullptr) {
        table_close(table, NoLock);
    }
    UnlockRelationOid(target, AccessShareLock); /* another import that looks too would not get its lock */
    return found;
}

void defer_indexes_of(const Ledger *ledger, Relation table) {
    ListCell *cell;

    if (!is_empty(table)) {
        return;
    }
    foreach (cell, deferrable_indexes(table, AccessExclusiveLock, NoLock)) {
        defer_index(table, lfirst_oid(cell));
        note_deferred_index(ledger, RelationGetRelid(table), lfirst_oid(cell));
    }
}

/* The index may have been dropped meanwhile, or its table, or it was built by REINDEX. */
bool is_unbuilt(Oid target, Oid index) {
    HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));

    if (!HeapTupleIsValid(tuple)) {
        return false;
    }
    const auto *form = reinterpret_cast<Form_pg_index>(GETSTRUCT(tuple));
    const bool unbuilt = form->indrelid == target && form->indislive && !form->indisready;
    ReleaseSysCache(tuple);
    return unbuilt;
}

struct Build {
    const Ledger *ledger;
    const Identity *identity;
    Oid target;
    Oid index;
};

bool is_btree(Oid index) {
    HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(index));
    const bool btree =
        HeapTupleIsValid(tuple) && reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple))->relam == BTREE_AM_OID;

    if (HeapTupleIsValid(tuple)) {
        ReleaseSysCache(tuple);
    }
    return btree;
}

/*
 * The memory that sorting a btree's entries takes at most: 32 MB for each process, fewer than which core gives none
 * (plan_create_index_workers), and more for a table so large that merging would take many runs. In more memory than the
 * processor's cache holds, entries of the same key are looked up in it one by one to compare their places, which costs
 * more than the merging of smaller runs.
 */
void limit_sort_memory(Oid target, Oid index) {
    constexpr int64 kEach = 32 * 1024; /* kB */
    constexpr int64 kMostRuns = 64;
    const Relation table = table_open(target, NoLock);
    const int64 size = static_cast<int64>(RelationGetNumberOfBlocks(table)) * (BLCKSZ / 1024);
    const int64 enough = Max(kEach * (1 + max_parallel_maintenance_workers), size / kMostRuns);

    table_close(table, NoLock);
    if (is_btree(index) && enough < maintenance_work_mem) {
        set_locally("maintenance_work_mem", psprintf(INT64_FORMAT, enough));
    }
}

/* The parallel workers of a build are processes of the import too; only a btree has any. */
int take_helpers(const Build *build, ProcessPermit *permits) {
    const int most = Min(is_btree(build->index) ? max_parallel_maintenance_workers : 0, kMostHelpers);
    const int helpers =
        take_permits(build->identity->authenticated_user, build->identity->process_limit, most, permits);

    set_locally("max_parallel_maintenance_workers", psprintf("%d", helpers));
    return helpers;
}

/*
 * Whose right this needs was asked when the index was put off. It runs no code of a user's, and if it did,
 * reindex_index() would run it as the owner of the table in a security-restricted operation.
 */
void build_index(void *argument) {
    const auto *build = static_cast<Build *>(argument);
    ProcessPermit permits[kMostHelpers];
    ReindexParams params;

    /* Before anything else, as reindex_index() takes them. Somebody else may be about to have built it. */
    LockRelationOid(build->target, ShareLock);
    LockRelationOid(build->index, AccessExclusiveLock);
    if (!forget_deferred_index(build->ledger, build->index) || !is_unbuilt(build->target, build->index)) {
        return;
    }
    memset(&params, 0, sizeof(params));
    params.options = REINDEXOPT_REPORT_PROGRESS | REINDEXOPT_MISSING_OK;
    const int guc_level = NewGUCNestLevel();
    const int helpers = take_helpers(build, permits);
    limit_sort_memory(build->target, build->index);
    reindex_one(build->index, get_rel_persistence(build->index), &params);
    for (int i = 0; i < helpers; i++) {
        give_back_permit(&permits[i], PermitLife::Transaction);
    }
    AtEOXact_GUC(true, guc_level);
}

/*
 * One who has read the table has its index locked too, and may go on to write: that would be a deadlock with one who
 * has ShareLock and waits for the index. So all are waited for at once, before either is locked. Only who has the index
 * alone, as ALTER INDEX, is waited for later.
 *
 * Without a snapshot the wait for the lock holds up no CREATE INDEX CONCURRENTLY that waits for older snapshots with
 * that lock in hand. It may wait for one of somebody who waits for us: he is to find the deadlock, so we look late.
 */
void lock_for_build(const Build *build) {
    PopActiveSnapshot();
    LockRelationOid(build->target, AccessExclusiveLock);
    LockRelationOid(build->target, ShareLock);
    (void)ConditionalLockRelationOid(build->index, AccessExclusiveLock);
    UnlockRelationOid(build->target, AccessExclusiveLock);
    PushActiveSnapshot(GetTransactionSnapshot());
}

ErrorData *try_build(Loader *leader, Build *build) {
    const MemoryContext context = CurrentMemoryContext;
    const CancelHold hold = current_hold();
    ErrorData *volatile error = nullptr;

    PG_TRY();
    {
        begin_transaction(&leader->identity);
        obey_watch();
        const int guc_level = NewGUCNestLevel();
        set_locally("deadlock_timeout", psprintf(INT64_FORMAT, Min(int64{DeadlockTimeout} * kLookLate, INT_MAX)));
        lock_for_build(build);
        build_index(build);
        AtEOXact_GUC(true, guc_level);
        commit_transaction();
    }
    PG_CATCH();
    { error = abort_transaction(context, hold); }
    PG_END_TRY();
    MemoryContextSwitchTo(context);
    return error;
}

bool crashes_too_often(const DeferredIndex *index) { return index->crashes >= kMostCrashes; }

const char *const kCrashes = "the server crashed several times while it was being built";

ErrorData *crash_error() {
    auto *error = static_cast<ErrorData *>(palloc0(sizeof(ErrorData)));

    error->sqlerrcode = ERRCODE_CRASH_SHUTDOWN;
    error->message = pstrdup(kCrashes);
    return error;
}

/* As a chunk: what may pass is tried again, with growing pauses. */
ErrorData *build_with_retries(Loader *leader, int import, Build *build, const char *name) {
    const int max_retries = import_of(leader, import)->options.max_retries;

    for (int attempts = 1;; attempts++) {
        ErrorData *error = try_build(leader, build);
        if (error == nullptr || attempts > max_retries || !may_pass(error)) {
            return error;
        }
        ereport(LOG, (errcode(error->sqlerrcode), errmsg("building index %s failed in attempt %d: %s", name, attempts,
                                                         show_message(error->message))));
        if (sleep_unless_stopped(leader->shared, import, retry_pause(attempts))) {
            return error;
        }
    }
}

/* One that was in two crashes has a third one alone, but for chunks that were in none: as a chunk. */
ErrorData *build_counted(Loader *leader, int import, Build *build, const DeferredIndex *index) {
    const bool suspect = index->crashes >= kCrashesBeforeAlone;

    if (suspect) {
        begin_transaction(&leader->identity);
        hold_lock(suspect_lock());
        commit_transaction();
    }
    begin_risky_step(leader, RiskyStep::Indexing, static_cast<int64>(build->index));
    ErrorData *error = build_with_retries(leader, import, build, index->name);
    end_risky_step();
    if (suspect) {
        release_lock(suspect_lock());
    }
    return error;
}

const char *build_failure(const DeferredIndex *index, const ErrorData *error) {
    return psprintf("could not build index %s: %s", index->name, error->message);
}

} // namespace

void defer_indexes(Loader *leader, const Import *import) {
    const Oid target = import->target_oid;

    if (!is_wanted(import)) {
        return;
    }
    begin_transaction(&leader->identity);
    if (has_deferrable_indexes(target) && ConditionalLockRelationOid(target, AccessExclusiveLock)) {
        Relation table = try_relation_open(target, NoLock);
        if (table != nullptr) {
            if (may_lock(target)) {
                defer_indexes_of(&leader->ledger, table);
            }
            table_close(table, NoLock);
        }
    }
    commit_transaction();
}

ErrorData *build_indexes(Loader *leader, int index, const BatchMember *import, bool same_batch, int seen) {
    const MemoryContext context = CurrentMemoryContext;
    const LOCKTAG loading = loading_lock(import->target_oid);
    DeferredIndex *indexes = nullptr;
    ErrorData *failure = nullptr;
    Ledger ledger;
    int count = 0;

    if (same_batch) {
        return nullptr;
    }
    begin_transaction(&leader->identity);
    /* In this order: of two that end at the same time, one at least sees that the other does not load any more. */
    release_lock_beside(loading);
    if (!lock_is_held(loading) && reopen_ledger(leader->ledger.files, &ledger)) {
        const MemoryContext transaction_context = MemoryContextSwitchTo(context);
        indexes = deferred_indexes(&ledger, import->target_oid, &count);
        MemoryContextSwitchTo(transaction_context);
    }
    commit_transaction();
    if (count > 0) {
        set_shared_phase(leader->shared, index, Phase::Indexing);
    }
    for (int i = 0; i < count && (failure == nullptr || !is_cancel(failure)); i++) {
        Build build = {&leader->ledger, &leader->identity, import->target_oid, indexes[i].oid};

        report_activity("movielens_ingest: building index %s after import " INT64_FORMAT, indexes[i].name, import->id);
        /* A cancel since the phase is another one signals us; for one before there was nobody to be signalled. */
        begin_watch(leader->shared, index, seen, WatchEnd::Cancel);
        ErrorData *error =
            crashes_too_often(&indexes[i]) ? crash_error() : build_counted(leader, index, &build, &indexes[i]);
        end_watch();
        if (error != nullptr && (failure == nullptr || is_cancel(error))) {
            error->message = const_cast<char *>(build_failure(&indexes[i], error));
            failure = error;
        }
    }
    return failure;
}

const char *build_abandoned_indexes(const Ledger *ledger, Oid target) {
    const Identity identity = current_identity();
    const char *failure = nullptr;
    int count;

    if (lock_is_held(loading_lock(target))) {
        return nullptr;
    }
    const DeferredIndex *indexes = deferred_indexes(ledger, target, &count);
    for (int i = 0; i < count; i++) {
        Build build = {ledger, &identity, target, indexes[i].oid};

        if (crashes_too_often(&indexes[i])) {
            failure = psprintf("could not build index %s: %s", indexes[i].name, kCrashes);
            continue;
        }
        /* While cancels are held, lock_timeout could not end the wait for a lock either. */
        const CancelHold hold = allow_cancels();
        ErrorData *error = try_in_subtransaction(build_index, &build);
        put_back(hold);

        /* Where they were held, the end of the import must be noted all the same. */
        if (error != nullptr && is_cancel(error) && hold.count == 0) {
            ReThrowError(error);
        }
        if (error != nullptr && failure == nullptr) {
            failure = build_failure(&indexes[i], error);
        }
    }
    return failure;
}

} // namespace movielens_ingest::pg
