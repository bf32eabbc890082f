#include "pg/error_text.hpp"

namespace movielens_ingest::pg {

namespace {

void clip(char *text) {
    if (text != nullptr && strlen(text) > kErrorTextLimit) {
        text[pg_mbcliplen(text, kErrorTextLimit + MAX_MULTIBYTE_CHAR_LEN, kErrorTextLimit)] = '\0';
    }
}

/* Those of ASCII, and those of ISO 8859: a terminal may take 0x9B for ESC [. */
bool is_control_character(const char *character, int size) {
    const int encoding = GetDatabaseEncoding();
    const auto first = static_cast<unsigned char>(character[0]);

    if (size == 1 && encoding >= PG_LATIN1 && encoding <= PG_LATIN10 && first >= 0x80 && first < 0xA0) {
        return true;
    }
    if (size == 2 && encoding == PG_UTF8) {
        return first == 0xC2 && static_cast<unsigned char>(character[1]) < 0xA0;
    }
    return first < 0x20 || first == 0x7F;
}

} // namespace

const char *copy_error_text(const char *text, MemoryContext context) {
    if (text == nullptr) {
        return nullptr;
    }
    const size_t size = strnlen(text, kErrorTextLimit + MAX_MULTIBYTE_CHAR_LEN);
    auto *copy = static_cast<char *>(MemoryContextAlloc(context, size + 1));
    memcpy(copy, text, size);
    copy[size] = '\0';
    clip(copy);
    return copy;
}

ErrorData *copy_error() {
    ErrorData *error = CopyErrorData();

    clip(error->message);
    clip(error->detail);
    clip(error->detail_log);
    clip(error->hint);
    return error;
}

const char *show_control_characters(const char *text) {
    StringInfoData shown;

    initStringInfo(&shown);
    for (int size; *text != '\0'; text += size) {
        size = static_cast<int>(strnlen(text, static_cast<size_t>(pg_mblen(text))));
        if (!is_control_character(text, size)) {
            appendBinaryStringInfo(&shown, text, size);
            continue;
        }
        for (int i = 0; i < size; i++) {
            appendStringInfo(&shown, "\\x%02X", static_cast<unsigned char>(text[i]));
        }
    }
    return shown.data;
}

} // namespace movielens_ingest::pg
