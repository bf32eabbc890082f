/*
 * chunk_planner.hpp - cuts a file into chunks of whole records, in one sequential pass.
 *
 * A file of at least chunk_size * min_chunks records is cut every chunk_size records; its chunks come out while it is
 * being read. A smaller one is cut into min_chunks even chunks (never more than it has records), so that it still loads
 * in parallel; the cuts are known at its end only, so its bytes are read once more to place them and for their
 * checksums.
 *
 * The planner does no I/O: it names the offset that it wants to read on from. If the file changes between two readings
 * of the same bytes, the chunks still tile what was read, and planning ends; that they describe one state of the file
 * is the caller's to check.
 */
#pragma once

#include "core/checksum.hpp"
#include "core/dialect.hpp"
#include "core/record_scanner.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>

namespace movielens_ingest::core {

/*
 * Its bytes can be scanned alone, from start_byte to end_byte: the same records come out that the planner counted, if
 * the end of the chunk is treated as the end of the input (RecordScanner::finish, and on from the cut if it made one).
 */
struct Chunk {
    uint64_t number;    /* from 1, without a gap */
    uint64_t start_row; /* data records of the file, from 1 */
    uint64_t end_row;   /* inclusive */
    uint64_t start_byte;
    uint64_t end_byte;   /* exclusive */
    uint64_t start_line; /* physical line of the file where its first record starts, from 1 */
    uint64_t checksum;   /* XXH3-64 of its bytes */
};

class ChunkPlanner {
  public:
    static constexpr uint64_t kMaxMinChunks = 10000;

    /*
     * data_start: byte offset of the first data record (behind a header); start_line: its physical line.
     * chunk_size in records, 1 or more; min_chunks from 1 to kMaxMinChunks. dialect.line_end must be known.
     * Throws std::bad_alloc.
     */
    ChunkPlanner(const Dialect &dialect, uint64_t data_start, uint64_t start_line, uint64_t chunk_size,
                 uint64_t min_chunks);

    bool done() const noexcept;         /* every chunk has been cut */
    uint64_t position() const noexcept; /* the file offset of the byte that feed() takes next; it may go back */

    /*
     * Takes the bytes at position(), as many as the caller has; bytes behind the point where it wants to go back, or
     * where it is done, are ignored. False: out of memory, and the planner is of no more use.
     */
    bool feed(const char *data, size_t size) noexcept;

    /*
     * Says that the file ends at position(). The planner may want to read again from an earlier one: if it is not
     * done() now, feed() goes on from the new position(). False: out of memory.
     */
    bool end_of_file() noexcept;

    /* Takes the next chunk that is cut for good, in order. False: none at the moment. */
    bool take(Chunk *chunk) noexcept;

    uint64_t rows() const noexcept; /* data records of the file; final once done() */

  private:
    enum class Phase : uint8_t {
        Undecided, /* cut every chunk_size records, but the chunks are kept back: the file may turn out to be small */
        Decided,   /* cut every chunk_size records */
        Even,      /* a small file, read again, cut into parts_ even chunks */
        Done,
    };

    uint64_t next_stop() const noexcept;
    void scan(const char *data, size_t size);
    bool end_records(uint64_t records, uint64_t lines, uint64_t bytes) noexcept;
    void cut_chunk();
    void start_chunk() noexcept;
    void go_back_to_chunk() noexcept;
    bool end_piece(bool file_ends);

    RecordScanner scanner_;
    Checksum checksum_; /* of the chunk's bytes before position_ */
    uint64_t chunk_size_;
    uint64_t min_chunks_;
    uint64_t decisive_rows_; /* so many rows decide that the file is not small */

    Phase phase_ = Phase::Undecided;
    uint64_t position_;
    uint64_t record_start_; /* byte offset of the record being scanned, */
    uint64_t line_;         /* and its physical line */
    uint64_t rows_ = 0;     /* records before it */
    Chunk chunk_;           /* the chunk being cut; its end and checksum are not known yet */
    uint64_t chunk_last_row_;
    Chunk first_chunk_;        /* as chunk_ was at the start */
    std::deque<Chunk> chunks_; /* cut, not taken */

    uint64_t cut_ = UINT64_MAX; /* offset where the first record whose quote never closes is cut; if there is one */
    uint64_t parts_ = 1;        /* Phase::Even: the number of chunks, */
    uint64_t all_rows_ = 0;     /* the records of the file, */
    uint64_t file_end_ = 0;     /* and its end */
};

} // namespace movielens_ingest::core
