/*
 * feed.hpp - feeds scanner and planner as leader and workers do. They throw std::logic_error at what can never be
 * right.
 */
#pragma once

#include "core/chunk_planner.hpp"
#include "core/dialect.hpp"
#include "reference.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace movielens_ingest::core {

/* A copy in memory of its exact size, so that AddressSanitizer sees a look behind it. */
struct Exact {
    explicit Exact(const std::string &text, size_t from = 0, size_t most = std::string::npos);

    size_t size;
    std::unique_ptr<char[]> bytes;
};

/*
 * The records as RecordScanner finds them when the bytes come in pieces that end at the given offsets, with the bytes
 * behind a cut fed again. line_end, if given, takes what the scanner says of it at the end.
 */
std::vector<Placed> scan_in_pieces(const std::string &bytes, const Dialect &dialect, const std::vector<size_t> &ends,
                                   LineEnd *line_end = nullptr);

/* The same with pieces of one size. */
std::vector<Placed> scan_by(size_t piece, const std::string &bytes, const Dialect &dialect);

/*
 * The fields of the plain records among those of the file as PlainScanner finds them, so many at most at a time;
 * nothing for a record that it stops at.
 */
std::vector<PlainFields> split_plain_records(const std::string &bytes, const Dialect &dialect,
                                             const std::vector<Placed> &records, size_t fields, size_t most);

struct Plan {
    std::vector<Chunk> chunks;
    uint64_t rows = 0;
    uint64_t fed = 0; /* bytes, all readings together */
};

/* Plans a file, reading at most so many bytes at a time. */
Plan plan(const std::string &bytes, const Dialect &dialect, uint64_t data_start, uint64_t start_line,
          uint64_t chunk_size, uint64_t min_chunks, size_t piece);

/*
 * The records of a chunk as its loader finds them, who sees nothing of the rest of the file (record_reader.cpp): in
 * pieces of whole records, each of them scanned anew, from a buffer that grows for a longer record.
 */
std::vector<Placed> load(const std::string &bytes, const Dialect &dialect, const Chunk &chunk, size_t buffer_size,
                         size_t piece_records);

} // namespace movielens_ingest::core
