#include "pg/raw_line.hpp"

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr int kLongestCharacter = 8; /* bytes, in any encoding */

/*
 * \xHH, or what one character becomes in the encoding of the database, and a NUL. pg_do_encoding_conversion_buf
 * converts only so much as cannot outgrow the buffer, however long its result is.
 */
constexpr size_t kLongestShown = kLongestCharacter * MAX_CONVERSION_GROWTH + 1;

/* Shows one character of size bytes. False: it cannot be shown in the encoding of the database. */
bool show_character(const char *character, int size, int encoding, char *shown) {
    const bool ascii = size == 1 && !IS_HIGHBIT_SET(*character);
    const int to = GetDatabaseEncoding();

    if (ascii || encoding == to || encoding == PG_SQL_ASCII || to == PG_SQL_ASCII) {
        memcpy(shown, character, static_cast<size_t>(size));
        shown[size] = '\0';
        return *character != '\0' && (ascii || pg_verify_mbstr(to, shown, size, true));
    }
    const Oid conversion = FindDefaultConversionProc(encoding, to);
    unsigned char source[kLongestCharacter];
    memcpy(source, character, static_cast<size_t>(size));
    return OidIsValid(conversion) &&
           pg_do_encoding_conversion_buf(conversion, encoding, to, source, size,
                                         reinterpret_cast<unsigned char *>(shown), kLongestShown, true) == size &&
           pg_verify_mbstr(to, shown, static_cast<int>(strlen(shown)), true); /* mic2euc_jp does not see to that */
}

} // namespace

RawLine show_raw_line(const char *record, size_t size, int encoding) {
    /* A byte is shown as four at most. */
    auto *text = static_cast<char *>(palloc(Min(size * 4, kRawLineLimit) + kLongestShown));
    size_t length = 0;
    size_t pos = 0;
    char shown[kLongestShown];

    while (pos < size) {
        const int rest = static_cast<int>(Min(size - pos, static_cast<size_t>(kLongestCharacter)));
        int taken = pg_encoding_verifymbchar(encoding, record + pos, rest);

        if (taken <= 0 || !show_character(record + pos, taken, encoding, shown)) {
            snprintf(shown, sizeof(shown), "\\x%02X", static_cast<unsigned char>(record[pos]));
            taken = 1;
        }
        const size_t shown_length = strlen(shown);
        if (length + shown_length > kRawLineLimit) {
            break;
        }
        memcpy(text + length, shown, shown_length);
        length += shown_length;
        pos += static_cast<size_t>(taken);
    }
    text[length] = '\0';

    RawLine line = {text, nullptr};
    if (length != size || memcmp(text, record, size) != 0) {
        auto *bytes = static_cast<bytea *>(MemoryContextAllocHuge(CurrentMemoryContext, VARHDRSZ + size));
        SET_VARSIZE(bytes, VARHDRSZ + size);
        memcpy(VARDATA(bytes), record, size);
        line.bytes = bytes;
    }
    return line;
}

} // namespace movielens_ingest::pg
