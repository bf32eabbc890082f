#include "core/copy_splitter.hpp"

namespace movielens_ingest::core {

/*
 * In CopyReadAttributesCSV a quote opens a quoted stretch anywhere in a field, and one field may have several. Within
 * the stretch an escape before a quote or an escape stands for that; any other quote closes it, and what follows
 * belongs to the field still. Only a field without any quote can be NULL.
 */
SplitResult split_like_copy(const Dialect &dialect, const char *record, size_t size, FieldBuffer *out) noexcept {
    if (!out->start(size))
        return SplitResult::OutOfMemory;

    const char *next = record;
    const char *const end = record + size;
    char *to = out->bytes.data();
    for (;;) {
        char *const value = to;
        bool saw_quote = false;
        bool in_quote = false;
        bool found_delimiter = false;

        while (next != end && !found_delimiter) {
            const char c = *next++;
            if (in_quote && c == dialect.escape && next != end && (*next == dialect.quote || *next == dialect.escape)) {
                *to++ = *next++;
            } else if (c == dialect.quote) {
                in_quote = !in_quote;
                saw_quote = true;
            } else if (c == dialect.delimiter && !in_quote) {
                found_delimiter = true;
            } else {
                *to++ = c;
            }
        }
        if (in_quote)
            return SplitResult::UnterminatedQuote;

        const size_t length = static_cast<size_t>(to - value);
        if (!(saw_quote ? out->add(value, length) : out->add_unquoted(dialect, value, length)))
            return SplitResult::OutOfMemory;
        if (!found_delimiter)
            return SplitResult::Ok;
    }
}

} // namespace movielens_ingest::core
