/*
 * records.cpp - scanners, planner and loader must find the records and chunks that the reference finds, whatever the
 * dialect, the pieces that the file comes in, and the sizes of the chunks.
 *
 * The first line: delimiter, quote, escape, line end (0 not known, 1 LF, 2 CRLF, 3 CR), whether there is a header
 * (0 no, 1 yes; 2 and 3 the same without end-of-copy markers), chunk size, least number of chunks, two sizes of pieces,
 * records that a loader takes at a time.
 */
#include "input.hpp"

#include <algorithm>
#include <vector>

namespace movielens_ingest::core {
namespace {

/* Pieces of two sizes in turn. */
std::vector<size_t> ends_of_pieces(size_t size, size_t odd, size_t even) {
    std::vector<size_t> ends;
    for (size_t end = odd; end < size; end += ends.size() % 2 == 0 ? odd : even)
        ends.push_back(end);
    return ends;
}

void check_records(const std::string &bytes, const Dialect &dialect, const std::vector<size_t> &ends, LineEnd *known) {
    const std::string what = describe(bytes, dialect);
    const std::vector<Placed> expected = reference_records(bytes, dialect);
    LineEnd whole;
    require_same("records", scan_in_pieces(bytes, dialect, {}, &whole), expected, what);
    require_same("records in pieces", scan_in_pieces(bytes, dialect, ends, known), expected, what);
    require(whole == *known, "another line end in pieces: " + what);
    require_same("records by bytes", scan_by(1, bytes, dialect), expected, what);
}

void check_plain_records(const std::string &bytes, const Dialect &dialect, size_t most) {
    const std::vector<Placed> records = reference_records(bytes, dialect);
    for (size_t fields = 1; fields <= 5; ++fields) {
        std::vector<PlainFields> expected;
        for (const Placed &record : records)
            expected.push_back(reference_plain_fields(bytes, record, dialect, fields));
        require_same("plain records", split_plain_records(bytes, dialect, records, fields, most), expected,
                     describe(bytes, dialect) + ", delimiter " + visible({dialect.delimiter}));
    }
}

struct Cuts {
    uint64_t chunk_size;
    uint64_t min_chunks;
    size_t piece;
    size_t buffer_size;
    size_t piece_records;
};

void check_chunks(const std::string &bytes, const Dialect &dialect, uint64_t data_start, uint64_t start_line,
                  const Cuts &cuts) {
    std::vector<Placed> records = reference_records(bytes.substr(data_start), dialect);
    for (Placed &record : records)
        record.start += data_start;
    const std::string what = describe(bytes, dialect) + ", chunk size " + std::to_string(cuts.chunk_size) +
                             ", min chunks " + std::to_string(cuts.min_chunks);

    const Plan found = plan(bytes, dialect, data_start, start_line, cuts.chunk_size, cuts.min_chunks, cuts.piece);
    require(found.rows == records.size(), "count of records: " + what);
    require_same("chunks", found.chunks,
                 reference_chunks(bytes, records, data_start, start_line, cuts.chunk_size, cuts.min_chunks), what);
    require(found.fed <= 3 * (bytes.size() + cuts.piece), "read too often: " + what);

    /* The reference's chunks tile the file, so these do. */
    std::vector<Placed> loaded;
    for (const Chunk &chunk : found.chunks) {
        const std::vector<Placed> part = load(bytes, dialect, chunk, cuts.buffer_size, cuts.piece_records);
        loaded.insert(loaded.end(), part.begin(), part.end());
    }
    require_same("records of chunks", loaded, records, what);
}

/* A file that changes whenever the planner goes back: the plan is worth nothing, but is made, and tiles what was read.
 */
void check_changing_file(std::string bytes, const Dialect &dialect, const Cuts &cuts) {
    const std::string what = "the plan of a file that changes: " + describe(bytes, dialect);
    ChunkPlanner planner(dialect, 0, 1, cuts.chunk_size, cuts.min_chunks);
    Chunk last{};
    uint64_t position = 0;
    for (size_t readings = 0; !planner.done();) {
        if (planner.position() < position) {
            std::reverse(bytes.begin(), bytes.end());
            require(++readings <= bytes.size() + 1, "no end to " + what);
        }
        position = planner.position();
        const Exact part(bytes, position, cuts.piece);
        require(part.size > 0 ? planner.feed(part.bytes.get(), part.size) : planner.end_of_file(), "out of memory");
        for (Chunk chunk; planner.take(&chunk); last = chunk)
            require(chunk.number == last.number + 1 && chunk.start_row == last.end_row + 1 &&
                        chunk.end_row >= chunk.start_row && chunk.start_byte == last.end_byte &&
                        chunk.end_byte > chunk.start_byte,
                    "a gap in " + what);
    }
    require(planner.rows() == last.end_row, "rows of " + what);
}

void check_input(Input *input) {
    constexpr LineEnd kLineEnds[] = {LineEnd::Unknown, LineEnd::Lf, LineEnd::CrLf, LineEnd::Cr};
    Dialect dialect = input->dialect();
    dialect.line_end = kLineEnds[input->number(4)];
    const size_t form = input->number(4);
    const bool has_header = form % 2 == 1;
    dialect.end_marker = form < 2;
    Cuts cuts;
    cuts.chunk_size = 1 + input->number(20);
    cuts.min_chunks = 1 + input->number(10);
    cuts.piece = 1 + input->number(64);
    cuts.buffer_size = 1 + input->number(64);
    cuts.piece_records = 1 + input->number(10);
    const std::string bytes = input->text();

    LineEnd line_end;
    check_records(bytes, dialect, ends_of_pieces(bytes.size(), cuts.piece, cuts.buffer_size), &line_end);

    /* The leader plans when it knows the line end; see header.cpp. */
    dialect.line_end = line_end == LineEnd::Unknown ? LineEnd::Lf : line_end;
    check_plain_records(bytes, dialect, cuts.piece_records);
    check_changing_file(bytes, dialect, cuts);
    if (!has_header || bytes.empty()) {
        check_chunks(bytes, dialect, 0, 1, cuts);
    } else {
        const Placed header = reference_records(bytes, dialect).front();
        check_chunks(bytes, dialect, header.size, 1 + header.lines, cuts);
    }
}

} // namespace
} // namespace movielens_ingest::core

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    movielens_ingest::core::Input input(data, size);
    movielens_ingest::core::check_input(&input);
    return 0;
}
