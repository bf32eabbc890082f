#include "core/chunk_planner.hpp"

#include <algorithm>
#include <limits>
#include <new>

namespace movielens_ingest::core {

namespace {

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

uint64_t saturating_multiply(uint64_t a, uint64_t b) { return b != 0 && a > kMax / b ? kMax : a * b; }

/* floor(part * rows / parts); the product itself might overflow. */
uint64_t even_cut(uint64_t part, uint64_t rows, uint64_t parts) {
    return part * (rows / parts) + part * (rows % parts) / parts;
}

} // namespace

ChunkPlanner::ChunkPlanner(const Dialect &dialect, uint64_t data_start, uint64_t start_line, uint64_t chunk_size,
                           uint64_t min_chunks)
    : scanner_(dialect), chunk_size_(chunk_size), min_chunks_(min_chunks),
      decisive_rows_(saturating_multiply(chunk_size, min_chunks)), chunk_{1, 1, 0, data_start, 0, start_line, 0},
      first_chunk_(chunk_) {
    go_back_to_chunk();
}

bool ChunkPlanner::done() const noexcept { return phase_ == Phase::Done; }

uint64_t ChunkPlanner::position() const noexcept { return position_; }

uint64_t ChunkPlanner::rows() const noexcept { return rows_; }

bool ChunkPlanner::feed(const char *data, size_t size) noexcept {
    try {
        while (size > 0 && !done()) {
            const uint64_t stop = next_stop();
            const size_t piece = static_cast<size_t>(std::min<uint64_t>(size, stop - position_));
            scan(data, piece);
            if (position_ == stop && !end_piece(phase_ == Phase::Even && stop == file_end_))
                break; /* what is left of data does not follow */
            data += piece;
            size -= piece;
        }
    } catch (const std::bad_alloc &) {
        return false;
    }
    return true;
}

bool ChunkPlanner::end_of_file() noexcept {
    try {
        if (!done()) {
            file_end_ = position_;
            end_piece(true);
        }
    } catch (const std::bad_alloc &) {
        return false;
    }
    return true;
}

bool ChunkPlanner::take(Chunk *chunk) noexcept {
    if (phase_ == Phase::Undecided || chunks_.empty())
        return false;
    *chunk = chunks_.front();
    chunks_.pop_front();
    return true;
}

/* The next offset where no record may go on, whatever its quotes say. */
uint64_t ChunkPlanner::next_stop() const noexcept {
    const uint64_t end = phase_ == Phase::Even ? file_end_ : kMax;
    return position_ < cut_ ? std::min(cut_, end) : end;
}

void ChunkPlanner::scan(const char *data, size_t size) {
    size_t pos = 0;
    size_t hashed = 0;
    for (;;) {
        const size_t start = pos;
        const RecordCount passed = scanner_.pass_unquoted(data, size, &pos, chunk_last_row_ - rows_);
        bool chunk_ends;
        Record record;
        if (passed.records > 0)
            chunk_ends = end_records(passed.records, passed.lines, pos - start);
        else if (scanner_.next(data, size, &pos, &record))
            chunk_ends = end_records(1, record.lines, record.size);
        else
            break;
        if (chunk_ends) {
            checksum_.update(data + hashed, pos - hashed);
            hashed = pos;
            cut_chunk();
        }
    }
    checksum_.update(data + hashed, size - hashed);
    position_ += size;
}

/* True: the chunk ends with the last of them. */
bool ChunkPlanner::end_records(uint64_t records, uint64_t lines, uint64_t bytes) noexcept {
    rows_ += records;
    line_ += lines;
    record_start_ += bytes;
    /* A chunk ends there too, so no records are passed beyond it. */
    if (phase_ == Phase::Undecided && rows_ == decisive_rows_)
        phase_ = Phase::Decided;
    return rows_ == chunk_last_row_;
}

/* checksum_ must be that of the chunk's bytes up to record_start_. */
void ChunkPlanner::cut_chunk() {
    chunk_.end_row = rows_;
    chunk_.end_byte = record_start_;
    chunk_.checksum = checksum_.value();
    chunks_.push_back(chunk_);

    ++chunk_.number;
    chunk_.start_row = rows_ + 1;
    chunk_.start_byte = record_start_;
    chunk_.start_line = line_;
    start_chunk();
}

void ChunkPlanner::start_chunk() noexcept {
    /* No overflow: rows_ is 0 or, behind a full chunk, at least chunk_size_; and no file has 2^63 rows. */
    chunk_last_row_ = phase_ == Phase::Even ? even_cut(chunk_.number, all_rows_, parts_) : rows_ + chunk_size_;
    checksum_.reset();
}

void ChunkPlanner::go_back_to_chunk() noexcept {
    position_ = record_start_ = chunk_.start_byte;
    line_ = chunk_.start_line;
    rows_ = chunk_.start_row - 1;
    scanner_.restart(false);
    start_chunk();
}

/*
 * No record goes on behind position_: the file ends there, or the record is one that is known to be cut there. False:
 * the planner went back.
 *
 * If a quote is open at the end of the file, its record is cut behind its first line break, and the checksum has to
 * start anew, because it covers bytes that now belong to other records. That happens once: behind the cut the scanner
 * cuts at each line break (RecordScanner::cut_record says why), so the end of the file finds no record to be cut.
 * Should the file change meanwhile, a further cut can only be made before the one that is known.
 *
 * A loader, which sees a chunk's bytes only, finds the same records. Up to the first cut in the chunk it does what the
 * planner did. A record that the planner cut meets no line end outside quotes up to the end of the file when it is
 * scanned on, so it is in quotes at each CR and LF that ends a record behind it; the chunk ends at one of them, or with
 * the file. So the loader reaches the end of its bytes with the quote open, cuts at the same line break, and scans what
 * is behind it as the planner did.
 */
bool ChunkPlanner::end_piece(bool file_ends) {
    Record record;
    if (scanner_.finish(&record)) {
        const uint64_t cut = record_start_ + record.size;
        if (cut < position_) {
            cut_ = cut;
            go_back_to_chunk();
            return false;
        }
        if (end_records(1, record.lines, record.size))
            cut_chunk();
    }
    if (position_ == cut_)
        scanner_.restart(true);
    if (!file_ends)
        return true;

    const uint64_t parts = std::min(min_chunks_, rows_);
    if (phase_ == Phase::Undecided && parts > 1) {
        phase_ = Phase::Even;
        parts_ = parts;
        all_rows_ = rows_;
        chunks_.clear();
        chunk_ = first_chunk_;
        go_back_to_chunk();
        return false;
    }
    if (rows_ >= chunk_.start_row)
        cut_chunk();
    phase_ = Phase::Done;
    return true;
}

} // namespace movielens_ingest::core
