#include "pg/raw_line.hpp"

namespace movielens_ingest::pg {

RawLine show_raw_line(const char *record, size_t size) {
    constexpr size_t kLongestShown = 4; /* \xHH, or the longest character of a server encoding */
    auto *text = static_cast<char *>(palloc(kRawLineLimit + 1));
    size_t length = 0;
    size_t pos = 0;
    bool equal = true;

    while (pos < size && length + kLongestShown <= kRawLineLimit) {
        const int rest = static_cast<int>(Min(size - pos, static_cast<size_t>(kLongestShown)));
        const int valid = pg_encoding_verifymbchar(GetDatabaseEncoding(), record + pos, rest);

        if (valid > 0 && record[pos] != '\0') {
            memcpy(text + length, record + pos, static_cast<size_t>(valid));
            length += static_cast<size_t>(valid);
            pos += static_cast<size_t>(valid);
        } else {
            length += static_cast<size_t>(
                snprintf(text + length, kLongestShown + 1, "\\x%02X", static_cast<unsigned char>(record[pos])));
            pos++;
            equal = false;
        }
    }
    text[length] = '\0';

    RawLine line = {text, nullptr};
    if (!equal || pos < size) {
        auto *bytes = static_cast<bytea *>(MemoryContextAllocHuge(CurrentMemoryContext, VARHDRSZ + size));
        SET_VARSIZE(bytes, VARHDRSZ + size);
        memcpy(VARDATA(bytes), record, size);
        line.bytes = bytes;
    }
    return line;
}

} // namespace movielens_ingest::pg
