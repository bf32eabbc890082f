/*
 * import_options.hpp - the options of a call, by COPY's names and rules (ProcessCopyOptions).
 */
#pragma once

#include "pg/pg.hpp"
#include "pg/settings.hpp"

namespace movielens_ingest::pg {

/*
 * The options among the arguments of a call, which are known by the names of the function's parameters; one that is
 * null or that the function does not have is the setting of that name. Raises 0A000 and 22023 where COPY does, and
 * 22004 and 2202E for arrays that are no lists of names.
 */
ImportOptions options_of_call(FunctionCallInfo fcinfo);

} // namespace movielens_ingest::pg
