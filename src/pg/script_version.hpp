/*
 * script_version.hpp - whether the objects of the extension are those that this library was built for.
 *
 * Until version 1.0 is released its script changes without a new version number, so the number tells nothing. The
 * script notes what the library was built with when it made the objects: see _script_of_library().
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/* Raises 55000 when the objects in the extension's schema were made by another script. Cheap when asked again. */
void require_script(Oid schema);

/* The same, for the SQL function that is being called: before its arguments are read, for they may be others. */
inline Oid schema_of_call(FunctionCallInfo fcinfo) {
    const Oid schema = get_func_namespace(fcinfo->flinfo->fn_oid);

    require_script(schema);
    return schema;
}

} // namespace movielens_ingest::pg
