/*
 * ml_import.cpp - the SQL function ml_import(): registers a file, and has it loaded when the transaction commits.
 */
#include "pg/boundary.hpp"
#include "pg/import_options.hpp"
#include "pg/pg.hpp"
#include "pg/register_import.hpp"
#include "pg/script_version.hpp"

using namespace movielens_ingest::pg;

MOVIELENS_INGEST_FUNCTION(ml_import) {
    const Oid schema = schema_of_call(fcinfo);
    require_start_possible("ml_import()");
    if (PG_ARGISNULL(0)) {
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("path of the file must not be null")));
    }
    const ImportOptions options = options_of_call(fcinfo);
    const Import import = register_import(schema, text_to_cstring(PG_GETARG_TEXT_PP(0)),
                                          PG_ARGISNULL(1) ? InvalidOid : PG_GETARG_OID(1), &options, 0);
    PG_RETURN_INT64(import.id);
}
