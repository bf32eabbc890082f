/*
 * source_file.hpp - the file that is imported: opened by name in each transaction that reads it, and each time
 * checked to be the one that was planned.
 */
#pragma once

#include "pg/ledger.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/*
 * At the call: an absolute path without superfluous parts, and the identity of the regular file there. Raises 42602 for
 * a relative path, 42809 for what is not a regular file, 42501 for a role that COPY would not let read it, and the
 * error of the system else.
 */
const char *check_path(const char *path);
FileIdentity identify_file(const char *path);
/* Raises the error of the system if there is nothing of this name. */
bool is_directory(const char *path);

/* Why a path may not lead to where the user thinks, as COPY says it. */
constexpr char kServerReadsHint[] =
    "The file is read by the PostgreSQL server, not by the client: it must be on the server's machine, and its "
    "operating system user must be able to read it.";

/* Opens the file; the descriptor is closed by close_source_file() or at the end of the transaction. */
int open_source_file(const char *path);
/* The same, for an import: raises 55000 when it is not the file that was planned. */
int open_planned_file(const Import *import);
/* Whether it would be, by its name: why not, in the current memory context; null: it is. */
const char *why_not_planned_file(const Import *import);
void close_source_file(int fd);

/* Reads up to size bytes at offset; fewer only at the end of the file. */
size_t read_source_file(int fd, const char *path, char *buffer, size_t size, uint64 offset);

} // namespace movielens_ingest::pg
