/*
 * planning.cpp - how fast the core plans a file with checksums, as the leader does it: planning FILE [CHUNK_SIZE]
 *
 * Prints GB/s. The file is read as it is, with a line end of LF or CRLF and no header; so run it twice to have it
 * cached.
 */
#include "core/chunk_planner.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <vector>

namespace movielens_ingest::core {
namespace {

constexpr size_t kBufferSize = 1024 * 1024; /* as src/pg/planner.cpp has it */

/* The line end of the first line. */
LineEnd find_line_end(int fd, std::vector<char> *buffer) {
    RecordScanner scanner{Dialect()};
    Record record;
    size_t pos = 0;
    const ssize_t size = pread(fd, buffer->data(), buffer->size(), 0);
    if (size > 0)
        scanner.next(buffer->data(), static_cast<size_t>(size), &pos, &record);
    return scanner.line_end();
}

/* False: the file can't be read. */
bool plan(int fd, uint64_t chunk_size) {
    std::vector<char> buffer(kBufferSize);
    Dialect dialect;
    dialect.line_end = find_line_end(fd, &buffer);
    if (dialect.line_end == LineEnd::Unknown)
        dialect.line_end = LineEnd::Lf;

    const auto start = std::chrono::steady_clock::now();
    ChunkPlanner planner(dialect, 0, 1, chunk_size, 1);
    uint64_t bytes = 0;
    Chunk chunk;
    while (!planner.done()) {
        const ssize_t size = pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(planner.position()));
        if (size < 0 || !(size > 0 ? planner.feed(buffer.data(), static_cast<size_t>(size)) : planner.end_of_file()))
            return false;
        bytes += static_cast<uint64_t>(size);
        while (planner.take(&chunk))
            ;
    }
    const std::chrono::duration<double, std::nano> time = std::chrono::steady_clock::now() - start;
    printf("%.2f\n", static_cast<double>(bytes) / time.count());
    return true;
}

} // namespace
} // namespace movielens_ingest::core

int main(int argc, char **argv) {
    try {
        if (argc != 2 && argc != 3) {
            fprintf(stderr, "usage: %s FILE [CHUNK_SIZE]\n", argv[0]);
            return 2;
        }
        const int fd = open(argv[1], O_RDONLY | O_CLOEXEC);
        if (fd < 0 || !movielens_ingest::core::plan(fd, argc == 3 ? strtoull(argv[2], nullptr, 10) : 30000)) {
            perror(argv[1]);
            return 1;
        }
        return 0;
    } catch (const std::exception &error) {
        fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
