#include "pg/settings.hpp"

#include "core/chunk_planner.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr int kMaxMinChunks = static_cast<int>(core::ChunkPlanner::kMaxMinChunks);
constexpr int kMaxWorkers = 1024; /* as MAX_PARALLEL_WORKER_LIMIT */
constexpr int kMaxRetries = 100;
constexpr long kLongestPause = 10 * 60 * 1000;

ImportOptions defaults = {30000, 12, 0, 3, -1, OnError::Reject, false, false, true, ',', '"', '"', "", nullptr};
int retry_delay = 1000;
int writer = static_cast<int>(WriterSetting::Auto);

const config_enum_entry kWriters[] = {{"auto", static_cast<int>(WriterSetting::Auto), false},
                                      {"multi_insert", static_cast<int>(WriterSetting::MultiInsert), false},
                                      {"spi", static_cast<int>(WriterSetting::Spi), false},
                                      {nullptr, 0, false}};

void check_range(const char *name, int value, int least, int most) {
    if (value < least || value > most) {
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid value for option \"%s\": %d", name, value),
                 errdetail("Valid values are between %d and %d.", least, most)));
    }
}

} // namespace

void define_settings() {
    DefineCustomIntVariable("movielens_ingest.chunk_size", "Sets the number of records in a chunk.", nullptr,
                            &defaults.chunk_size, 30000, 1, INT_MAX, PGC_USERSET, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("movielens_ingest.min_chunks", "Sets the least number of chunks a file is cut into.",
                            "A file that has fewer records than this is cut into chunks of one record.",
                            &defaults.min_chunks, 12, 1, kMaxMinChunks, PGC_USERSET, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("movielens_ingest.max_workers",
                            "Sets the number of processes that load a file, its leader counted.",
                            "0 means one for each processor.", &defaults.max_workers, 0, 0, kMaxWorkers, PGC_USERSET, 0,
                            nullptr, nullptr, nullptr);
    DefineCustomIntVariable("movielens_ingest.max_retries",
                            "Sets how often a chunk is tried again after a transient error.", nullptr,
                            &defaults.max_retries, 3, 0, kMaxRetries, PGC_USERSET, 0, nullptr, nullptr, nullptr);
    DefineCustomBoolVariable("movielens_ingest.force", "Loads a file again that was loaded into the same table before.",
                             nullptr, &defaults.force, false, PGC_USERSET, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("movielens_ingest.retry_delay",
                            "Sets the pause before a chunk is tried again; it doubles with every try.", nullptr,
                            &retry_delay, 1000, 0, static_cast<int>(kLongestPause), PGC_USERSET, GUC_UNIT_MS, nullptr,
                            nullptr, nullptr);
    DefineCustomEnumVariable("movielens_ingest.writer", "Sets how records get into a table.",
                             "\"auto\" takes the fastest writer that can keep every rule of the table.", &writer,
                             static_cast<int>(WriterSetting::Auto), kWriters, PGC_USERSET, 0, nullptr, nullptr,
                             nullptr);
    MarkGUCPrefixReserved("movielens_ingest");
}

WriterSetting writer_setting() { return static_cast<WriterSetting>(writer); }

ImportOptions default_options() { return defaults; }

void check_options(const ImportOptions *options) {
    check_range("chunk_size", options->chunk_size, 1, INT_MAX);
    check_range("min_chunks", options->min_chunks, 1, kMaxMinChunks);
    check_range("max_workers", options->max_workers, 0, kMaxWorkers);
    check_range("max_retries", options->max_retries, 0, kMaxRetries);
}

long retry_pause(int attempts) {
    long pause = retry_delay;

    for (int i = 1; i < attempts && pause < kLongestPause; i++) {
        pause *= 2;
    }
    return Min(pause, kLongestPause);
}

} // namespace movielens_ingest::pg
