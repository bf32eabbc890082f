/*
 * error_text.hpp - the texts of errors. They quote fields of a file: of any length, with any character in them.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

constexpr int kErrorTextLimit = 8192; /* bytes of a message or a detail; what is longer is clipped */

/* The text or the beginning of it, up to the end of a character. Null for null. */
const char *copy_error_text(const char *text, MemoryContext context);

/* The error being handled, as CopyErrorData() gives it, in the current memory context; its texts are clipped. */
ErrorData *copy_error();

/* For a terminal: control characters are shown as \xHH. In the current memory context. */
const char *show_control_characters(const char *text);

} // namespace movielens_ingest::pg
