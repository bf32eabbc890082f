/*
 * error_text.hpp - the texts of errors. They quote fields of a file: of any length, with any character in them.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

constexpr int kErrorTextLimit = 8192; /* bytes of a message or a detail; what is longer is clipped */
constexpr int kNameLimit = 1024;      /* bytes of a name that a message quotes; the same */

/* The text or the beginning of it, up to the end of a character. Null for null. */
const char *copy_error_text(const char *text, MemoryContext context);

/* The error being handled, as CopyErrorData() gives it, in the current memory context; its texts are clipped. */
ErrorData *copy_error();

/*
 * What may come to a terminal: control characters are shown as \xHH, and what is longer is clipped, with "..." behind
 * it. In the current memory context. A message that we word, with other texts in it; in such a message a name, of a
 * file or of a column in it, which its maker has chosen: so it is for the log, and for pg_stat_activity, too.
 */
const char *show_message(const char *text);
const char *show_name(const char *text);

} // namespace movielens_ingest::pg
