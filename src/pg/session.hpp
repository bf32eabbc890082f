/*
 * session.hpp - the settings of the session that called, carried over to the processes of its import.
 *
 * A background worker starts with the settings of the server, the database and the role. What the caller's session set
 * itself decides how values are read (DateStyle, TimeZone, search_path, ...) and how triggers and policies behave
 * (session_replication_role, custom settings), so a loader takes it over, with the same right to set it: a placeholder
 * that a user set for a library's setting must not become more than that when the library is loaded (RestoreGUCState).
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

struct Setting {
    const char *name;
    const char *value;
    int context; /* GucContext of what set it */
    Oid role;    /* who set it */
};

/*
 * The settings to carry over, in the current memory context, and how many there are: those that the session, its role
 * or its database set. also: names of further ones, as strings.
 */
Setting *capture_settings(List *also, int *count);

/* Applies one of them, for the rest of the process. To be called in a transaction that commits. */
void adopt_setting(const Setting *setting);

/*
 * lock_timeout of the caller's session is for the lock on the target and for the locks of user code, as COPY heeds it:
 * an import's own never fail by it. So a loader runs without one, and obey_lock_timeout() sets the caller's until the
 * GUC nesting level that was begun before ends.
 */
void set_lock_timeout_aside();
void obey_lock_timeout();
/* User code may have set another one for the session. */
void forget_lock_timeout();

/* Sets one of our own choice until the GUC nesting level that the caller has begun (NewGUCNestLevel) ends. */
void set_locally(const char *name, const char *value);

} // namespace movielens_ingest::pg
