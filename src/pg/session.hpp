/*
 * session.hpp - the settings of the session that called, carried over to the processes of its import.
 *
 * A background worker starts with the settings of the server, the database and the role. What the caller's session set
 * itself decides how values are read (DateStyle, TimeZone, search_path, ...) and how triggers and policies behave
 * (session_replication_role, custom settings), so a loader takes it over.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/* Names and values of the settings to carry over, two arrays of text of the same length, in the current context. */
void capture_settings(ArrayType **names, ArrayType **values);

/* Applies one of them, for the rest of the process. To be called in a transaction that commits. */
void adopt_setting(const char *name, const char *value);

} // namespace movielens_ingest::pg
