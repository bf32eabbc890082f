#include "pg/record_text.hpp"

namespace movielens_ingest::pg {

/* As COPY decides it (BeginCopyFrom, need_transcoding): text of SQL_ASCII on either side is only verified. */
bool needs_conversion(int encoding) {
    return encoding != GetDatabaseEncoding() && encoding != PG_SQL_ASCII && GetDatabaseEncoding() != PG_SQL_ASCII;
}

void check_file_encoding(int encoding) {
    if (needs_conversion(encoding) && !OidIsValid(FindDefaultConversionProc(encoding, GetDatabaseEncoding()))) {
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION),
                        errmsg("default conversion function for encoding \"%s\" to \"%s\" does not exist",
                               pg_encoding_to_char(encoding), GetDatabaseEncodingName())));
    }
}

bool is_valid_text(const char *bytes, size_t size, int encoding) {
    return !needs_conversion(encoding) && size <= MaxAllocSize &&
           pg_encoding_verifymbstr(encoding, bytes, static_cast<int>(size)) == static_cast<int>(size);
}

const char *convert_text(const char *bytes, size_t *size, int encoding) {
    if (*size > MaxAllocSize) {
        ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("record is too long"),
                        errdetail("It has %zu bytes; the limit is %zu.", *size, static_cast<size_t>(MaxAllocSize))));
    }
    const int length = static_cast<int>(*size);
    if (!needs_conversion(encoding)) {
        (void)pg_verify_mbstr(encoding, bytes, length, false);
        return bytes;
    }
    const char *converted = pg_any_to_server(bytes, length, encoding);
    if (converted != bytes) {
        *size = strlen(converted);
    }
    return converted;
}

} // namespace movielens_ingest::pg
