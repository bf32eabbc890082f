#include "core/unquoted_records.hpp"

#include "core/wide.hpp"

namespace movielens_ingest::core {

namespace {

uint64_t count_bits(uint64_t mask) noexcept { return static_cast<uint64_t>(__builtin_popcountll(mask)); }

} // namespace

/*
 * An LF outside quotes ends a record in every file; a CR, in a file whose line end is CR. Only the file's own line end
 * counts as a line break.
 */
RecordCount count_unquoted_records(const Dialect &dialect, const char *data, size_t size, size_t *pos,
                                   uint64_t most) noexcept {
    return with_wide([&](auto wide) __attribute__((always_inline)) {
        using Wide = decltype(wide);
        const bool cr = dialect.line_end == LineEnd::Cr;
        RecordCount count{0, 0};
        char room[kBlockSize];

        for (size_t start = *pos; start < size; start += kBlockSize) {
            const char *const block = read_block(data + start, size - start, &room);
            const uint64_t quotes = Wide::equal(block, dialect.quote);
            const uint64_t newlines = Wide::equal(block, '\n');
            const uint64_t breaks = cr ? Wide::equal(block, '\r') : newlines;
            uint64_t ends = (newlines | breaks) & bits_before(quotes);

            const bool last = count_bits(ends) >= most - count.records;
            if (last) {
                uint64_t behind = ends;
                for (uint64_t left = most - count.records; left > 0; --left)
                    behind &= behind - 1;
                ends &= bits_before(behind);
            }
            if (ends != 0)
                *pos = start + kBlockSize - static_cast<size_t>(__builtin_clzll(ends));
            count.records += count_bits(ends);
            count.lines += count_bits(ends & breaks);
            if (last || quotes != 0)
                break;
        }
        return count;
    });
}

} // namespace movielens_ingest::core
