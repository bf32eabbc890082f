/*
 * raw_line.hpp - the bytes of a refused record as text that can be shown.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

constexpr size_t kRawLineLimit = 8192; /* bytes of text; what is longer is clipped */

struct RawLine {
    const char *text;   /* valid in the database's encoding; bytes that are not are shown as \xHH */
    const bytea *bytes; /* the record itself where the text is not its equal, else null */
};

/* In the current memory context. encoding: of the bytes. */
RawLine show_raw_line(const char *record, size_t size, int encoding);

} // namespace movielens_ingest::pg
