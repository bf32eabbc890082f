/*
 * ml_cancel.cpp - the SQL function ml_cancel(): ends an import. What is committed stays.
 */
#include "pg/boundary.hpp"
#include "pg/cancel_import.hpp"
#include "pg/ledger.hpp"
#include "pg/pg.hpp"
#include "pg/register_import.hpp"
#include "pg/script_version.hpp"

using namespace movielens_ingest::pg;

MOVIELENS_INGEST_FUNCTION(ml_cancel) {
    const Oid schema = schema_of_call(fcinfo);
    if (PG_ARGISNULL(0)) {
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("id of the import must not be null")));
    }
    PreventCommandDuringRecovery("ml_cancel()");
    require_unrestricted("ml_cancel()");
    const Ledger ledger = open_ledger(schema);
    PG_RETURN_BOOL(cancel_by_id(&ledger, PG_GETARG_INT64(0)));
}
