#include "pg/internal_function.hpp"

namespace movielens_ingest::pg {

Oid internal_function(Oid schema, const char *name, const Oid *types, int count) {
    const Oid function = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum(name),
                                         PointerGetDatum(buildoidvector(types, count)), ObjectIdGetDatum(schema));

    if (!OidIsValid(function)) {
        elog(ERROR, "function \"%s\" of extension \"movielens_ingest\" does not exist", name);
    }
    return function;
}

Datum call_internal(Oid schema, const char *name, const NullableDatum *arguments, const Oid *types, int count) {
    FmgrInfo flinfo;
    LOCAL_FCINFO(call, 3);

    Assert(count <= 3);
    fmgr_info(internal_function(schema, name, types, count), &flinfo);
    InitFunctionCallInfoData(*call, &flinfo, static_cast<short>(count), DEFAULT_COLLATION_OID, nullptr, nullptr);
    for (int i = 0; i < count; i++) {
        call->args[i] = arguments[i];
    }
    const Datum value = FunctionCallInvoke(call);
    return call->isnull ? Datum(0) : value;
}

} // namespace movielens_ingest::pg
