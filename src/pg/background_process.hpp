/*
 * background_process.hpp - how leader and workers are registered, and how they begin.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/*
 * Registers a process that notifies this one when it starts and ends. type: shown as backend_type. arguments: plain
 * bytes, at most BGW_EXTRALEN. Null: the server has no slot free. The handle is in the current memory context.
 */
BackgroundWorkerHandle *register_process(const char *function, const char *type, const char *name,
                                         const void *arguments, Size size);

/* In the process itself, first of all: signals, and its arguments. */
void begin_process(void *arguments, Size size);

} // namespace movielens_ingest::pg
