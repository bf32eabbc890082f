/*
 * input.hpp - what a fuzz target makes of the bytes that libFuzzer gives it.
 *
 * The first line says how the rest is to be read, a byte for each choice, so that an input stays the same case while
 * its text changes. A digit stands for itself, so that seeds can be written and read.
 */
#pragma once

#include "core/dialect.hpp"
#include "feed.hpp"
#include "reference.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <ostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace movielens_ingest::core {

class Input {
  public:
    Input(const uint8_t *data, size_t size) : bytes_(reinterpret_cast<const char *>(data), size) {}

    /* The next byte, a blank if there is none. */
    char byte() { return at_ < bytes_.size() ? bytes_[at_++] : ' '; }

    /* From 0 to limit - 1. */
    size_t number(size_t limit) { return static_cast<uint8_t>(byte() - '0') % limit; }

    /* The text behind the first line's end, which may be any byte. */
    std::string text() {
        (void)byte();
        return bytes_.substr(at_);
    }

    /* Delimiter, quote and escape: any characters that may be. */
    Dialect dialect() {
        Dialect dialect;
        dialect.delimiter = other_than_line_break(byte(), ',');
        dialect.quote = other_than_line_break(byte(), '"');
        dialect.escape = byte();
        if (dialect.delimiter == dialect.quote)
            dialect.delimiter = dialect.quote == ',' ? ';' : ',';
        return dialect;
    }

  private:
    static char other_than_line_break(char c, char instead) { return c == '\n' || c == '\r' ? instead : c; }

    std::string bytes_;
    size_t at_ = 0;
};

/* For messages. */
template <typename Type> void show(std::ostream &out, const Type &value) { out << value; }
inline void show(std::ostream &out, const std::string &value) { out << visible(value); }
template <typename Type> void show(std::ostream &out, const std::vector<Type> &values);

template <typename Type> void show(std::ostream &out, const std::optional<Type> &value) {
    if (value)
        show(out, *value);
    else
        out << "nothing";
}

template <typename Type> void show(std::ostream &out, const std::vector<Type> &values) {
    out << "[";
    for (const Type &value : values) {
        show(out, value);
        out << "|";
    }
    out << "]";
}

/* libFuzzer keeps the input that leads to an exception. */
inline void require(bool condition, const std::string &what) {
    if (!condition)
        throw std::logic_error(what);
}

template <typename Type>
void require_same(const char *name, const Type &found, const Type &expected, const std::string &what) {
    if (found == expected)
        return;
    std::ostringstream out;
    out << name << " of " << what << "\nare       ";
    show(out, found);
    out << "\nshould be ";
    show(out, expected);
    throw std::logic_error(out.str());
}

} // namespace movielens_ingest::core
