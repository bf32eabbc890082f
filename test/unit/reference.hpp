/*
 * reference.hpp - what the scanner, the splitter and the planner must say, worked out slowly from the whole input.
 */
#pragma once

#include "core/chunk_planner.hpp"
#include "core/dialect.hpp"
#include "core/field_buffer.hpp"
#include "core/record_scanner.hpp"

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace movielens_ingest::core {

/* A record and where it stands. */
struct Placed {
    uint64_t start;
    uint64_t size;
    uint64_t content;
    uint64_t lines;
    RecordFault fault;
};

bool operator==(const Placed &a, const Placed &b);
std::ostream &operator<<(std::ostream &out, const Placed &record);

bool operator==(const Chunk &a, const Chunk &b);
std::ostream &operator<<(std::ostream &out, const Chunk &chunk);

/* A field's value; nothing for NULL. */
using Value = std::optional<std::string>;

/* For messages: the text with its control characters readable, and the text and how it is written. */
std::string visible(const std::string &text);
std::string describe(const std::string &bytes, const Dialect &dialect);

/* The dialect of a file with commas; escape is quote if it is not given. */
Dialect with(LineEnd line_end, char quote = '"');
Dialect with(LineEnd line_end, char quote, char escape);

/* Quote and escape are often the same, and often characters that mean something else too. */
Dialect random_dialect(std::mt19937 *random, LineEnd line_end);

/* The records of a file or of a part of it. */
std::vector<Placed> reference_records(const std::string &bytes, Dialect dialect);

/* The fields of a record, nothing if a quote in it never closes. */
std::optional<std::vector<Value>> reference_fields(const std::string &record, const Dialect &dialect);

/* The fields of a record of the file that is plain (plain_records.hpp), nothing if it is not. */
using PlainFields = std::optional<std::vector<std::string>>;
PlainFields reference_plain_fields(const std::string &bytes, const Placed &record, const Dialect &dialect,
                                   size_t fields);

/* The chunks of a file whose records are known. */
std::vector<Chunk> reference_chunks(const std::string &bytes, const std::vector<Placed> &records, uint64_t data_start,
                                    uint64_t start_line, uint64_t chunk_size, uint64_t min_chunks);

} // namespace movielens_ingest::core
