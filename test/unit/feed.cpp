#include "feed.hpp"

#include "core/plain_records.hpp"

#include <algorithm>
#include <stdexcept>

namespace movielens_ingest::core {

Exact::Exact(const std::string &text, size_t from, size_t most)
    : size(std::min(most, text.size() - from)), bytes(new char[size]) {
    text.copy(bytes.get(), size, from);
}

std::vector<Placed> scan_in_pieces(const std::string &bytes, const Dialect &dialect, const std::vector<size_t> &ends,
                                   LineEnd *line_end) {
    RecordScanner scanner(dialect);
    std::vector<Placed> records;
    uint64_t start = 0; /* of the record */
    size_t at = 0;
    Record record;

    while (start < bytes.size()) {
        const auto next_end = std::upper_bound(ends.begin(), ends.end(), at);
        const size_t end = next_end == ends.end() ? bytes.size() : std::min(*next_end, bytes.size());
        const Exact piece(bytes, at, end - at);
        for (size_t pos = 0; scanner.next(piece.bytes.get(), piece.size, &pos, &record); start += record.size)
            records.push_back(Placed{start, record.size, record.content, record.lines, record.fault});
        at = end;
        if (at == bytes.size() && start < bytes.size()) {
            if (!scanner.finish(&record))
                throw std::logic_error("finish() forgets the bytes from " + std::to_string(start) + " on");
            records.push_back(Placed{start, record.size, record.content, record.lines, record.fault});
            start += record.size;
            at = start;
        }
    }
    if (line_end != nullptr)
        *line_end = scanner.line_end();
    return records;
}

std::vector<Placed> scan_by(size_t piece, const std::string &bytes, const Dialect &dialect) {
    std::vector<size_t> ends;
    for (size_t end = piece; end < bytes.size(); end += piece)
        ends.push_back(end);
    return scan_in_pieces(bytes, dialect, ends);
}

std::vector<PlainFields> split_plain_records(const std::string &bytes, const Dialect &dialect,
                                             const std::vector<Placed> &records, size_t fields, size_t most) {
    const PlainScanner scanner(dialect, fields);
    const Exact exact(bytes);
    std::vector<PlainFields> found;
    while (found.size() < records.size()) {
        const std::unique_ptr<uint32_t[]> ends(new uint32_t[most * fields]);
        size_t start = records[found.size()].start;
        size_t pos = start;
        const size_t count = scanner.scan(exact.bytes.get(), exact.size, &pos, most, ends.get());
        if (count > std::min(most, records.size() - found.size()))
            throw std::logic_error("more records than there are");
        for (size_t i = 0; i < count; ++i) {
            std::vector<std::string> values;
            for (size_t k = 0; k < fields; ++k) {
                const size_t end = ends[i * fields + k];
                if (end < start || end >= bytes.size())
                    throw std::logic_error("a field ends where it can't");
                values.push_back(bytes.substr(start, end - start));
                start = end + 1;
            }
            found.emplace_back(values);
            start = records[found.size() - 1].start + records[found.size() - 1].size;
        }
        if (pos != start)
            throw std::logic_error("another position than that behind the last record");
        if (count < most && found.size() < records.size())
            found.push_back(std::nullopt);
    }
    return found;
}

Plan plan(const std::string &bytes, const Dialect &dialect, uint64_t data_start, uint64_t start_line,
          uint64_t chunk_size, uint64_t min_chunks, size_t piece) {
    ChunkPlanner planner(dialect, data_start, start_line, chunk_size, min_chunks);
    Plan plan;
    Chunk chunk;
    while (!planner.done()) {
        const uint64_t position = planner.position();
        bool has_memory;
        if (position == bytes.size()) {
            has_memory = planner.end_of_file();
        } else {
            const Exact part(bytes, position, piece);
            has_memory = planner.feed(part.bytes.get(), part.size);
            plan.fed += part.size;
        }
        if (!has_memory)
            throw std::logic_error("the planner has no memory");
        while (planner.take(&chunk))
            plan.chunks.push_back(chunk);
        if (plan.fed > 4 * bytes.size() + 1000)
            throw std::logic_error("the planner finds no end");
    }
    while (planner.take(&chunk))
        plan.chunks.push_back(chunk);
    plan.rows = planner.rows();
    return plan;
}

std::vector<Placed> load(const std::string &bytes, const Dialect &dialect, const Chunk &chunk, size_t buffer_size,
                         size_t piece_records) {
    std::vector<Placed> records;
    uint64_t position = chunk.start_byte;
    size_t size = buffer_size;
    while (position < chunk.end_byte) {
        const Exact piece(bytes, position, std::min<uint64_t>(size, chunk.end_byte - position));
        const bool ends_chunk = position + piece.size == chunk.end_byte;
        RecordScanner scanner(dialect);
        Record record;
        size_t start = 0;
        size_t pos = 0;
        for (size_t count = 0; count < piece_records; ++count) {
            if (!scanner.next(piece.bytes.get(), piece.size, &pos, &record) && !(ends_chunk && scanner.finish(&record)))
                break;
            records.push_back(Placed{position + start, record.size, record.content, record.lines, record.fault});
            pos = start += record.size;
        }
        if (start == 0 && ends_chunk)
            throw std::logic_error("no record ends at the end of a chunk");
        size = start == 0 ? 2 * size : buffer_size;
        position += start;
    }
    return records;
}

} // namespace movielens_ingest::core
