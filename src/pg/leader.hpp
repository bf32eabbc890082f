/*
 * leader.hpp - the process that leads a batch: waits for the call to commit, leads, and moves the queue on.
 */
#pragma once

#include "pg/pg.hpp"

extern "C" PGDLLEXPORT void movielens_ingest_leader_main(Datum);
