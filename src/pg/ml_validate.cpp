/*
 * ml_validate.cpp - the SQL function ml_validate(): the records of a file that an import would refuse.
 */
#include "pg/boundary.hpp"
#include "pg/import_options.hpp"
#include "pg/parallel_safety.hpp"
#include "pg/pg.hpp"
#include "pg/refused_rows.hpp"
#include "pg/register_import.hpp"
#include "pg/script_version.hpp"
#include "pg/validation.hpp"
#include "pg/validation_pool.hpp"

using namespace movielens_ingest::pg;
namespace core = movielens_ingest::core;

namespace {

constexpr int kTendInterval = 100; /* refused records: the queue of a worker holds some more */

/* Those that the session itself meets. What the workers say, it hears in between. */
class SessionRejects : public RejectSink {
  public:
    SessionRejects(TupleDesc desc, RefusedRows *rows, ValidationPool *pool, int encoding)
        : desc_(desc), rows_(rows), pool_(pool), encoding_(encoding) {}

    void refuse(const Piece *piece, int index, const Refusal *why) override {
        const MemoryContext context = MemoryContextSwitchTo(row_context_);
        const Reject reject = make_reject(piece, index, why, encoding_);
        add_refused_row(rows_, form_refused_row(desc_, &reject));
        MemoryContextSwitchTo(context);
        MemoryContextReset(row_context_);
        if (++count_ % kTendInterval == 0) {
            tend_validation_pool(pool_);
        }
    }

    void finish() override {}

  private:
    TupleDesc desc_; /* of rejected_rows */
    RefusedRows *rows_;
    ValidationPool *pool_;
    int encoding_;
    int64 count_ = 0;
    MemoryContext row_context_ =
        AllocSetContextCreateInternal(CurrentMemoryContext, "movielens_ingest reject", ALLOCSET_DEFAULT_SIZES);
};

/* Why no worker may help, or null. */
const char *reason_to_work_alone(const Import *import) {
    if (RecoveryInProgress()) {
        return "a standby starts no workers";
    }
    if (TransactionIdIsValid(GetTopTransactionIdIfAny())) {
        return "workers do not see what its transaction has changed";
    }
    if (IsolationUsesXactSnapshot()) {
        return "workers do not have the snapshot of its transaction";
    }
    return records_are_parallel_safe(import) ? nullptr : "not all that runs for a record is PARALLEL SAFE";
}

/* Besides the session. */
int count_workers(const Import *import) {
    const int workers = process_count(import->options.max_workers) - 1;
    const char *reason = workers > 0 ? reason_to_work_alone(import) : nullptr;

    if (reason != nullptr) {
        ereport(DEBUG1, (errmsg_internal("ml_validate() works alone: %s", reason)));
    }
    return reason == nullptr ? workers : 0;
}

void validate_file(Import *import, const Ledger *ledger, TupleDesc desc, RefusedRows *rows) {
    const int workers = count_workers(import);
    core::Chunk chunk;

    if (workers > 0) {
        import->settings = capture_settings(role_setting_names(ledger), &import->setting_count);
    }
    ValidationPool *pool = make_validation_pool(import, workers, desc, rows);
    SessionRejects rejects(desc, rows, pool, import->encoding);
    do {
        /* First one for the session itself: for a single chunk no worker is started. */
        while (take_chunk(pool, &chunk)) {
            tend_validation_pool(pool);
            validate_chunk(import, &chunk, &rejects);
        }
        tend_validation_pool(pool);
    } while (wait_for_validation_pool(pool));
    end_validation_pool(pool);
}

} // namespace

MOVIELENS_INGEST_FUNCTION(ml_validate) {
    const Oid schema = schema_of_call(fcinfo);
    require_unrestricted("ml_validate()");
    InitMaterializedSRF(fcinfo, 0);
    if (PG_ARGISNULL(0)) {
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("path of the file must not be null")));
    }
    const Ledger ledger = open_ledger(schema);
    ImportOptions options = options_of_call(fcinfo);
    options.at_least_once = true; /* it matters where something is loaded */
    Import import = describe_import(&ledger, text_to_cstring(PG_GETARG_TEXT_PP(0)),
                                    PG_ARGISNULL(1) ? InvalidOid : PG_GETARG_OID(1), Missing::Error, &options);

    auto *set = reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo);
    RefusedRows *rows = make_refused_rows(set->setDesc);
    validate_file(&import, &ledger, set->setDesc, rows);
    return_refused_rows(rows, set->setResult);
    return Datum(0);
}
