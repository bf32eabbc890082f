#include "core/field_splitter.hpp"

#include "core/copy_splitter.hpp"

#include <cstring>

namespace movielens_ingest::core {

FieldSplitter::FieldSplitter(const Dialect &dialect)
    : dialect_(dialect), libcsv_knows_(dialect.escape == dialect.quote && dialect.null_size == 0), libcsv_(dialect) {}

FieldSplitter::~FieldSplitter() = default;

SplitResult FieldSplitter::split(const char *record, size_t size) noexcept {
    SplitResult result;
    if (size == 0 || memchr(record, dialect_.quote, size) == nullptr)
        result = split_plain(record, size);
    else
        result = split_quoted(record, size);
    if (result != SplitResult::Ok)
        buffer_.fields.clear();
    return result;
}

/* Without a quote every delimiter ends a field, and the values are the record's own bytes. */
SplitResult FieldSplitter::split_plain(const char *record, size_t size) noexcept {
    buffer_.fields.clear();
    const char *const end = record + size;
    for (const char *field = record;;) {
        const size_t rest = static_cast<size_t>(end - field);
        const void *found = rest > 0 ? memchr(field, dialect_.delimiter, rest) : nullptr;
        const char *const field_end = found != nullptr ? static_cast<const char *>(found) : end;
        const size_t length = static_cast<size_t>(field_end - field);
        if (!buffer_.add_unquoted(dialect_, field, length))
            return SplitResult::OutOfMemory;
        if (found == nullptr)
            return SplitResult::Ok;
        field = field_end + 1;
    }
}

SplitResult FieldSplitter::split_quoted(const char *record, size_t size) noexcept {
    if (!libcsv_knows_)
        return split_like_copy(dialect_, record, size, &buffer_);
    switch (libcsv_.split(record, size, &buffer_)) {
    case LibcsvSplitter::Result::Ok:
        return SplitResult::Ok;
    case LibcsvSplitter::Result::OutOfMemory:
        return SplitResult::OutOfMemory;
    case LibcsvSplitter::Result::NoAnswer:
        break;
    }
    return split_like_copy(dialect_, record, size, &buffer_);
}

} // namespace movielens_ingest::core
