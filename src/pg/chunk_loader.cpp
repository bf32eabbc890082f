#include "pg/chunk_loader.hpp"

#include "core/error_fate.hpp"
#include "pg/background_process.hpp"
#include "pg/chunk_attempt.hpp"
#include "pg/error_text.hpp"
#include "pg/import_lock.hpp"
#include "pg/patience.hpp"
#include "pg/pg.hpp"
#include "pg/progress.hpp"
#include "pg/referenced_keys.hpp"
#include "pg/session.hpp"
#include "pg/shared_chunks.hpp"
#include "pg/subtransaction.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr long kLookAroundInterval = 1000; /* milliseconds */

/*
 * A worker holds the locks of the import that it loads, and of those that cannot begin before: who waits for one of
 * them waits for this process.
 */
void hold_imports(Loader *loader, uint32 wanted) {
    const Oid files = loader->ledger.files;

    for (int i = 0; i < loader->shared->import_count; i++) {
        const LOCKTAG lock = import_lock(files, loader->shared->imports[i].id);

        if ((wanted & (1U << i)) != 0) {
            hold_lock_beside(lock, false);
        } else if ((loader->held & (1U << i)) != 0) {
            release_lock_beside(lock);
        }
    }
    loader->held = wanted;
}

/* What an error of a chunk's transaction, as a whole, means. */
core::ErrorFate fate_of(const Loader *loader, const ErrorData *error) {
    if (is_cancel(error) && loader->slot > 0) {
        return core::ErrorFate::Retry; /* somebody cancelled this worker, not the import */
    }
    if (is_lock_timeout(error)) {
        /* It may have waited for another chunk, for a key or for the end of the table: COPY would not have had to. */
        return core::ErrorFate::RetryAlone;
    }
    const core::ErrorFate fate = core::error_fate(sqlstate_of(error));
    /* Not the fault of one record, or it would have been refused. */
    return fate == core::ErrorFate::Reject ? core::ErrorFate::Fail : fate;
}

/* Notes the error that an attempt ended with. True: the chunk is to be tried again, after a pause. */
bool end_attempt(Loader *loader, int import, const LedgerChunk *chunk, const ErrorData *error, Company company,
                 ChunkEnd *end) {
    const Import *of = loader->imports[import];
    const int64 number = static_cast<int64>(chunk->chunk.number);
    const core::ErrorFate fate = fate_of(loader, error);
    /* The leader takes it up when nothing else of the import runs. */
    const bool put_off = fate == core::ErrorFate::RetryAlone && company == Company::Others;
    /*
     * User code may have made another error of a cancel. And one that was sent because of another import may come while
     * this process has a chunk of this one in hand.
     */
    const bool cancelled =
        import_is_cancelled(loader->shared, import) || (is_cancel(error) && some_import_is_cancelled(loader->shared));
    const int max_retries = fate == core::ErrorFate::Fail && !cancelled ? -1 : of->options.max_retries;

    ereport(LOG, (errcode(error->sqlerrcode),
                  errmsg("chunk " INT64_FORMAT " of import " INT64_FORMAT " failed in attempt %d: %s", number, of->id,
                         chunk->attempts, show_message(error->message)),
                  error->detail != nullptr ? errdetail_internal("%s", show_message(error->detail)) : 0));
    bool pending = false;
    note_patiently(&loader->identity, "note how an attempt at a chunk failed", [&]() {
        pending = fail_attempt(&loader->ledger, of->id, number, unpack_sql_state(error->sqlerrcode), error->message,
                               max_retries, put_off || cancelled);
    });
    forget_attempt();

    end->how = pending ? ChunkEnd::How::Left : ChunkEnd::How::Failed;
    end->retries += pending && !cancelled ? 1 : 0;
    if (fate == core::ErrorFate::Fail) {
        stop_import(loader->shared, import);
    }
    return pending && !put_off && !cancelled;
}

} // namespace

void keep_locks(Loader *loader, int import) {
    const Oid files = loader->ledger.files;

    forget_lock_timeout();
    if (loader->slot == 0) {
        hold_lock(leader_lock(files, loader->shared->id));
        hold_lock_beside(mover_lock(files), true);
        hold_lock(import_lock(files, loader->imports[import]->id));
        hold_lock_beside(loading_lock(loader->imports[import]->target_oid), true);
    } else {
        hold_imports(loader, loader->held);
    }
}

bool pause(Loader *loader, int import, long milliseconds) {
    const TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), milliseconds);

    for (;;) {
        const long rest = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
        if (rest <= 0) {
            return true;
        }
        if (sleep_unless_stopped(loader->shared, import,
                                 loader->look_around != nullptr ? Min(rest, kLookAroundInterval) : rest)) {
            return false;
        }
        if (loader->look_around != nullptr) {
            loader->look_around(loader);
        }
    }
}

const Import *import_of(Loader *loader, int index) {
    if (loader->imports[index] != nullptr) {
        return loader->imports[index];
    }

    bool first = true;
    for (const Import *import : loader->imports) {
        first = first && import == nullptr;
    }
    const MemoryContext context =
        AllocSetContextCreate(TopMemoryContext, "movielens_ingest import", ALLOCSET_DEFAULT_SIZES);
    auto *import = static_cast<Import *>(MemoryContextAllocZero(context, sizeof(Import)));

    begin_transaction(&loader->identity);
    const MemoryContext transaction_context = MemoryContextSwitchTo(context);
    const int64 id = loader->shared->imports[index].id;
    if (!read_import(&loader->ledger, id, import)) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("import " INT64_FORMAT " is not in the ledger any more", id)));
    }
    MemoryContextSwitchTo(transaction_context);
    for (int i = 0; first && i < import->setting_count; i++) {
        adopt_setting(&import->settings[i]);
    }
    commit_transaction();
    loader->imports[index] = import;
    return import;
}

void load_chunk(Loader *loader, int index, int64 number, Company company) {
    const MemoryContext context =
        AllocSetContextCreate(TopMemoryContext, "movielens_ingest chunk", ALLOCSET_DEFAULT_SIZES);
    const Import *import = import_of(loader, index);
    ChunkEnd end = {ChunkEnd::How::Left, 0, 0, 0, 0, 0};
    LedgerChunk chunk;

    /* A signal that came too late was for the chunk before; of this one's import the shared memory tells. */
    QueryCancelPending = QueryCancelPending && loader->slot == 0;
    bool again = !import_is_stopped(loader->shared, index); /* it may have been since the chunk was taken */
    if (!again) {
        withdraw_attempt();
    }
    while (again && begin_attempt_at(loader, import, number, company, &chunk)) {
        report_activity("movielens_ingest: loading chunk " INT64_FORMAT " of import " INT64_FORMAT " into %s", number,
                        import->id, import->target);
        report_live(&loader->shared->slot[loader->slot], &chunk.chunk);
        ErrorData *error = try_chunk(loader, import, &chunk, company, context, &end);
        keep_locks(loader, index);
        report_live(nullptr, nullptr);
        if (error == nullptr) {
            break;
        }
        if (is_cancel(error) && loader->slot == 0) {
            ReThrowError(error); /* the import, or all of the batch, is cancelled */
        }
        again = end_attempt(loader, index, &chunk, error, company, &end);
        MemoryContextSwitchTo(TopMemoryContext); /* abort_transaction() has left us in the error's */
        if (again) {
            report_activity("movielens_ingest: pausing before chunk " INT64_FORMAT " of import " INT64_FORMAT
                            " is tried again",
                            number, import->id);
            /* There is nothing to undo: a worker that is cancelled ends. */
            const CancelHold hold = loader->slot > 0 ? allow_cancels() : current_hold();
            again = pause(loader, index, retry_pause(chunk.attempts));
            put_back(hold);
        }
        MemoryContextReset(context);
    }
    /* Before the leader analyzes the table, or what was inserted would be counted again on top of that. */
    pgstat_report_stat(true);
    finish_chunk(loader->shared, loader->slot, &end);
    MemoryContextDelete(context);
    report_idle();
}

void load_chunks(Loader *loader) {
    int import;
    int64 number;

    for (;;) {
        require_postmaster();
        if (!take_chunk(loader->shared, loader->slot, false, &import, &number)) {
            hold_imports(loader, 0); /* the import may end while this process waits for a chunk of another one */
            give_up_referenced_keys();
            if (!take_chunk(loader->shared, loader->slot, true, &import, &number)) {
                break;
            }
        }
        begin_transaction(&loader->identity);
        hold_imports(loader, imports_behind(loader->shared, import));
        commit_transaction();
        load_chunk(loader, import, number, Company::Others);
        if (ConfigReloadPending) {
            ConfigReloadPending = false;
            ProcessConfigFile(PGC_SIGHUP);
        }
    }
}

} // namespace movielens_ingest::pg
