#include "pg/internal_function.hpp"

namespace movielens_ingest::pg {

Datum call_internal(Oid schema, const char *name, const NullableDatum *arguments, const Oid *types, int count) {
    List *names = list_make2(makeString(get_namespace_name(schema)), makeString(pstrdup(name)));
    const Oid function = LookupFuncName(names, count, types, false);
    FmgrInfo flinfo;
    LOCAL_FCINFO(call, 3);

    Assert(count <= 3);
    fmgr_info(function, &flinfo);
    InitFunctionCallInfoData(*call, &flinfo, static_cast<short>(count), DEFAULT_COLLATION_OID, nullptr, nullptr);
    for (int i = 0; i < count; i++) {
        call->args[i] = arguments[i];
    }
    const Datum value = FunctionCallInvoke(call);
    return call->isnull ? Datum(0) : value;
}

} // namespace movielens_ingest::pg
