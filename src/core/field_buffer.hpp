/*
 * field_buffer.hpp - the fields of one record, with room for the values that had to be copied.
 */
#pragma once

#include "core/dialect.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <stdexcept>
#include <vector>

namespace movielens_ingest::core {

/* The value of a field, quotes taken off. Not terminated by a NUL. data is null for NULL, and for nothing else. */
struct Field {
    const char *data;
    size_t size;
};

enum class SplitResult : uint8_t { Ok, UnterminatedQuote, OutOfMemory };

/*
 * A value with quotes is never longer than what stands in the record. So room for the whole record is made first, and
 * the values copied into it stay where they are. An empty one with quotes is not taken for NULL: the record that
 * has it has its quotes, and so some room.
 */
struct FieldBuffer {
    std::vector<Field> fields;
    std::vector<char> bytes;
    size_t used = 0; /* of bytes */

    /* Forgets the fields and makes room for a record of that size. False: out of memory. */
    bool start(size_t size) noexcept {
        /* One record of some hundred megabytes must not hold that memory for the rest of the import. */
        constexpr size_t kKeep = size_t{1} << 20;
        fields.clear();
        used = 0;
        try {
            if (bytes.size() > kKeep && size <= kKeep)
                std::vector<char>().swap(bytes);
            if (bytes.size() < size)
                bytes.resize(size);
        } catch (const std::bad_alloc &) {
            return false;
        } catch (const std::length_error &) {
            return false;
        }
        return true;
    }

    bool add(const char *data, size_t size) noexcept {
        try {
            fields.push_back(Field{data, size});
        } catch (const std::bad_alloc &) {
            return false;
        }
        return true;
    }

    /* Adds a field that has no quotes: NULL if it is the null string. */
    bool add_unquoted(const Dialect &dialect, const char *text, size_t size) noexcept {
        if (dialect.is_null(text, size))
            return add(nullptr, 0);
        return add(size > 0 ? text : "", size);
    }
};

} // namespace movielens_ingest::core
