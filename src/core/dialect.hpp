/*
 * dialect.hpp - how a CSV file is written: its special characters and the way its lines end.
 */
#pragma once

#include <cstdint>

namespace movielens_ingest::core {

/* The line end of a file is that of its first line, as in COPY (CopyReadLineText, eol_type). */
enum class LineEnd : uint8_t {
    Unknown, /* no line end has been seen yet */
    Lf,
    CrLf,
    Cr,
};

/*
 * The escape character is the quote character: a quote inside a quoted field is written twice. Delimiter and quote
 * differ, and neither is a CR or an LF.
 */
struct Dialect {
    char delimiter = ',';
    char quote = '"';
    LineEnd line_end = LineEnd::Unknown;
};

} // namespace movielens_ingest::core
