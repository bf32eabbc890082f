#include "core/file_kind.hpp"

#include <algorithm>
#include <cstring>
#include <string_view>

namespace movielens_ingest::core {

namespace {

using std::string_view;

struct Magic {
    string_view bytes;
    FileKind kind;
};

constexpr char kDecompress[] = "Decompress it, and import what is in it.";
constexpr char kExport[] = "Export its data as CSV.";
constexpr char kConvert[] = "Convert it to UTF-8, for example with iconv.";
constexpr char kDownload[] = "The download may have got an error page or a login page: try it again.";

constexpr FileKind kUtf16 = {"UTF-16 text", kConvert};
constexpr FileKind kHtml = {"an HTML page", kDownload};

/* UTF-32 before UTF-16: it begins with the same byte order mark. */
constexpr Magic kMagics[] = {
    {{"\xFF\xFE\0\0", 4}, {"UTF-32 text", kConvert}},
    {{"\0\0\xFE\xFF", 4}, {"UTF-32 text", kConvert}},
    {"\xFF\xFE", kUtf16},
    {"\xFE\xFF", kUtf16},
    {"version https://git-lfs.github.com/spec/",
     {"a pointer of Git LFS", "It stands for a file that has not been fetched: \"git lfs pull\" does that."}},
    {"PK\x03\x04", {"a zip archive or a spreadsheet", "Extract the CSV file, or save the spreadsheet as CSV."}},
    {"\x1F\x8B", {"a gzip file", kDecompress}},
    {"BZh", {"a bzip2 file", kDecompress}},
    {{"\xFD"
      "7zXZ\0",
      6},
     {"an xz file", kDecompress}},
    {"\x28\xB5\x2F\xFD", {"a zstd file", kDecompress}},
    {"PAR1", {"a Parquet file", kExport}},
    {{"SQLite format 3\0", 16}, {"an SQLite database", kExport}},
    {"%PDF-", {"a PDF document", kExport}},
};

bool starts_with(string_view text, string_view start) noexcept { return text.substr(0, start.size()) == start; }

/* In lower case. */
bool starts_with_tag(string_view text, string_view tag) noexcept {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };

    return text.size() >= tag.size() &&
           std::equal(tag.begin(), tag.end(), text.begin(), [&](char a, char b) { return a == lower(b); });
}

bool is_html(string_view text) noexcept {
    if (starts_with(text, "\xEF\xBB\xBF"))
        text.remove_prefix(3);
    text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
    return starts_with_tag(text, "<!doctype html") || starts_with_tag(text, "<html");
}

/* ASCII in UTF-16 without a byte order mark: each second byte is a zero. */
bool is_utf16(string_view text) noexcept {
    constexpr size_t kCharacters = 4;

    if (text.size() < 2 * kCharacters)
        return false;
    const size_t zero = text[0] == '\0' ? 0 : 1;
    for (size_t i = 0; i < 2 * kCharacters; ++i) {
        if ((text[i] == '\0') != (i % 2 == zero))
            return false;
    }
    return true;
}

} // namespace

const FileKind *file_kind(const char *bytes, size_t size) noexcept {
    constexpr size_t kEnough = 1024;
    const string_view text(bytes, std::min(size, kEnough));

    for (const Magic &magic : kMagics) {
        if (starts_with(text, magic.bytes))
            return &magic.kind;
    }
    if (is_html(text))
        return &kHtml;
    return is_utf16(text) ? &kUtf16 : nullptr;
}

} // namespace movielens_ingest::core
