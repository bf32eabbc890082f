/*
 * unquoted_records.hpp - counts records up to the next quote, by wide instructions.
 *
 * Without a quote each line end ends a record, whatever the escape is and whatever RecordScanner finds wrong with the
 * record; an end-of-copy marker is a record of its own, or part of the one it stands in.
 */
#pragma once

#include "core/dialect.hpp"

#include <cstddef>
#include <cstdint>

namespace movielens_ingest::core {

struct RecordCount {
    uint64_t records;
    uint64_t lines; /* line breaks in them, see Record */
};

/*
 * Reads data[*pos, size), from the start of a record, up to the first quote, or until it has counted `most` records,
 * 1 or more. *pos is then just behind the last one's line end: where it was, if there is none. dialect.line_end must be
 * known.
 */
RecordCount count_unquoted_records(const Dialect &dialect, const char *data, size_t size, size_t *pos,
                                   uint64_t most) noexcept;

} // namespace movielens_ingest::core
