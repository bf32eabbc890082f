/*
 * incarnation.hpp - which server this is. A copy of one, a standby that was promoted and a server that was restored
 * from a backup have its tables, with imports that they did not begin: nothing goes on by itself there.
 *
 * Restarts and crashes leave an incarnation as it is. A copy of the whole file system below the same path, such as a
 * snapshot of its volume, cannot be told from the original.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/*
 * This incarnation and this database, as the keys "system", "database", "timeline" and "directory" of a JSON object, in
 * the current memory context. Not during recovery.
 */
const char *describe_incarnation();

} // namespace movielens_ingest::pg
