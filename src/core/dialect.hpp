/*
 * dialect.hpp - how a CSV file is written: its special characters and the way its lines end.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace movielens_ingest::core {

/* The line end of a file is that of its first line, as in COPY (CopyReadLineText, eol_type). */
enum class LineEnd : uint8_t {
    Unknown, /* no line end has been seen yet */
    Lf,
    CrLf,
    Cr,
};

/*
 * Delimiter and quote differ, and neither is a CR or an LF. The escape may be any byte: inside quotes it makes a quote
 * or an escape that stands behind it an ordinary character; when it is the quote itself, a quote is written twice. The
 * null string is the NULL of a field without quotes; it holds no delimiter, quote, CR or LF, and must outlive what is
 * made from this.
 */
struct Dialect {
    char delimiter = ',';
    char quote = '"';
    char escape = '"';
    LineEnd line_end = LineEnd::Unknown;
    const char *null_string = "";
    size_t null_size = 0;   /* bytes */
    bool end_marker = true; /* a line that is \. ends COPY; from PostgreSQL 18 on it is data */

    /* A field without quotes, of these bytes, is NULL. */
    bool is_null(const char *data, size_t size) const noexcept {
        return size == null_size && (size == 0 || memcmp(data, null_string, size) == 0);
    }
};

} // namespace movielens_ingest::core
