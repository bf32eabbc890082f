/*
 * ml_import_dataset.cpp - the SQL function ml_import_dataset(): registers the files of a data set, which one leader
 * loads in the order that their foreign keys need.
 */
#include "pg/boundary.hpp"
#include "pg/data_set.hpp"
#include "pg/import_options.hpp"
#include "pg/pg.hpp"
#include "pg/register_import.hpp"
#include "pg/script_version.hpp"

using namespace movielens_ingest::pg;

MOVIELENS_INGEST_FUNCTION(ml_import_dataset) {
    const Oid schema = schema_of_call(fcinfo);
    int count;

    require_start_possible("ml_import_dataset()");
    InitMaterializedSRF(fcinfo, 0);
    if (PG_ARGISNULL(0)) {
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("path of the directory must not be null")));
    }
    const bool strict = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
    const ImportOptions options = options_of_call(fcinfo);
    const DataSetImport *imports =
        register_data_set(schema, text_to_cstring(PG_GETARG_TEXT_PP(0)), strict, &options, &count);

    auto *set = reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo);
    for (int i = 0; i < count; i++) {
        Datum values[] = {Int64GetDatum(imports[i].id), CStringGetTextDatum(imports[i].file_name),
                          ObjectIdGetDatum(imports[i].target)};
        bool nulls[lengthof(values)] = {};

        tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
    }
    return Datum(0);
}
