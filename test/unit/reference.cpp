#include "reference.hpp"

#include <xxhash.h>

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <ostream>

namespace movielens_ingest::core {

bool operator==(const Placed &a, const Placed &b) {
    return a.start == b.start && a.size == b.size && a.content == b.content && a.lines == b.lines && a.fault == b.fault;
}

std::ostream &operator<<(std::ostream &out, const Placed &record) {
    return out << "{start " << record.start << ", size " << record.size << ", content " << record.content << ", lines "
               << record.lines << ", fault " << static_cast<int>(record.fault) << "}";
}

bool operator==(const Chunk &a, const Chunk &b) {
    return a.number == b.number && a.start_row == b.start_row && a.end_row == b.end_row &&
           a.start_byte == b.start_byte && a.end_byte == b.end_byte && a.start_line == b.start_line &&
           a.checksum == b.checksum;
}

std::ostream &operator<<(std::ostream &out, const Chunk &chunk) {
    return out << "{number " << chunk.number << ", rows " << chunk.start_row << " to " << chunk.end_row << ", bytes "
               << chunk.start_byte << " to " << chunk.end_byte << ", line " << chunk.start_line << ", checksum "
               << chunk.checksum << "}";
}

std::string visible(const std::string &text) {
    std::string out;
    for (const char c : text) {
        char code[8];
        if (c == '\r')
            out += "<CR>";
        else if (c == '\n')
            out += "<LF>";
        else if (static_cast<unsigned char>(c) < 32 || static_cast<unsigned char>(c) > 126) {
            snprintf(code, sizeof(code), "<%02X>", static_cast<unsigned>(static_cast<unsigned char>(c)));
            out += code;
        } else
            out += c;
    }
    return out;
}

std::string describe(const std::string &bytes, const Dialect &dialect) {
    return visible(bytes) + ", line end " + std::to_string(static_cast<int>(dialect.line_end)) + ", quote " +
           visible(std::string(1, dialect.quote)) + ", escape " + visible(std::string(1, dialect.escape)) +
           ", null \"" + visible(std::string(dialect.null_string, dialect.null_size)) + "\"";
}

Dialect with(LineEnd line_end, char quote) { return with(line_end, quote, quote); }

Dialect with(LineEnd line_end, char quote, char escape) {
    Dialect dialect;
    dialect.quote = quote;
    dialect.escape = escape;
    dialect.line_end = line_end;
    return dialect;
}

Dialect random_dialect(std::mt19937 *random, LineEnd line_end) {
    const char quotes[] = {'"', '"', '"', '.', '\\'};
    const char escapes[] = {'\\', '\\', '\\', '"', '.', ',', 'a', '\n', '\r'};
    const char quote = quotes[(*random)() % std::size(quotes)];
    const char escape = (*random)() % 3 == 0 ? quote : escapes[(*random)() % std::size(escapes)];
    Dialect dialect = with(line_end, quote, escape);
    dialect.end_marker = (*random)() % 2 == 0;
    return dialect;
}

namespace {

bool starts_with(const std::string &text, const char *prefix) { return text.rfind(prefix, 0) == 0; }

uint64_t count(const std::string &text, char c) {
    return static_cast<uint64_t>(std::count(text.begin(), text.end(), c));
}

/* Whether a quote is open, as CopyReadLineText sees it that passes a record byte by byte. */
struct Quotes {
    const Dialect &dialect;
    bool open = false;
    bool after_escape = false;

    void pass(char c) {
        if (open && after_escape && (c == dialect.quote || c == dialect.escape)) {
            after_escape = false;
            return;
        }
        after_escape = open && c == dialect.escape && c != dialect.quote;
        if (c == dialect.quote)
            open = !open;
    }
};

/* The first record of rest, which is all that follows; *line_end may become known. The start is left 0. */
Placed first_record(const std::string &rest, const Dialect &dialect, LineEnd *line_end) {
    RecordFault fault = RecordFault::None;

    /* The end-of-copy marker comes before all quotes. */
    const std::string start = dialect.end_marker ? rest.substr(0, 4) : std::string();
    if (*line_end == LineEnd::Unknown && starts_with(start, "\\.\r\n"))
        *line_end = LineEnd::CrLf;
    else if (*line_end == LineEnd::Unknown && starts_with(start, "\\.\n"))
        *line_end = LineEnd::Lf;
    else if (*line_end == LineEnd::Unknown && starts_with(start, "\\.\r"))
        *line_end = LineEnd::Cr;
    if (*line_end == LineEnd::Lf && starts_with(start, "\\.\n"))
        return Placed{0, 3, 2, 1, RecordFault::EndOfCopyMarker};
    if (*line_end == LineEnd::CrLf && starts_with(start, "\\.\r\n"))
        return Placed{0, 4, 2, 1, RecordFault::EndOfCopyMarker};
    if (*line_end == LineEnd::Cr && starts_with(start, "\\.\r"))
        return Placed{0, 3, 2, 1, RecordFault::EndOfCopyMarker};

    if (*line_end == LineEnd::Lf && starts_with(start, "\\.\r"))
        fault = RecordFault::MismatchedMarker;
    if (*line_end == LineEnd::CrLf && starts_with(start, "\\.\r\r"))
        fault = RecordFault::MismatchedMarker;
    if (*line_end == LineEnd::Cr && starts_with(start, "\\.\n"))
        fault = RecordFault::MismatchedMarker;

    Quotes quotes{dialect};
    std::vector<RecordFault> faults; /* the fault as it stood before each byte */
    for (size_t i = 0; i < rest.size(); ++i) {
        faults.push_back(fault);
        const bool quoted = quotes.open;
        quotes.pass(rest[i]);
        const bool cr = rest[i] == '\r';
        const bool lf = rest[i] == '\n';
        const bool crlf = cr && rest.substr(i, 2) == "\r\n";
        if (rest[i] == dialect.quote || quoted || !(cr || lf))
            continue;

        if (*line_end == LineEnd::Unknown)
            *line_end = lf ? LineEnd::Lf : crlf ? LineEnd::CrLf : LineEnd::Cr;

        size_t line_end_size = 0;
        if (*line_end == LineEnd::Lf && lf)
            line_end_size = 1;
        else if (*line_end == LineEnd::Cr && cr)
            line_end_size = 1;
        else if (*line_end == LineEnd::CrLf && crlf)
            line_end_size = 2;

        if (line_end_size == 0 && fault == RecordFault::None)
            fault = lf ? RecordFault::UnquotedNewline : RecordFault::UnquotedCarriageReturn;
        if (line_end_size == 0 && lf)
            line_end_size = 1;
        if (line_end_size == 0)
            continue;

        const uint64_t size = i + line_end_size;
        return Placed{0, size, i, count(rest.substr(0, size), *line_end == LineEnd::Cr ? '\r' : '\n'), fault};
    }

    /* The end of the input. While no line end is known, any LF makes the LF the line break. */
    const char line_break =
        *line_end == LineEnd::Cr || (*line_end == LineEnd::Unknown && count(rest, '\n') == 0) ? '\r' : '\n';
    if (!quotes.open)
        return Placed{0, rest.size(), rest.size(), count(rest, line_break), fault};

    size_t cut = rest.size();
    size_t content = rest.size();
    uint64_t lines = 0;
    const size_t found = rest.find(line_break);
    if (found != std::string::npos) {
        lines = 1;
        cut = found + 1;
        content = found;
        fault = faults[found];
        if (line_break == '\n' && *line_end != LineEnd::Lf && found > 0 && rest[found - 1] == '\r')
            --content;
        if (*line_end == LineEnd::Unknown)
            *line_end = line_break == '\r' ? LineEnd::Cr : content < found ? LineEnd::CrLf : LineEnd::Lf;
    }
    return Placed{0, cut, content, lines, fault == RecordFault::None ? RecordFault::UnterminatedQuote : fault};
}

/* The value of a field: what is between its quotes and what is not, one behind the other. */
std::string unquoted(const std::string &raw, const Dialect &dialect) {
    Quotes quotes{dialect};
    std::string out;
    for (size_t i = 0; i < raw.size(); ++i) {
        const bool special = i + 1 < raw.size() && (raw[i + 1] == dialect.quote || raw[i + 1] == dialect.escape);
        const bool quoted = quotes.open;
        quotes.pass(raw[i]);
        if (quoted && raw[i] == dialect.escape && special) {
            out += raw[++i];
            quotes.pass(raw[i]);
        } else if (raw[i] != dialect.quote) {
            out += raw[i];
        }
    }
    return out;
}

} // namespace

std::vector<Placed> reference_records(const std::string &bytes, Dialect dialect) {
    std::vector<Placed> records;
    for (uint64_t start = 0; start < bytes.size(); start += records.back().size) {
        records.push_back(first_record(bytes.substr(start), dialect, &dialect.line_end));
        records.back().start = start;
    }
    return records;
}

std::optional<std::vector<Value>> reference_fields(const std::string &record, const Dialect &dialect) {
    const std::string null_string(dialect.null_string, dialect.null_size);
    Quotes quotes{dialect};
    std::vector<Value> fields;
    std::string raw;
    for (size_t i = 0; i <= record.size(); ++i) {
        const bool quoted = quotes.open;
        if (i < record.size())
            quotes.pass(record[i]);
        if (i < record.size() && (quoted || record[i] != dialect.delimiter)) {
            raw += record[i];
            continue;
        }
        fields.push_back(raw == null_string ? Value() : Value(unquoted(raw, dialect)));
        raw.clear();
    }
    if (quotes.open)
        return std::nullopt;
    return fields;
}

PlainFields reference_plain_fields(const std::string &bytes, const Placed &record, const Dialect &dialect,
                                   size_t fields) {
    const std::string content = bytes.substr(record.start, record.content);
    if (record.fault != RecordFault::None || record.lines != 1 || record.size == record.content ||
        content.find(dialect.quote) != std::string::npos || (dialect.end_marker && starts_with(content, "\\")) ||
        count(content, dialect.delimiter) + 1 != fields)
        return std::nullopt;
    const auto found = reference_fields(content, dialect);
    std::vector<std::string> values;
    for (const Value &value : *found)
        values.push_back(value.value_or(std::string(dialect.null_string, dialect.null_size)));
    return values;
}

std::vector<Chunk> reference_chunks(const std::string &bytes, const std::vector<Placed> &records, uint64_t data_start,
                                    uint64_t start_line, uint64_t chunk_size, uint64_t min_chunks) {
    const uint64_t rows = records.size();
    std::vector<uint64_t> last_rows;
    if (rows / min_chunks >= chunk_size) {
        for (uint64_t row = chunk_size; row < rows; row += chunk_size)
            last_rows.push_back(row);
        last_rows.push_back(rows);
    } else {
        const uint64_t parts = std::min(min_chunks, rows);
        for (uint64_t part = 1; part <= parts; ++part)
            last_rows.push_back(part * rows / parts);
    }

    std::vector<Chunk> chunks;
    uint64_t row = 0;
    uint64_t byte = data_start;
    uint64_t line = start_line;
    for (const uint64_t last_row : last_rows) {
        Chunk chunk{chunks.size() + 1, row + 1, last_row, byte, 0, line, 0};
        for (; row < last_row; ++row) {
            byte += records[row].size;
            line += records[row].lines;
        }
        chunk.end_byte = byte;
        chunk.checksum = XXH3_64bits(bytes.data() + chunk.start_byte, byte - chunk.start_byte);
        chunks.push_back(chunk);
    }
    return chunks;
}

} // namespace movielens_ingest::core
