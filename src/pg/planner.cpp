#include "pg/planner.hpp"

#include "pg/boundary.hpp"
#include "pg/error_text.hpp"
#include "pg/pg.hpp"
#include "pg/progress.hpp"
#include "pg/source_file.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr size_t kBufferSize = 1024 * 1024;
constexpr uint64 kStepSize = 64 * 1024 * 1024; /* bytes read in a transaction: a few tens of milliseconds */
constexpr int kStepChunks = 10000;

/* Reads what the planner wants next. Returns how many bytes. */
size_t feed_planner(const Import *import, core::ChunkPlanner *planner, int fd, char *buffer) {
    const size_t size = read_source_file(fd, import->path, buffer, kBufferSize, planner->position());

    if (!(size > 0 ? planner->feed(buffer, size) : planner->end_of_file())) {
        ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
    }
    return size;
}

} // namespace

core::ChunkPlanner *make_planner(const Import *import) {
    return construct<core::ChunkPlanner>(
        CurrentMemoryContext, dialect_of(import), static_cast<uint64_t>(import->data_start),
        static_cast<uint64_t>(import->data_line), static_cast<uint64_t>(import->options.chunk_size),
        static_cast<uint64_t>(import->options.min_chunks));
}

bool plan_chunk(const Import *import, core::ChunkPlanner *planner, core::Chunk *chunk) {
    bool found = planner->take(chunk);

    if (found || planner->done()) {
        return found;
    }
    auto *buffer = static_cast<char *>(palloc(kBufferSize));
    const int fd = open_planned_file(import);
    while (!found && !planner->done()) {
        (void)feed_planner(import, planner, fd, buffer);
        found = planner->take(chunk);
    }
    close_source_file(fd);
    pfree(buffer);
    return found;
}

void report_planning(const Import *import) {
    report_activity("movielens_ingest: planning import " INT64_FORMAT " of file \"%s\"", import->id,
                    show_name(import->path));
}

int64 plan_step(const Loader *loader, const Import *import, core::ChunkPlanner *planner, int64 planned_chunks) {
    uint64 bytes = 0;
    int count = 0;

    report_planning(import);
    begin_transaction(&loader->identity);
    auto *buffer = static_cast<char *>(palloc(kBufferSize));
    auto *chunks = static_cast<core::Chunk *>(palloc(sizeof(core::Chunk) * kStepChunks));
    const int fd = open_planned_file(import);

    while (count < kStepChunks) {
        if (planner->take(&chunks[count])) {
            count++;
            continue;
        }
        if (planner->done() || bytes >= kStepSize) {
            break;
        }
        bytes += feed_planner(import, planner, fd, buffer);
    }
    close_source_file(fd);

    add_chunks(&loader->ledger, import, chunks, count);
    if (planner->done()) {
        mark_planned(&loader->ledger, import->id, static_cast<int64>(planner->rows()));
    }
    commit_transaction();
    return planned_chunks + count;
}

} // namespace movielens_ingest::pg
