/*
 * settings.hpp - the settings movielens_ingest.*: the defaults of the options of ml_import(), how retries pause, and
 * how many processes imports may have.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/* What becomes of an import that meets a record that cannot be loaded. */
enum class OnError : uint8_t { Reject, Stop };

/* What an import is called with; uploaded_files.options keeps it. */
struct ImportOptions {
    int chunk_size;   /* records, 1 or more */
    int min_chunks;   /* 1 to 10000 */
    int max_workers;  /* processes that load, the leader counted, up to 1024; 0: one for each processor */
    int max_retries;  /* after the first try, 0 to 100 */
    int reject_limit; /* records of the file that may be refused; -1: any number */
    OnError on_error;
    bool force;         /* load a file again that was loaded before */
    bool at_least_once; /* load into a foreign table, which commits before we do */
    bool header;        /* the first record names the columns */
    char delimiter;
    char quote;
    char escape;
    const char *null_string;
    const char *encoding; /* of the file, by name; null: client_encoding */
    List *columns;        /* names (char *) of the fields' columns; NIL: those of the header, or all of the table */
    List *force_null;     /* names of columns */
    List *force_not_null; /* the same */
};

/* movielens_ingest.writer: Auto, or one of WriterKind, in the same order. */
enum class WriterSetting : int { Auto, Pages, MultiInsert, Spi };

WriterSetting writer_setting();

/* movielens_ingest.defer_indexes */
enum class DeferSetting : int { Auto, On, Off };

DeferSetting defer_setting();

/* movielens_ingest.autoresume */
bool autoresume_setting();

/* movielens_ingest.file_extend_method: how new pages of a heap get their place on disk. */
enum class FileExtendMethod : int { PosixFallocate, WriteZeros };

FileExtendMethod file_extend_method_setting();

/* movielens_ingest.max_processes; 0: a share of max_worker_processes. */
int max_processes_setting();
/* movielens_ingest.max_processes_per_role, of this session; 0: any number. */
int max_processes_per_role_setting();

void define_settings();

/*
 * The options that the settings give to a call that names none, in the current memory context. An escape of '\0' is the
 * quote, whichever that is. What weakens a promise (force, at_least_once) is never a setting: the owner of a database
 * could have it set for a superuser's sessions (ALTER DATABASE ... SET).
 */
ImportOptions default_options();

/* "reject" or "stop". on_error_of() takes any letter case; false: it is neither. */
const char *on_error_name(OnError on_error);
bool on_error_of(const char *name, OnError *on_error);

/* Raises 22023 for a number out of its range. */
void check_options(const ImportOptions *options);

/* How many processes the option max_workers stands for: 0 is one for each processor. */
int process_count(int max_workers);

/* The pause before the next try of a chunk after so many failed ones (1 or more): doubled each time. Milliseconds. */
long retry_pause(int attempts);

} // namespace movielens_ingest::pg
