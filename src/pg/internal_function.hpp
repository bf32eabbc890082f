/*
 * internal_function.hpp - calls of the extension's own SQL functions from C++.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/*
 * One of them, by the OID of the extension's schema, its name and its arguments: no search_path is in it, and no name
 * that a schema can give up to another one.
 */
Oid internal_function(Oid schema, const char *name, const Oid *types, int count);

/* Calls one. At most 3 arguments. NULL comes back as 0. */
Datum call_internal(Oid schema, const char *name, const NullableDatum *arguments, const Oid *types, int count);

} // namespace movielens_ingest::pg
