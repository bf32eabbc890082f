/*
 * launcher.hpp - with the library in shared_preload_libraries: after a crash or a restart of the server, what was
 * interrupted goes on by itself.
 *
 * The launcher itself connects to no database. It registers a scout for each, which hands what it finds there to
 * leaders, and sleeps. The postmaster starts it again after every crash.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/* While the server loads its libraries. */
void register_launcher();

} // namespace movielens_ingest::pg

extern "C" PGDLLEXPORT void movielens_ingest_launcher_main(Datum);
