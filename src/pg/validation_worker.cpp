#include "pg/validation_worker.hpp"

#include "pg/background_process.hpp"
#include "pg/progress.hpp"
#include "pg/refused_rows.hpp"
#include "pg/session.hpp"
#include "pg/shared_validation.hpp"
#include "pg/validation.hpp"

using namespace movielens_ingest::pg;
namespace core = movielens_ingest::core;

namespace {

struct ValidationWorker {
    const Import *import;
    TupleDesc desc; /* of rejected_rows */
    shm_mq_handle *chunks;
    shm_mq_handle *rows;
};

/* To the session. */
class RejectQueue : public RejectSink {
  public:
    explicit RejectQueue(const ValidationWorker *worker) : worker_(worker) {}

    void refuse(const Piece *piece, int index, const Refusal *why) override {
        const MemoryContext context = MemoryContextSwitchTo(row_context_);
        const Reject reject = make_reject(piece, index, why, worker_->import->encoding);
        MinimalTuple row = form_refused_row(worker_->desc, &reject);
        send(row->t_len, row, false);
        MemoryContextSwitchTo(context);
        MemoryContextReset(row_context_);
    }

    void finish() override { send(0, "", true); }

  private:
    void send(Size size, const void *data, bool flush) {
        if (shm_mq_send(worker_->rows, size, data, false, flush) == SHM_MQ_DETACHED) {
            proc_exit(0); /* nobody waits for the rest */
        }
    }

    const ValidationWorker *worker_;
    MemoryContext row_context_ =
        AllocSetContextCreateInternal(TopMemoryContext, "movielens_ingest reject", ALLOCSET_DEFAULT_SIZES);
};

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
    for (int i = 0; i < worker->import->setting_count; i++) {
        adopt_setting(&worker->import->settings[i]);
    }
    MemoryContextSwitchTo(TopMemoryContext);
    worker->desc = lookup_rowtype_tupdesc_copy(shared->row_type, -1);
    commit_transaction();
    MemoryContextSwitchTo(context);
}

void validate_chunks(const ValidationWorker *worker, const SharedValidation *shared) {
    RejectQueue rejects(worker);
    Size size;
    void *data;

    while (shm_mq_receive(worker->chunks, &size, &data, false) == SHM_MQ_SUCCESS) {
        core::Chunk chunk;

        memcpy(&chunk, data, sizeof(chunk));
        report_activity("movielens_ingest: validating chunk " UINT64_FORMAT " of file \"%s\"",
                        static_cast<uint64>(chunk.number), worker->import->path);
        begin_transaction(&shared->identity);
        XactReadOnly = shared->read_only;
        validate_chunk(worker->import, &chunk, &rejects);
        commit_transaction();
        report_idle();
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
    if (!BecomeLockGroupMember(&ProcGlobal->allProcs[shared->session_pgprocno], shared->session_pid)) {
        return;
    }
    connect_as(&shared->identity);
    prepare(&worker, segment, arguments.worker);
    validate_chunks(&worker, shared);
}
