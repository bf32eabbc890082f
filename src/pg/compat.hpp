/*
 * compat.hpp - every difference between the versions of PostgreSQL that we support stands here.
 */
#pragma once

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 160000
#error "movielens_ingest supports PostgreSQL 15; other versions have not been compiled and tested yet"
#endif

namespace movielens_ingest::pg {

/* All configuration variables of this process, and how many there are. */
inline config_generic **configuration_variables(int *count) {
    *count = GetNumConfigOptions();
    return get_guc_variables();
}

} // namespace movielens_ingest::pg
