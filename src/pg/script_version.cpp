#include "pg/script_version.hpp"

#include "pg/boundary.hpp"

using namespace movielens_ingest::pg;

/* The Makefile knows the checksum of the script. */
#ifndef MOVIELENS_INGEST_SCRIPT
#error "MOVIELENS_INGEST_SCRIPT is not defined"
#endif

MOVIELENS_INGEST_FUNCTION(_script_of_library) {
    (void)fcinfo;
    PG_RETURN_TEXT_P(cstring_to_text(MOVIELENS_INGEST_SCRIPT));
}

namespace movielens_ingest::pg {

namespace {

Oid known_schema = InvalidOid; /* whose objects have been looked at, and no function has changed since */

void forget_schema(Datum /*argument*/, CatalogCache /*cache*/, uint32 /*hash*/) { known_schema = InvalidOid; }

/* What the function _script() is made of; null: it is not there. Reading it runs nothing. */
const char *noted_script(Oid schema) {
    const char *body = nullptr;
    bool null;
    HeapTuple tuple = SearchSysCache3(PROCNAMEARGSNSP, CStringGetDatum("_script"),
                                      PointerGetDatum(buildoidvector(nullptr, 0)), ObjectIdGetDatum(schema));

    if (HeapTupleIsValid(tuple)) {
        const Datum source = SysCacheGetAttr(PROCNAMEARGSNSP, tuple, Anum_pg_proc_prosrc, &null);
        body = null ? nullptr : TextDatumGetCString(source);
        ReleaseSysCache(tuple);
    }
    return body;
}

} // namespace

void require_script(Oid schema) {
    static bool registered = false;

    if (!registered) {
        CacheRegisterSyscacheCallback(PROCOID, forget_schema, Datum(0));
        registered = true;
    }
    if (known_schema == schema) {
        return;
    }
    const char *noted = noted_script(schema);
    if (noted == nullptr || strcmp(noted, "SELECT '" MOVIELENS_INGEST_SCRIPT "'") != 0) {
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                 errmsg("the objects of extension \"movielens_ingest\" do not belong to its library"),
                 errdetail("They were made by another script than the one that the library was built with."),
                 errhint("Restart the server if it has an old library loaded. Else use DROP EXTENSION and CREATE "
                         "EXTENSION, which begins a new ledger; tables that were loaded stay.")));
    }
    known_schema = schema;
}

} // namespace movielens_ingest::pg
