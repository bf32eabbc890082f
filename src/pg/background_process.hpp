/*
 * background_process.hpp - how leader and workers are registered, and how they begin.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

constexpr char kLeaderType[] = "movielens_ingest leader"; /* backend_type */
constexpr char kWorkerType[] = "movielens_ingest worker";
constexpr char kLauncherType[] = "movielens_ingest launcher";

constexpr Size kMostArguments = BGW_EXTRALEN - sizeof(uint32); /* the build of the library stands before them */

/*
 * Registers a process that notifies this one when it starts and ends. type: shown as backend_type. arguments: plain
 * bytes for begin_process(), up to kMostArguments of them. restart_time: seconds after which it is started again when
 * it has ended with exit code 1, or BGW_NEVER_RESTART. Null: the server has no slot of max_worker_processes free. The
 * handle is in the current memory context.
 */
BackgroundWorkerHandle *register_process(const char *function, const char *type, const char *name,
                                         const void *arguments, Size size, int restart_time);

/*
 * Ends the process when the postmaster is gone: it would keep the server from starting again. Sleeps notice by
 * themselves; a process that always has work must ask.
 */
void require_postmaster();

/*
 * Before PostgreSQL 16 the postmaster may sleep on, for a minute at most, when a process has ended that is to be
 * started again: if SIGCHLD comes while it is busy, its handler runs just before select(). For those who wait for the
 * process.
 */
void wake_postmaster();

/*
 * The first thing that such a process does: signals are handled as in a backend, and arguments are read. Arguments of
 * another build of the library end the process.
 */
void begin_process(void *arguments, Size size);

} // namespace movielens_ingest::pg
