#include "pg/settings.hpp"

#include "core/chunk_planner.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr int kMaxMinChunks = static_cast<int>(core::ChunkPlanner::kMaxMinChunks);
constexpr int kMaxWorkers = 1024; /* as MAX_PARALLEL_WORKER_LIMIT */
constexpr int kMaxRetries = 100;
constexpr int kMostProcesses = 32000; /* there are numbers for more */
constexpr long kLongestPause = 10 * 60 * 1000;

/* What the server's code for settings writes to. */
struct Settings {
    char *delimiter;
    char *quote;
    char *escape; /* empty: the quote */
    char *null_string;
    bool header;
    char *encoding; /* empty: client_encoding */
    int on_error;   /* OnError */
    int reject_limit;
    int chunk_size;
    int min_chunks;
    int max_workers;
    int max_retries;
    int retry_delay;
    int file_extend_method; /* FileExtendMethod */
    int max_processes;
    int max_processes_per_role;
    int writer; /* WriterSetting */
    int defer;  /* DeferSetting */
    bool autoresume;
};
Settings settings;

const config_enum_entry kWriters[] = {{"auto", static_cast<int>(WriterSetting::Auto), false},
                                      {"pages", static_cast<int>(WriterSetting::Pages), false},
                                      {"multi_insert", static_cast<int>(WriterSetting::MultiInsert), false},
                                      {"spi", static_cast<int>(WriterSetting::Spi), false},
                                      {nullptr, 0, false}};

const config_enum_entry kDefer[] = {{"auto", static_cast<int>(DeferSetting::Auto), false},
                                    {"on", static_cast<int>(DeferSetting::On), false},
                                    {"off", static_cast<int>(DeferSetting::Off), false},
                                    {nullptr, 0, false}};

const config_enum_entry kFileExtendMethods[] = {
#ifdef HAVE_POSIX_FALLOCATE
    {"posix_fallocate", static_cast<int>(FileExtendMethod::PosixFallocate), false},
#endif
    {"write_zeros", static_cast<int>(FileExtendMethod::WriteZeros), false},
    {nullptr, 0, false}};

const config_enum_entry kOnError[] = {{"reject", static_cast<int>(OnError::Reject), false},
                                      {"stop", static_cast<int>(OnError::Stop), false},
                                      {nullptr, 0, false}};

void check_range(const char *name, int value, int least, int most) {
    if (value < least || value > most) {
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid value for option \"%s\": %d", name, value),
                 errdetail("Valid values are between %d and %d.", least, most)));
    }
}

/* What ProcessCopyOptions asks of an option alone. The call that uses them checks what they are together. */

bool check_character(char **value, void ** /*extra*/, GucSource /*source*/) {
    if (strlen(*value) == 1 && strpbrk(*value, "\r\n") == nullptr) {
        return true;
    }
    GUC_check_errdetail("It must be a single one-byte character, but not newline or carriage return.");
    return false;
}

bool check_escape(char **value, void **extra, GucSource source) {
    return **value == '\0' || check_character(value, extra, source);
}

bool check_null_string(char **value, void ** /*extra*/, GucSource /*source*/) {
    if (strpbrk(*value, "\r\n") == nullptr) {
        return true;
    }
    GUC_check_errdetail("It cannot use newline or carriage return.");
    return false;
}

bool check_encoding(char **value, void ** /*extra*/, GucSource /*source*/) {
    return **value == '\0' || pg_char_to_encoding(*value) >= 0;
}

void define_string(const char *name, const char *description, const char *more, char **value, const char *initial,
                   GucStringCheckHook check) {
    DefineCustomStringVariable(name, description, more, value, initial, PGC_USERSET, 0, check, nullptr, nullptr);
}

void define_bool(const char *name, const char *description, bool *value, bool initial) {
    DefineCustomBoolVariable(name, description, nullptr, value, initial, PGC_USERSET, 0, nullptr, nullptr, nullptr);
}

void define_int(const char *name, const char *description, const char *more, int *value, int initial, int least,
                int most, int flags) {
    DefineCustomIntVariable(name, description, more, value, initial, least, most, PGC_USERSET, flags, nullptr, nullptr,
                            nullptr);
}

/*
 * What a client asks for when it connects is taken for a setting of a library that is not loaded yet, and hides what
 * the configuration and the role have: these do not come back when it turns out that the client may not set it
 * (define_custom_variable). So a limit would be gone.
 */
void refuse_limits_of_client() {
    static const char *const names[] = {"movielens_ingest.max_processes", "movielens_ingest.max_processes_per_role"};
    int count;
    config_generic **variables = configuration_variables(&count);

    for (int i = 0; i < count; i++) {
        const config_generic *variable = variables[i];

        for (const char *const name : names) {
            if ((variable->flags & GUC_CUSTOM_PLACEHOLDER) != 0 && variable->reset_source == PGC_S_CLIENT &&
                variable->reset_scontext == PGC_BACKEND && pg_strcasecmp(variable->name, name) == 0) {
                ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                                errmsg("permission denied to set parameter \"%s\"", name),
                                errdetail("It is among the options of the connection.")));
            }
        }
    }
}

} // namespace

void define_settings() {
    refuse_limits_of_client();
    define_string("movielens_ingest.delimiter", "Sets the character between two fields of a record.", nullptr,
                  &settings.delimiter, ",", check_character);
    define_string("movielens_ingest.quote", "Sets the character around quoted fields.", nullptr, &settings.quote, "\"",
                  check_character);
    define_string("movielens_ingest.escape",
                  "Sets the character that makes a quote behind it an ordinary character of a quoted field.",
                  "An empty string means the quote.", &settings.escape, "", check_escape);
    define_string("movielens_ingest.null_string", "Sets the field that stands for NULL.", nullptr,
                  &settings.null_string, "", check_null_string);
    define_bool("movielens_ingest.header", "Says that the first line of a file names its columns.", &settings.header,
                true);
    define_string("movielens_ingest.encoding", "Sets the encoding of a file.", "An empty string means client_encoding.",
                  &settings.encoding, "", check_encoding);
    DefineCustomEnumVariable("movielens_ingest.on_error", "Sets what becomes of a record that cannot be loaded.",
                             "\"reject\" notes it in rejected_rows; \"stop\" ends the import.", &settings.on_error,
                             static_cast<int>(OnError::Reject), kOnError, PGC_USERSET, 0, nullptr, nullptr, nullptr);
    define_int("movielens_ingest.reject_limit", "Sets how many records of a file may be refused.",
               "-1 means any number.", &settings.reject_limit, -1, -1, INT_MAX, 0);
    define_int("movielens_ingest.chunk_size", "Sets the number of records in a chunk.", nullptr, &settings.chunk_size,
               30000, 1, INT_MAX, 0);
    define_int("movielens_ingest.min_chunks", "Sets the least number of chunks a file is cut into.",
               "A file that has fewer records than this is cut into chunks of one record.", &settings.min_chunks, 12, 1,
               kMaxMinChunks, 0);
    define_int("movielens_ingest.max_workers", "Sets the number of processes that load a file, its leader counted.",
               "0 means one for each processor.", &settings.max_workers, 0, 0, kMaxWorkers, 0);
    define_int("movielens_ingest.max_retries", "Sets how often a chunk is tried again after a transient error.",
               nullptr, &settings.max_retries, 3, 0, kMaxRetries, 0);
    define_int("movielens_ingest.retry_delay",
               "Sets the pause before a chunk is tried again; it doubles with every try.", nullptr,
               &settings.retry_delay, 1000, 0, static_cast<int>(kLongestPause), GUC_UNIT_MS);
    DefineCustomEnumVariable("movielens_ingest.file_extend_method", "Sets how tables are extended on disk.",
                             "As file_extend_method of PostgreSQL 16 and later, which has the same default.",
                             &settings.file_extend_method, kFileExtendMethods[0].val, kFileExtendMethods, PGC_SIGHUP, 0,
                             nullptr, nullptr, nullptr);
    DefineCustomIntVariable(
        "movielens_ingest.max_processes",
        "Sets how many processes imports may have on the server: leaders, workers, and the parallel "
        "workers of their index builds and of ml_validate().",
        "0 means three quarters of max_worker_processes.", &settings.max_processes, 0, 0, kMostProcesses, PGC_SIGHUP, 0,
        nullptr, nullptr, nullptr);
    DefineCustomIntVariable(
        "movielens_ingest.max_processes_per_role", "Sets how many of these processes the imports of a role may have.",
        "0 means any number. It counts for the role that has logged in.", &settings.max_processes_per_role, 0, 0,
        kMostProcesses, PGC_SUSET, 0, nullptr, nullptr, nullptr);
    DefineCustomEnumVariable("movielens_ingest.writer", "Sets how records get into a table.",
                             "\"auto\" takes the fastest writer that can keep every rule of the table.",
                             &settings.writer, static_cast<int>(WriterSetting::Auto), kWriters, PGC_USERSET, 0, nullptr,
                             nullptr, nullptr);
    DefineCustomEnumVariable(
        "movielens_ingest.defer_indexes", "Sets whether indexes of an empty table are built when it has been loaded.",
        "\"auto\" does so for files of 1 MB or more; \"off\" maintains them with every row.", &settings.defer,
        static_cast<int>(DeferSetting::Auto), kDefer, PGC_USERSET, 0, nullptr, nullptr, nullptr);
    DefineCustomBoolVariable("movielens_ingest.autoresume",
                             "Goes on with interrupted imports when the server has started.",
                             "This needs the library in shared_preload_libraries.", &settings.autoresume, true,
                             PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
    MarkGUCPrefixReserved("movielens_ingest");
}

WriterSetting writer_setting() { return static_cast<WriterSetting>(settings.writer); }

bool autoresume_setting() { return settings.autoresume; }

FileExtendMethod file_extend_method_setting() { return static_cast<FileExtendMethod>(settings.file_extend_method); }

int max_processes_setting() { return settings.max_processes; }

int max_processes_per_role_setting() { return settings.max_processes_per_role; }

DeferSetting defer_setting() { return static_cast<DeferSetting>(settings.defer); }

ImportOptions default_options() {
    ImportOptions options;

    memset(&options, 0, sizeof(options));
    options.chunk_size = settings.chunk_size;
    options.min_chunks = settings.min_chunks;
    options.max_workers = settings.max_workers;
    options.max_retries = settings.max_retries;
    options.reject_limit = settings.reject_limit;
    options.on_error = static_cast<OnError>(settings.on_error);
    options.header = settings.header;
    options.delimiter = *settings.delimiter;
    options.quote = *settings.quote;
    options.escape = *settings.escape;
    options.null_string = pstrdup(settings.null_string);
    options.encoding = *settings.encoding != '\0' ? pstrdup(settings.encoding) : nullptr;
    return options;
}

const char *on_error_name(OnError on_error) { return kOnError[static_cast<int>(on_error)].name; }

bool on_error_of(const char *name, OnError *on_error) {
    for (const config_enum_entry *entry = kOnError; entry->name != nullptr; entry++) {
        if (pg_strcasecmp(entry->name, name) == 0) {
            *on_error = static_cast<OnError>(entry->val);
            return true;
        }
    }
    return false;
}

void check_options(const ImportOptions *options) {
    check_range("chunk_size", options->chunk_size, 1, INT_MAX);
    check_range("min_chunks", options->min_chunks, 1, kMaxMinChunks);
    check_range("max_workers", options->max_workers, 0, kMaxWorkers);
    check_range("max_retries", options->max_retries, 0, kMaxRetries);
}

int process_count(int max_workers) {
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);

    return max_workers > 0 ? max_workers : static_cast<int>(Max(processors, 1));
}

long retry_pause(int attempts) {
    long pause = settings.retry_delay;

    for (int i = 1; i < attempts && pause < kLongestPause; i++) {
        pause *= 2;
    }
    return Min(pause, kLongestPause);
}

} // namespace movielens_ingest::pg
