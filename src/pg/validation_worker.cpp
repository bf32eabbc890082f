#include "pg/validation_worker.hpp"

#include "core/error_fate.hpp"
#include "pg/background_process.hpp"
#include "pg/error_text.hpp"
#include "pg/progress.hpp"
#include "pg/refused_rows.hpp"
#include "pg/session.hpp"
#include "pg/shared_validation.hpp"
#include "pg/validation.hpp"

using namespace movielens_ingest::pg;
namespace core = movielens_ingest::core;

namespace {

constexpr int kLockTimeout = 500; /* milliseconds, at most */

struct ValidationWorker {
    const Import *import;
    TupleDesc desc; /* of rejected_rows */
    shm_mq_handle *chunks;
    shm_mq_handle *rows;
};

/*
 * To the session, when the chunk is done: not before, for an error at its last record may tell that the worker was no
 * judge of the others either; and in no transaction, for a process that waits for the session must hold no lock.
 */
class RejectQueue : public RejectSink {
  public:
    explicit RejectQueue(const ValidationWorker *worker) : worker_(worker) {}

    /* In the chunk's transaction, not in a subtransaction. */
    void begin() {
        const MemoryContext context = MemoryContextSwitchTo(TopMemoryContext);
        kept_ = tuplestore_begin_heap(false, true, work_mem);
        MemoryContextSwitchTo(context);
    }

    void refuse(const Piece *piece, int index, const Refusal *why) override {
        const MemoryContext context = MemoryContextSwitchTo(row_context_);
        const Reject reject = make_reject(piece, index, why, worker_->import->encoding);
        ExecStoreMinimalTuple(form_refused_row(worker_->desc, &reject), slot_, false);
        tuplestore_puttupleslot(kept_, slot_);
        ExecClearTuple(slot_);
        MemoryContextSwitchTo(context);
        MemoryContextReset(row_context_);
    }

    void finish() override {}

    void pass_on() {
        while (tuplestore_gettupleslot(kept_, true, false, slot_)) {
            bool own;
            MinimalTuple row = ExecFetchSlotMinimalTuple(slot_, &own);
            send(row->t_len, row, false);
        }
        ExecClearTuple(slot_);
        tuplestore_end(kept_);
        send(0, "", true);
    }

  private:
    void send(Size size, const void *data, bool flush) {
        if (shm_mq_send(worker_->rows, size, data, false, flush) == SHM_MQ_DETACHED) {
            proc_exit(0); /* nobody waits for the rest */
        }
    }

    const ValidationWorker *worker_;
    Tuplestorestate *kept_ = nullptr;
    TupleTableSlot *slot_ = MakeSingleTupleTableSlot(worker_->desc, &TTSOpsMinimalTuple);
    MemoryContext row_context_ =
        AllocSetContextCreateInternal(TopMemoryContext, "movielens_ingest reject", ALLOCSET_DEFAULT_SIZES);
};

/*
 * What user code may do in the session but not here raises an error that is no record's own: a write (25006), for one
 * that waits for a row of the session's would wait for ever; to wait for a lock (55P03); to make the transaction
 * read-write (25001).
 */
bool is_workers_own(int sqlerrcode) {
    return ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_INVALID_TRANSACTION_STATE ||
           core::error_fate(unpack_sql_state(sqlerrcode)) != core::ErrorFate::Reject;
}

/*
 * Whether user code catches such an error or not, what it says of the record is worth nothing then. errfinish() comes
 * by here with every error before anybody can catch it, so the worker ends here, as it would with a FATAL one, and the
 * session, which finds the chunk left, does it alone.
 */
void give_up(void *) {
    if (CritSectionCount == 0 && is_workers_own(geterrcode())) {
        proc_exit(0);
    }
}

void set(const char *name, int value) { SetConfigOption(name, psprintf("%d", value), PGC_SUSET, PGC_S_SESSION); }

/*
 * As in the session; but without parallel plans, for the helpers of a helper are more than was asked for. (The SET
 * clause of a function can have them again, and they do no harm: this process is in nobody's lock group.) The time for
 * a lock is shorter than the session's own until it looks for a deadlock, so that not the session is the one who loses.
 */
void adopt_settings(const Import *import) {
    for (int i = 0; i < import->setting_count; i++) {
        adopt_setting(&import->settings[i]);
    }
    set("max_parallel_workers_per_gather", 0);
    set("lock_timeout", Max(Min(kLockTimeout, DeadlockTimeout / 2), 1));
}

/* What the session has told in shared memory. */
void prepare(ValidationWorker *worker, dsm_segment *segment, int number) {
    SharedValidation *shared = shared_validation(segment);
    const MemoryContext context = MemoryContextSwitchTo(TopMemoryContext);

    shm_mq_set_receiver(chunk_queue(shared, number), MyProc);
    shm_mq_set_sender(row_queue(shared, number), MyProc);
    worker->chunks = shm_mq_attach(chunk_queue(shared, number), segment, nullptr);
    worker->rows = shm_mq_attach(row_queue(shared, number), segment, nullptr);
    worker->import = read_shared_import(shared);

    begin_transaction(&shared->identity);
    adopt_settings(worker->import);
    MemoryContextSwitchTo(TopMemoryContext);
    worker->desc = lookup_rowtype_tupdesc_copy(shared->row_type, -1);
    commit_transaction();
    MemoryContextSwitchTo(context);
}

void validate(const ValidationWorker *worker, const SharedValidation *shared, const core::Chunk *chunk,
              RejectQueue *rejects) {
    ErrorContextCallback errors = {error_context_stack, give_up, nullptr};

    report_activity("movielens_ingest: validating chunk " UINT64_FORMAT " of file \"%s\" for process %d",
                    static_cast<uint64>(chunk->number), show_name(worker->import->path), shared->session_pid);
    begin_transaction(&shared->identity);
    XactReadOnly = true; /* for good: within its subtransaction user code cannot change it (check_XactReadOnly) */
    rejects->begin();
    error_context_stack = &errors;
    validate_chunk(worker->import, chunk, rejects);
    error_context_stack = errors.previous;
    LockReleaseSession(USER_LOCKMETHOD); /* pg_advisory_lock() holds until then whatever rolls back */
    commit_transaction();
    rejects->pass_on();
    report_idle();
}

void validate_chunks(const ValidationWorker *worker, const SharedValidation *shared) {
    RejectQueue rejects(worker);
    Size size;
    void *data;

    while (shm_mq_receive(worker->chunks, &size, &data, false) == SHM_MQ_SUCCESS) {
        core::Chunk chunk;

        memcpy(&chunk, data, sizeof(chunk));
        validate(worker, shared, &chunk, &rejects);
    }
}

} // namespace

/* An error ends the worker: the session validates its chunk again, and meets it too if it was not the worker's own. */
extern "C" void movielens_ingest_validation_worker_main(Datum) {
    ValidationWorkerArguments arguments;
    ValidationWorker worker;

    begin_process(&arguments, sizeof(arguments));
    dsm_segment *segment = attach_shared_validation(arguments.segment);
    if (segment == nullptr) {
        return;
    }
    const SharedValidation *shared = shared_validation(segment);
    connect_as(&shared->identity);
    hold_permit(&arguments.permit);
    prepare(&worker, segment, arguments.worker);
    validate_chunks(&worker, shared);
}
