#include "core/plain_records.hpp"

#include "core/wide.hpp"

namespace movielens_ingest::core {

namespace {

uint32_t take_position(uint64_t *mask, uint32_t start) noexcept {
    constexpr uint64_t kLast = uint64_t{1} << (kBlockSize - 1); /* for a mask that is used up */
    const auto bit = static_cast<uint32_t>(__builtin_ctzll(*mask | kLast));
    *mask &= *mask - 1;
    return start + bit;
}

/* room: for so many. If that is enough for any mask, up to three too many are written. */
__attribute__((always_inline)) inline void write_positions(uint64_t mask, uint32_t start, uint32_t *out,
                                                           size_t room) noexcept {
    if (room < kBlockSize) {
        for (; mask != 0 && room > 0; --room)
            *out++ = take_position(&mask, start);
        return;
    }
    /* Four in each turn: few jumps that are guessed wrong. */
    for (; mask != 0; out += 4) {
        out[0] = take_position(&mask, start);
        out[1] = take_position(&mask, start);
        out[2] = take_position(&mask, start);
        out[3] = take_position(&mask, start);
    }
}

} // namespace

/* Of a block. */
struct PlainScanner::Marks {
    uint64_t delimiters;
    uint64_t line_ends; /* where their last byte is */
    uint64_t others;    /* the record here is not plain */
};

PlainScanner::PlainScanner(const Dialect &dialect, size_t fields) noexcept : dialect_(dialect), fields_(fields) {}

/*
 * *after_cr: the byte before the block is a CR that wants its LF. A CR without one shows at the byte behind it, which
 * still is in its record.
 */
template <typename Wide>
__attribute__((always_inline)) inline PlainScanner::Marks PlainScanner::find_marks(const char *block,
                                                                                   bool *after_cr) const noexcept {
    const uint64_t delimiters = Wide::equal(block, dialect_.delimiter);
    const uint64_t quotes = Wide::equal(block, dialect_.quote);
    const uint64_t newlines = Wide::equal(block, '\n');
    const uint64_t carriage_returns = Wide::equal(block, '\r');

    if (dialect_.line_end == LineEnd::Lf)
        return {delimiters, newlines, quotes | carriage_returns};
    if (dialect_.line_end == LineEnd::Cr)
        return {delimiters, carriage_returns, quotes | newlines};
    const uint64_t wanted = carriage_returns << 1 | (*after_cr ? 1 : 0);
    *after_cr = carriage_returns >> (kBlockSize - 1) != 0;
    return {delimiters, newlines, quotes | (newlines ^ wanted)};
}

template <typename Wide>
__attribute__((always_inline)) inline size_t PlainScanner::scan_with(const char *data, size_t size, size_t *pos,
                                                                     size_t most, uint32_t *ends) const noexcept {
    const uint32_t line_end_rest = dialect_.line_end == LineEnd::CrLf ? 1 : 0;
    size_t records = 0;
    size_t written = 0; /* of ends */
    bool after_cr = false;
    char room[kBlockSize];

    const auto may_be_marker = [&](char first) { return first == '\\' && dialect_.end_marker; };
    if (most == 0 || *pos == size || may_be_marker(data[*pos]))
        return 0;
    for (size_t start = *pos; start < size; start += kBlockSize) {
        const char *const block = read_block(data + start, size - start, &room);
        const Marks marks = find_marks<Wide>(block, &after_cr);
        const uint64_t found = (marks.delimiters | marks.line_ends) & bits_before(marks.others);
        write_positions(found, static_cast<uint32_t>(start), ends + written, most * fields_ - written);

        for (uint64_t line_ends = marks.line_ends & found; line_ends != 0; line_ends &= line_ends - 1) {
            const uint64_t record_end = line_ends & -line_ends;
            const size_t passed = static_cast<size_t>(__builtin_popcountll(found & (record_end | (record_end - 1))));
            if (written + passed != (records + 1) * fields_)
                return records;
            ends[written + passed - 1] -= line_end_rest;
            *pos = start + static_cast<size_t>(__builtin_ctzll(record_end)) + 1;
            if (++records == most || *pos == size || may_be_marker(data[*pos]))
                return records;
        }
        written += static_cast<size_t>(__builtin_popcountll(found));
        if (marks.others != 0 || written >= (records + 1) * fields_)
            return records;
    }
    return records;
}

size_t PlainScanner::scan(const char *data, size_t size, size_t *pos, size_t most, uint32_t *ends) const noexcept {
    return with_wide([&](auto wide) __attribute__((always_inline)) {
        return scan_with<decltype(wide)>(data, size, pos, most, ends);
    });
}

} // namespace movielens_ingest::core
