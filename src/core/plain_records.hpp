/*
 * plain_records.hpp - records and fields of a stretch of plain records, in one go by wide instructions.
 *
 * A record is plain if it has the expected number of fields, ends in the file's line end, holds no quote and no other
 * CR or LF, and does not begin with a backslash if that may be an end-of-copy marker. RecordScanner finds the same
 * record then, one line and no fault, and FieldSplitter the same fields.
 */
#pragma once

#include "core/dialect.hpp"

#include <cstddef>
#include <cstdint>

namespace movielens_ingest::core {

class PlainScanner {
  public:
    /* dialect.line_end must be known; fields, 1 or more, is what each record must have. */
    PlainScanner(const Dialect &dialect, size_t fields) noexcept;

    /*
     * Reads data[*pos, size), from the start of a record, up to the first record that is not plain or not whole, or
     * until it has found `most` records. size is below 4 GB. Returns their number; *pos is just behind the last one.
     *
     * ends[i * fields + k] becomes the offset in data of what ends field k of record i: its delimiter or, behind the
     * last field, the line end. ends has room for most * fields; what is behind the records found may be written to.
     */
    size_t scan(const char *data, size_t size, size_t *pos, size_t most, uint32_t *ends) const noexcept;

  private:
    struct Marks;

    template <typename Wide>
    size_t scan_with(const char *data, size_t size, size_t *pos, size_t most, uint32_t *ends) const noexcept;

    template <typename Wide> Marks find_marks(const char *block, bool *after_cr) const noexcept;

    Dialect dialect_;
    size_t fields_;
};

} // namespace movielens_ingest::core
