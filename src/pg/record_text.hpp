/*
 * record_text.hpp - the bytes of a record as text in the encoding of the database (CopyConvertBuf does it for COPY).
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/* Raises 42883 for an encoding that cannot be converted. */
void check_file_encoding(int encoding);

/* Text of the encoding is not what the database stores. */
bool needs_conversion(int encoding);

/* True when the bytes are valid as they stand: then no conversion is needed. */
bool is_valid_text(const char *bytes, size_t size, int encoding);

/* The record in the encoding of the database, newly allocated or the given bytes themselves. Raises 22021, 22P05. */
const char *convert_text(const char *bytes, size_t *size, int encoding);

} // namespace movielens_ingest::pg
