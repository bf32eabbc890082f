/*
 * library_build.hpp - which build of the library a process has loaded.
 *
 * Where the library is replaced while the server runs, sessions go on with what they have loaded, and processes that
 * they start load the new one. What one of them writes for another in shared memory, or among the arguments of a
 * process, may be laid out differently then: so each of them says of what build it is.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/* The checksum of all sources that it was compiled from. */
uint32 library_build();

/* The magic number of a structure in shared memory, for which each kind of structure has a constant of its own. */
inline uint32 magic_of_build(uint32 kind) { return kind ^ library_build(); }

} // namespace movielens_ingest::pg
