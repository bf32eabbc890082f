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

    const bool iso_8859 =
        (encoding >= PG_LATIN1 && encoding <= PG_LATIN10) || (encoding >= PG_ISO_8859_5 && encoding <= PG_ISO_8859_8);

    if (size == 1 && iso_8859 && first >= 0x80 && first < 0xA0) {
        return true;
    }
    if (size == 2 && encoding == PG_UTF8) {
        return first == 0xC2 && static_cast<unsigned char>(character[1]) < 0xA0;
    }
    return first < 0x20 || first == 0x7F;
}

const char *show_characters(const char *text, int limit) {
    StringInfoData shown;

    initStringInfo(&shown);
    for (int size; *text != '\0'; text += size) {
        size = static_cast<int>(strnlen(text, static_cast<size_t>(pg_mblen(text))));
        const bool control = is_control_character(text, size);
        if (shown.len + (control ? 4 * size : size) > limit) {
            appendStringInfoString(&shown, "...");
            break;
        }
        for (int i = 0; control && i < size; i++) {
            appendStringInfo(&shown, "\\x%02X", static_cast<unsigned char>(text[i]));
        }
        if (!control) {
            appendBinaryStringInfo(&shown, text, size);
        }
    }
    return shown.data;
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

const char *show_message(const char *text) { return show_characters(text, kErrorTextLimit); }

const char *show_name(const char *text) { return show_characters(text, kNameLimit); }

} // namespace movielens_ingest::pg
