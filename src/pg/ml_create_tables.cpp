/*
 * ml_create_tables.cpp - the SQL function ml_create_tables(): makes the tables of MovieLens that a schema has not.
 */
#include "pg/boundary.hpp"
#include "pg/movielens_tables.hpp"
#include "pg/pg.hpp"
#include "pg/script_version.hpp"

using namespace movielens_ingest::pg;

MOVIELENS_INGEST_FUNCTION(ml_create_tables) {
    (void)schema_of_call(fcinfo);
    auto *set = reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo);

    if (PG_ARGISNULL(0)) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_SCHEMA_NAME), errmsg("no schema has been selected to create in")));
    }
    const Oid schema = LookupExplicitNamespace(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);

    InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
    for (const DataTable &table : kDataTables) {
        if (!OidIsValid(get_relname_relid(table.name, schema))) {
            Datum made = ObjectIdGetDatum(create_data_table(&table, schema, InvalidOid));
            bool null = false;

            tuplestore_putvalues(set->setResult, set->setDesc, &made, &null);
        }
    }
    return Datum(0);
}
