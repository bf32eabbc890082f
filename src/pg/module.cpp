/*
 * module.cpp - what PostgreSQL sees of the library when it loads it.
 */
#include "pg/pg.hpp"
#include "pg/settings.hpp"

extern "C" {

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void _PG_init(void) { movielens_ingest::pg::define_settings(); }
}
