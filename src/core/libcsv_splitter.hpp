/*
 * libcsv_splitter.hpp - splits a record by libcsv, told to read as COPY does or to say that it cannot.
 */
#pragma once

#include "core/dialect.hpp"
#include "core/field_buffer.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>

struct csv_parser;

namespace movielens_ingest::core {

class LibcsvSplitter {
  public:
    enum class Result : uint8_t { Ok, NoAnswer, OutOfMemory };

    /* The escape must be the quote, and the null string empty: libcsv knows no other. Throws std::bad_alloc. */
    explicit LibcsvSplitter(const Dialect &dialect);
    ~LibcsvSplitter();
    LibcsvSplitter(const LibcsvSplitter &) = delete;
    LibcsvSplitter &operator=(const LibcsvSplitter &) = delete;

    /*
     * Splits one record that is not empty, given without its line end. NoAnswer: not as RFC 4180 has it (a quote inside
     * an unquoted field, text behind a closing quote, a quote that never closes). What stands in *out is valid only
     * after Ok.
     */
    Result split(const char *record, size_t size, FieldBuffer *out) noexcept;

  private:
    void reset() noexcept;

    std::unique_ptr<csv_parser> parser_;
};

} // namespace movielens_ingest::core
