/*
 * ledger.hpp - the tables uploaded_files, process_chunks and rejected_rows: every statement on them stands behind this.
 *
 * Each function runs inside a transaction of its caller's. Its statements are fixed texts with parameters, run as the
 * owner of the ledger with a safe search_path, whoever the current user is and whatever the caller set.
 */
#pragma once

#include "core/chunk_planner.hpp"
#include "core/dialect.hpp"
#include "pg/identity.hpp"
#include "pg/pg.hpp"
#include "pg/raw_line.hpp"
#include "pg/refusal.hpp"
#include "pg/session.hpp"
#include "pg/settings.hpp"
#include "pg/shared_batch.hpp"

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
    int64 batch_id; /* the first import of its data set; its own id when it came alone */
    const char *path;
    const char *target; /* schema-qualified and quoted */
    Oid target_oid;
    FileIdentity file;
    ImportOptions options;
    int encoding;     /* of the file */
    int column_count; /* columns of the target, in the order of the file's fields */
    const char **columns;
    bool *force_null;     /* by column: the null string is NULL in quotes too */
    bool *force_not_null; /* by column: the null string is text without quotes too */
    core::LineEnd line_end;
    bool unlogged;     /* the target is, or its partitions are: a crash empties it */
    bool elsewhere;    /* at the call, others than the server's executor inserted into the target */
    int64 rows;        /* data records, -1: not planned to the end */
    int64 data_start;  /* byte offset of the first data record */
    int64 data_line;   /* its physical line */
    Setting *settings; /* of the session that called */
    int setting_count;
};

/* How the file of an import is written. */
inline core::Dialect dialect_of(const Import *import) {
    const ImportOptions *options = &import->options;
    core::Dialect dialect;

    dialect.delimiter = options->delimiter;
    dialect.quote = options->quote;
    dialect.escape = options->escape;
    dialect.line_end = import->line_end;
    dialect.null_string = options->null_string;
    dialect.null_size = strlen(options->null_string);
    dialect.end_marker = kCsvHasEndMarker;
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
    int64 pending; /* of the rejected: may go in when all chunks are in */
};

/* A record that was refused. */
struct Reject {
    int64 row_number;
    int64 line_number;
    int64 byte_offset;
    Refusal why;
    RawLine raw;
    bool pending; /* it may go in when all chunks are in */
};

/* A chunk that is Pending when nobody loads its import. */
struct LeftChunk {
    int64 number;
    int crashes; /* attempts that a crash of the server ended */
};

/* What stands in uploaded_files.status. */
constexpr char kQueued[] = "Queued";
constexpr char kProcessing[] = "Processing";
constexpr char kFailed[] = "Failed";
constexpr char kCancelled[] = "Cancelled";
constexpr char kCancelMessage[] = "canceling statement due to user request"; /* of such an import, as of a statement */

/* True for Completed, with errors or without. */
inline bool is_complete(const char *status) { return strncmp(status, "Completed", strlen("Completed")) == 0; }

/* It has neither ended nor been given up. */
inline bool is_open_status(const char *status) {
    return strcmp(status, kQueued) == 0 || strcmp(status, kProcessing) == 0;
}

/* An import of a batch, as its leader sees it first. */
struct BatchMember {
    int64 id;
    const char *file_name;
    const char *target;
    Oid target_oid;
    int64 file_size; /* bytes */
    bool processing;
    bool completed; /* also with errors */
    const char *status;
    int max_workers; /* the option */
    bool referenced; /* by the table of another member */
};

/* The ledger in the schema of the extension. Raises 55000 when it is not there. */
Ledger open_ledger(Oid schema);
/* That of the extension of this database. False: the extension is not there. */
bool find_extension_ledger(Ledger *ledger);
/* By the OID of uploaded_files; false when the extension has been dropped. Until the transaction ends, it cannot be. */
bool reopen_ledger(Oid files, Ledger *ledger);

/*
 * For a process that is about to exit and must not wait: false when others hold the tables. True: locked until the
 * transaction ends.
 */
bool can_open_ledger_now(Oid files);

/* --- ledger_files.cpp: imports --- */

/* The settings that a new process of this role in this database starts with, whatever they are in this session. */
List *role_setting_names(const Ledger *ledger);

/*
 * Writes the row of a new import with the settings and the identity of this session, and returns its id. batch_id of
 * the import 0: it is the first of its batch.
 */
int64 add_import(const Ledger *ledger, const Import *import);
/* The id of an import of the same file, whatever its path, into the same target, that was not given up. 0: none. */
int64 find_import_of_file(const Ledger *ledger, const Import *import);
/*
 * Decides whether an import may be loaded, for one import at a time. 0: it may. Else the id of another that may, was
 * not given up, and has the same chunks in the same table, as far as both are planned. To be called when there are
 * chunks, in a transaction that commits at once.
 */
int64 admit_import(const Ledger *ledger, const Import *import);
/* False: no such row, or one that was restored. */
bool read_import(const Ledger *ledger, int64 id, Import *import);
/* InvalidOid: it was restored, and the OID that its row has can be anything's. */
Oid target_of_import(const Ledger *ledger, int64 id);
/* Called by its leader. */
void mark_started(const Ledger *ledger, int64 id);
void mark_planned(const Ledger *ledger, int64 id, int64 rows);
/* Rewrites the counts, end_time and processing_duration from process_chunks. */
void refresh_totals(const Ledger *ledger, int64 id);
/* Records that are loaded, from process_chunks. */
int64 loaded_records(const Ledger *ledger, int64 id);
/*
 * The same as refresh_totals(), and gives the import its last status, unless it has one. status null: by its chunks.
 * sqlstate and error may be null. Returns the status, in the current memory context.
 */
const char *end_import(const Ledger *ledger, int64 id, const char *status, const char *sqlstate, const char *error);

/* --- ledger_batches.cpp: batches, and where they stand --- */

/* Tells listeners of the channel movielens_ingest, when the transaction commits. */
void notify_state(const Ledger *ledger, int64 id, const char *status);
/* Changes the status of those imports of a batch that have the first one. Returns how many. */
int change_status(const Ledger *ledger, int64 batch_id, const char *from, const char *to);
/* Notes who leads, and where the shared memory of the batch is. */
void mark_led(const Ledger *ledger, int64 batch_id, dsm_handle segment);
/* The imports of a batch that its caller has made, in the current memory context: none of a batch that was restored. */
BatchMember *read_batch(const Ledger *ledger, int64 batch_id, int *count);
/* By which of these tables each is referenced: bit j of references[i] is set when table i has a foreign key to j. */
void read_references(const Ledger *ledger, const Oid *tables, int count, uint32 *references);
/* What the ledger says of a batch's import, for shared memory. */
Progress read_ledger_progress(const Ledger *ledger, int64 id);
/*
 * Under whose name a batch is led. False: it was restored, or there is none. A dump has no callers,
 * so no row that somebody else could have written makes anything run in another role's name.
 */
bool read_batch_identity(const Ledger *ledger, int64 batch_id, Identity *identity);
/* Locks the rows of a batch until the transaction ends. */
void lock_batch(const Ledger *ledger, int64 batch_id);
/* Makes everything that is not Completed in a batch loadable again, and its status Processing. A cancel is forgotten.
 */
void reopen_batch(const Ledger *ledger, int64 batch_id, const Identity *identity);
/* The plan is for another file now, one with the same bytes. */
void replace_file(const Ledger *ledger, int64 id, const FileIdentity *file);

/* --- ledger_origin.cpp: where an import was begun, and why it does not go on by itself --- */

struct Origin {
    enum class Where {
        Here,     /* by this incarnation of the server: see incarnation.hpp */
        Before,   /* by the server that this one was made of; every row that was committed there is here */
        Elsewhere /* it was restored from a dump, which has no callers, or the database is a copy */
    } where;
    const char *why_held; /* or null */
};
/* In the current memory context. */
Origin read_origin(const Ledger *ledger, int64 batch_id);
/* The batch is begun, or begun again, here. */
void note_origin(const Ledger *ledger, int64 batch_id);
/* What of the batch has not ended is interrupted, and stays so until it is resumed by a call. */
void hold_back(const Ledger *ledger, int64 batch_id, const char *why);
/* The batches that have not ended, wherever they were begun, by id, in the current memory context. */
int64 *open_batches(const Ledger *ledger, int *count);

/* --- ledger_cancels.cpp: what ml_cancel() has asked for --- */

struct VisibleImport;
struct CancelRequest {
    int64 id;
    int64 batch_id;
};

/* For the time until the import is resumed, when the transaction commits. Waits for nobody. */
void request_cancel(const Ledger *ledger, const VisibleImport *import);
/* The imports that have not ended and are to be cancelled: of a batch; of all. In the current memory context. */
CancelRequest *cancel_requests_of_batch(const Ledger *ledger, int64 batch_id, int *count);
CancelRequest *cancel_requests(const Ledger *ledger, int *count);
/* Those of imports that have ended or were resumed. */
void forget_cancel_requests(const Ledger *ledger);
/* None of its records is missing, nor pending. */
bool is_all_loaded(const Ledger *ledger, int64 id);

/* --- ledger_queue.cpp: batches that wait for a process --- */

struct QueuedBatch {
    int64 id;
    Oid role; /* who had logged in */
    int process_limit;
    bool looked_at;
};
/* Of this database of this server. */
bool has_queued_batches(const Ledger *ledger);
/* The oldest of each role, so many at most, in the current memory context. */
QueuedBatch *queued_batches(const Ledger *ledger, int most, int *count);

/* --- ledger_view.cpp: what a session may see --- */

/* An import as ml_wait() and the like see it. */
struct VisibleImport {
    Datum row; /* of type uploaded_files */
    int64 id;
    int64 batch_id;
    const char *status;
    Oid owner;  /* InvalidOid: the role is gone */
    int leader; /* process id, 0: it was never led */
    dsm_handle segment;
    int64 resumed; /* so often */
};

/* It has neither ended nor been given up. */
bool is_open(const VisibleImport *import);
/*
 * The newest version of an import, in the current memory context. False: there is none, or the current user may not
 * see it; everyone: whoever that is.
 */
bool read_visible_import(const Ledger *ledger, int64 id, bool everyone, VisibleImport *import);
/* Why an import did not complete, in the current memory context. */
struct ImportFailure {
    int sqlerrcode;
    const char *file_name;
    const char *message;
};
ImportFailure read_failure(const Ledger *ledger, int64 id);
/* Those that have not ended, and that the current user may see. */
VisibleImport *read_open_imports(const Ledger *ledger, int *count);

/* --- ledger_witness.cpp: what a crash takes along with an unlogged target --- */

bool has_loaded_chunks(const Ledger *ledger, int64 id);
/* False: the import has its witness already. */
bool add_witness(const Ledger *ledger, int64 id);
/* Nothing of the import is loaded any more: all its chunks are Pending. */
void forget_chunks(const Ledger *ledger, int64 id);
void note_unlogged(const Ledger *ledger, int64 id, bool unlogged);
/* Of a batch, imports that were complete, but into unlogged tables that a crash has emptied since: they are not. */
void reopen_lost(const Ledger *ledger, int64 batch_id);

/* --- ledger_indexes.cpp: indexes that are built when their table has been loaded --- */

struct DeferredIndex {
    Oid oid;
    int crashes;      /* of the server while it was being built; 0 when it has been built since */
    const char *name; /* schema-qualified and quoted; the OID if it was dropped */
};
void note_deferred_index(const Ledger *ledger, Oid target, Oid index);
/* Those of a table, in the current memory context. They may have been built or dropped by hand meanwhile. */
DeferredIndex *deferred_indexes(const Ledger *ledger, Oid target, int *count);
/* False: somebody else has built it. If he is about to, this waits for him. */
bool forget_deferred_index(const Ledger *ledger, Oid index);

/* --- ledger_crashes.cpp: what crashed the server besides chunks --- */

/*
 * Of an import, by its id; the build of an index that was put off, by its OID; or the builds of all that were put off
 * on the targets of a batch, by its id.
 */
enum class RiskyStep { Planning, Pending, Analyzing, Indexing, IndexingAll };

int step_crashes(const Ledger *ledger, RiskyStep step, int64 of);
/* wait: for who has the row locked; else it stays as it is. */
void count_step(const Ledger *ledger, RiskyStep step, int64 of, int change, bool wait);
/* The steps of a batch count from 0 again. */
void forget_crashes(const Ledger *ledger, int64 batch_id);

/* --- ledger_chunks.cpp: chunks and rejects --- */

/*
 * Adds them as Pending. Those that the ledger has already, from a planning that was interrupted, must be the same:
 * raises 55000 for a file that is not.
 */
void add_chunks(const Ledger *ledger, const Import *import, const core::Chunk *chunks, int count);
/*
 * Counts an attempt at a chunk, and a crash, for that is what it will be if nothing is heard of it again; and reads the
 * chunk. False: it is not Pending, or was in more crashes than most_crashes, or another process has it in hand. wait:
 * for that process, to see what becomes of it.
 */
bool begin_attempt(const Ledger *ledger, int64 import_id, int64 number, int most_crashes, bool wait,
                   LedgerChunk *chunk);
/* It was no crash, or no attempt either. Does nothing when somebody holds the chunk's row. */
void uncount_attempt(const Ledger *ledger, int64 chunk_id, bool only_crash);
/*
 * Locks the chunk's row until the transaction ends. False: it is not Pending, or somebody else has it. wait: until he
 * lets go of it.
 */
bool claim_chunk(const Ledger *ledger, int64 chunk_id, bool wait);
void add_rejects(const Ledger *ledger, int64 import_id, int64 chunk_id, const Reject *rejects, int count);
void complete_chunk(const Ledger *ledger, int64 chunk_id, const ChunkCounts *counts);
/*
 * Notes the error of an attempt, which was no crash. The chunk stays Pending, and true is returned, while it has had no
 * more than max_retries attempts; else it is Failed. max_retries -1: at once. uncount: the attempt does not count.
 */
bool fail_attempt(const Ledger *ledger, int64 import_id, int64 number, const char *sqlstate, const char *error,
                  int max_retries, bool uncount);
/* The same for a process that is gone, which has said itself that it was no crash. True: the chunk is Failed now. */
bool fail_lost_attempt(const Ledger *ledger, int64 import_id, int64 number, const char *sqlstate, const char *error,
                       int max_retries);
/* Gives a chunk up because of the crashes. */
void fail_crashed_chunk(const Ledger *ledger, int64 import_id, int64 number);
/*
 * Waits for attempts that are not over: a worker of a leader that died may be in its commit (CommitTransaction holds
 * interrupts), and is counted then.
 */
void await_attempts(const Ledger *ledger, int64 import_id);
/* The chunks that are still Pending, in the current memory context. */
LeftChunk *left_chunks(const Ledger *ledger, int64 import_id, int *count);
/*
 * Those that have to be read: not Completed, or with records that are pending. With their bytes and checksums only, in
 * the current memory context.
 */
core::Chunk *unloaded_chunks(const Ledger *ledger, int64 import_id, int *count);

/* --- ledger_pending.cpp: rejects that may go in when all chunks are in --- */

/* One of them. */
struct PendingRecord {
    int64 id; /* of rejected_rows */
    int64 chunk_id;
    int64 row_number;
    int64 line_number;
    int64 start_byte;
    int64 chunk_end; /* offset behind the last byte of its chunk */
};

/* What has become of some of them. Arrays are by their places among those that were read. */
struct PendingOutcome {
    const PendingRecord *records;
    int count;
    const bool *gone;       /* it is in, or a trigger has dropped it */
    int64 skipped;          /* so many of these were dropped */
    const Refusal *reasons; /* sqlerrcode 0: refused as before */
};

/* How many an import has; 0 as long as some chunk of it is not Completed. */
int64 count_pending(const Ledger *ledger, int64 import_id);
/* Those before a record, `most` at most, the last one first, in the current memory context; they are locked. */
PendingRecord *read_pending(const Ledger *ledger, int64 import_id, int64 before_row, int most, int *count);
/* Takes those that are gone out of rejected_rows, and counts them anew in their chunks. */
void settle_pending(const Ledger *ledger, const PendingOutcome *outcome);
/* What an import has refused, the records that are pending included, and the first of these. */
struct Refused {
    int64 count;
    Reject first; /* line number and reason only */
};
Refused read_refused(const Ledger *ledger, int64 import_id);
/* They are refused for good. */
void close_pending(const Ledger *ledger, int64 import_id);

} // namespace movielens_ingest::pg
