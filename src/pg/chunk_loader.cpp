#include "pg/chunk_loader.hpp"

#include "core/error_fate.hpp"
#include "pg/chunk_writer.hpp"
#include "pg/import_lock.hpp"
#include "pg/pg.hpp"
#include "pg/progress.hpp"
#include "pg/session.hpp"
#include "pg/subtransaction.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr long kLookAroundInterval = 1000; /* milliseconds */

/* All constraints are immediate, so that each violation has its record. */
void set_constraints_immediate() {
    auto *statement = makeNode(ConstraintsSetStmt);

    statement->deferred = false;
    AfterTriggerSetState(statement);
}

/* User code has run. */
void keep_import_lock(const Loader *loader) {
    hold_import_lock(loader->ledger.files, loader->import.id, loader->slot == 0);
}

/* Sleeps so many milliseconds; the leader looks around meanwhile. False: the import was stopped. */
bool pause(Loader *loader, long milliseconds) {
    const TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), milliseconds);

    for (;;) {
        const long rest = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
        if (rest <= 0) {
            return true;
        }
        if (sleep_unless_stopped(loader->shared,
                                 loader->look_around != nullptr ? Min(rest, kLookAroundInterval) : rest)) {
            return false;
        }
        if (loader->look_around != nullptr) {
            loader->look_around(loader);
        }
    }
}

/* The chunk's rows, its rejects and its row in the ledger: one transaction. Null, or the error that ended it. */
ErrorData *try_chunk(Loader *loader, const LedgerChunk *chunk, MemoryContext context) {
    ErrorData *volatile error = nullptr;

    PG_TRY();
    {
        begin_transaction(&loader->identity);
        if (claim_chunk(&loader->ledger, chunk->id)) {
            set_constraints_immediate();
            const ChunkCounts counts = write_chunk(&loader->ledger, &loader->import, chunk, loader->import.target_oid);
            keep_import_lock(loader);
            complete_chunk(&loader->ledger, chunk->id, &counts);
        }
        commit_transaction();
        report_chunk_ended();
    }
    PG_CATCH();
    {
        error = abort_transaction(context);
        keep_import_lock(loader);
    }
    PG_END_TRY();
    return error;
}

bool begin_chunk(Loader *loader, int64 number, LedgerChunk *chunk) {
    begin_transaction(&loader->identity);
    const bool pending = begin_attempt(&loader->ledger, loader->import.id, number, chunk);
    commit_transaction();
    return pending;
}

/* What an error of a chunk's transaction, as a whole, means. */
core::ErrorFate fate_of(const Loader *loader, const ErrorData *error) {
    if (is_cancel(error) && loader->slot > 0) {
        return core::ErrorFate::Retry; /* somebody cancelled this worker, not the import */
    }
    const core::ErrorFate fate = core::error_fate(sqlstate_of(error));
    /* Not the fault of one record, or it would have been refused. */
    return fate == core::ErrorFate::Reject ? core::ErrorFate::Fail : fate;
}

} // namespace

bool prepare_loader(Loader *loader, Oid files, int64 import_id) {
    const MemoryContext context =
        AllocSetContextCreate(TopMemoryContext, "movielens_ingest import", ALLOCSET_DEFAULT_SIZES);
    bool found = false;

    begin_transaction(&loader->identity);
    if (reopen_ledger(files, &loader->ledger)) {
        const MemoryContext transaction_context = MemoryContextSwitchTo(context);
        found = read_import(&loader->ledger, import_id, &loader->import);
        MemoryContextSwitchTo(transaction_context);
    }
    commit_transaction();
    return found;
}

void adopt_session(const Loader *loader) {
    const Import *import = &loader->import;

    begin_transaction(&loader->identity);
    for (int i = 0; i < import->setting_count; i++) {
        adopt_setting(&import->settings[i]);
    }
    commit_transaction();
}

void load_chunk(Loader *loader, int64 number, bool alone) {
    const MemoryContext context =
        AllocSetContextCreate(TopMemoryContext, "movielens_ingest chunk", ALLOCSET_DEFAULT_SIZES);
    LedgerChunk chunk;
    bool again = true;

    while (again && begin_chunk(loader, number, &chunk)) {
        report_activity("movielens_ingest: loading chunk " INT64_FORMAT " of import " INT64_FORMAT " into %s", number,
                        loader->import.id, loader->import.target);
        ErrorData *error = try_chunk(loader, &chunk, context);
        if (error == nullptr) {
            break;
        }
        if (is_cancel(error) && loader->slot == 0) {
            ReThrowError(error); /* the import is cancelled */
        }

        const core::ErrorFate fate = fate_of(loader, error);
        const bool put_off = fate == core::ErrorFate::RetryAlone && !alone;
        const int max_retries = fate == core::ErrorFate::Fail ? -1 : loader->import.options.max_retries;
        ereport(LOG, (errcode(error->sqlerrcode),
                      errmsg("chunk " INT64_FORMAT " of import " INT64_FORMAT " failed in attempt %d: %s", number,
                             loader->import.id, chunk.attempts, error->message),
                      error->detail != nullptr ? errdetail_internal("%s", error->detail) : 0));
        begin_transaction(&loader->identity);
        again = fail_attempt(&loader->ledger, loader->import.id, number, sqlstate_of(error), error->message,
                             max_retries, put_off);
        commit_transaction();

        if (fate == core::ErrorFate::Fail) {
            stop_chunks(loader->shared);
        } else if (put_off) {
            break; /* the leader takes it up when the workers have ended */
        } else if (again) {
            report_activity("movielens_ingest: pausing before chunk " INT64_FORMAT " of import " INT64_FORMAT
                            " is tried again",
                            number, loader->import.id);
            again = pause(loader, retry_pause(chunk.attempts));
        }
        MemoryContextReset(context);
    }
    MemoryContextDelete(context);
    report_idle();
}

void load_chunks(Loader *loader) {
    for (int64 number; (number = take_chunk(loader->shared, loader->slot)) != 0;) {
        load_chunk(loader, number, false);
        finish_chunk(loader->shared, loader->slot);
        if (loader->look_around != nullptr) {
            loader->look_around(loader);
        }
        if (ConfigReloadPending) {
            ConfigReloadPending = false;
            ProcessConfigFile(PGC_SIGHUP);
        }
    }
}

} // namespace movielens_ingest::pg
