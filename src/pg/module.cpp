/*
 * module.cpp - what PostgreSQL sees of the library when it loads it.
 */
#include "pg/launcher.hpp"
#include "pg/pg.hpp"
#include "pg/settings.hpp"
#include "pg/statement_binding.hpp"

extern "C" {

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void _PG_init(void) {
    movielens_ingest::pg::define_settings();
    movielens_ingest::pg::install_statement_check();
    /* pg_upgrade starts the old server and the new one with both of their configurations: nothing may be written. */
    if (process_shared_preload_libraries_in_progress && !IsBinaryUpgrade) {
        movielens_ingest::pg::register_launcher();
    }
}
}
