/*
 * ledger.hpp - the tables uploaded_files, process_chunks and rejected_rows: every statement on them stands behind this.
 *
 * Each function runs inside a transaction of its caller's. Its statements are fixed texts with parameters, run as the
 * owner of the ledger with a safe search_path, whoever the current user is and whatever the caller set.
 */
#pragma once

#include "core/chunk_planner.hpp"
#include "core/dialect.hpp"
#include "pg/pg.hpp"
#include "pg/session.hpp"
#include "pg/settings.hpp"

namespace movielens_ingest::pg {

/* Where the ledger is. Plain data, valid for the process: by OID, for the schema can be renamed. */
struct Ledger {
    Oid files; /* OID of uploaded_files */
    Oid owner;
};

/* What identifies the bytes of a file, short of reading them. */
struct FileIdentity {
    int64 device;
    int64 inode;
    int64 size;     /* bytes */
    int64 modified; /* nanoseconds since 1970 */
};

/* An import, as uploaded_files has it. Pointers live in the memory context current at the call that filled them. */
struct Import {
    int64 id;
    const char *path;
    const char *target; /* schema-qualified and quoted */
    Oid target_oid;
    FileIdentity file;
    ImportOptions options;
    int encoding;     /* of the file */
    int column_count; /* columns of the target, in the order of the file's fields */
    const char **columns;
    core::LineEnd line_end;
    int64 data_start;  /* byte offset of the first data record */
    int64 data_line;   /* its physical line */
    Setting *settings; /* of the session that called */
    int setting_count;
};

/* How the file of an import is written. */
inline core::Dialect dialect_of(const Import *import) {
    core::Dialect dialect;

    dialect.line_end = import->line_end;
    return dialect;
}

/* A chunk and its place in the ledger. */
struct LedgerChunk {
    int64 id;
    core::Chunk chunk;
    int attempts; /* begun, this one counted */
};

struct ChunkCounts {
    int64 loaded;
    int64 rejected;
    int64 skipped;
};

/* A record that was refused. Pointers live as long as its record is being worked on. */
struct Reject {
    int64 row_number;
    int64 line_number;
    int64 byte_offset;
    const char *column; /* null where no column is to blame */
    const char *sqlstate;
    const char *message;
    const char *detail; /* or null */
    const char *raw;    /* its bytes, without the line end */
    size_t raw_size;
    int encoding; /* of the file */
};

/* The ledger in the schema of the extension. Raises 55000 when it is not there. */
Ledger open_ledger(Oid schema);
/* By the OID of uploaded_files; false when the extension has been dropped. Until the transaction ends, it cannot be. */
bool reopen_ledger(Oid files, Ledger *ledger);

/* --- ledger_files.cpp: imports --- */

/* Writes the row of a new import with the settings of this session, and returns its id. */
int64 add_import(const Ledger *ledger, const Import *import);
/* The id of an import of the same file, whatever its path, into the same target, that was not given up. 0: none. */
int64 find_import_of_file(const Ledger *ledger, const Import *import);
/*
 * Decides whether an import may be loaded, for one import at a time. 0: it may. Else the id of another that may, was
 * not given up, and has the same chunks in the same table, as far as both are planned. To be called when there are
 * chunks, in a transaction that commits at once.
 */
int64 admit_import(const Ledger *ledger, const Import *import);
/* False: no such row. */
bool read_import(const Ledger *ledger, int64 id, Import *import);
/*
 * The newest row of an import as a value of type uploaded_files, in the current memory context, if the current user may
 * see it; else raises 42704. processing: it has not ended. leader: the process id that its leader had, 0 before it
 * began.
 */
Datum read_visible_import(const Ledger *ledger, int64 id, bool *processing, int *leader);
/* Called by its leader. */
void mark_started(const Ledger *ledger, int64 id);
void mark_planned(const Ledger *ledger, int64 id, int64 rows);
/* Rewrites the counts, end_time and processing_duration from process_chunks. */
void refresh_totals(const Ledger *ledger, int64 id);
/* Records that are loaded, from process_chunks. */
int64 loaded_records(const Ledger *ledger, int64 id);
/* The same as refresh_totals(), and gives the import its last status. status null: by its chunks. sqlstate and error
 * may be null. */
void end_import(const Ledger *ledger, int64 id, const char *status, const char *sqlstate, const char *error);

/* --- ledger_chunks.cpp: chunks and rejects --- */

void add_chunks(const Ledger *ledger, int64 import_id, const core::Chunk *chunks, int count);
/* Counts an attempt at a chunk and reads it. False: it is not Pending. */
bool begin_attempt(const Ledger *ledger, int64 import_id, int64 number, LedgerChunk *chunk);
/* Locks the chunk's row until the transaction ends. False: it is not Pending, or somebody else has it. */
bool claim_chunk(const Ledger *ledger, int64 chunk_id);
void add_reject(const Ledger *ledger, int64 import_id, int64 chunk_id, const Reject *reject);
void complete_chunk(const Ledger *ledger, int64 chunk_id, const ChunkCounts *counts);
/*
 * Notes the error of an attempt. The chunk stays Pending, and true is returned, while it has had no more than
 * max_retries attempts; else it is Failed. max_retries -1: at once. uncount: the attempt does not count.
 */
bool fail_attempt(const Ledger *ledger, int64 import_id, int64 number, const char *sqlstate, const char *error,
                  int max_retries, bool uncount);
/* Numbers of the chunks that are still Pending, in the current memory context. */
int64 *pending_chunks(const Ledger *ledger, int64 import_id, int *count);

} // namespace movielens_ingest::pg
