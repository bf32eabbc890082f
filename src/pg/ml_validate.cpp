/*
 * ml_validate.cpp - the SQL function ml_validate(): the records of a file that an import would refuse.
 */
#include "pg/boundary.hpp"
#include "pg/pg.hpp"
#include "pg/refused_rows.hpp"
#include "pg/register_import.hpp"
#include "pg/validation.hpp"
#include "pg/validation_pool.hpp"

using namespace movielens_ingest::pg;
namespace core = movielens_ingest::core;

namespace {

struct Session {
    TupleDesc desc; /* of rejected_rows */
    RefusedRows *rows;
    ValidationPool *pool;
};

void refuse(void *argument, const Reject *reject) {
    auto *session = static_cast<Session *>(argument);

    add_refused_row(session->rows, form_refused_row(session->desc, reject));
}

void look_around(void *argument) { tend_validation_pool(static_cast<Session *>(argument)->pool); }

/* Not what this transaction has made or changed: another process does not see it. Nor does a standby start workers. */
bool workers_may_help() { return !TransactionIdIsValid(GetTopTransactionIdIfAny()) && !RecoveryInProgress(); }

void validate_file(Import *import, Session *session, const Ledger *ledger) {
    const Validation validation = {import, refuse, look_around, session};
    const int workers = workers_may_help() ? process_count(import->options.max_workers) - 1 : 0;
    core::Chunk chunk;

    if (workers > 0) {
        import->settings = capture_settings(role_setting_names(ledger), &import->setting_count);
    }
    session->pool = make_validation_pool(import, workers, session->desc, session->rows);
    do {
        /* First one for the session itself: for a single chunk no worker is started. */
        while (take_chunk(session->pool, &chunk)) {
            tend_validation_pool(session->pool);
            validate_chunk(&validation, &chunk);
        }
        tend_validation_pool(session->pool);
    } while (wait_for_validation_pool(session->pool));
    end_validation_pool(session->pool);
}

} // namespace

MOVIELENS_INGEST_FUNCTION(ml_validate) {
    require_unrestricted("ml_validate()");
    InitMaterializedSRF(fcinfo, 0);
    if (PG_ARGISNULL(0)) {
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("path of the file must not be null")));
    }
    const Ledger ledger = open_ledger(get_func_namespace(fcinfo->flinfo->fn_oid));
    ImportOptions options = default_options();
    if (!PG_ARGISNULL(2)) {
        options.max_workers = PG_GETARG_INT32(2);
    }
    check_options(&options);
    Import import = describe_import(&ledger, text_to_cstring(PG_GETARG_TEXT_PP(0)),
                                    PG_ARGISNULL(1) ? InvalidOid : PG_GETARG_OID(1), Missing::Error, &options);

    auto *set = reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo);
    Session session = {set->setDesc, make_refused_rows(set->setDesc), nullptr};
    validate_file(&import, &session, &ledger);
    return_refused_rows(session.rows, set->setResult);
    return Datum(0);
}
