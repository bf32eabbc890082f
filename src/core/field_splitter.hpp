/*
 * field_splitter.hpp - what the fields of a record are, as COPY sees them (CopyReadAttributesCSV in copyfromparse.c).
 *
 * A record without a quote is cut at its delimiters. One with quotes goes through libcsv, in strict mode; where libcsv
 * has no answer (quotes inside an unquoted field, text behind a closing quote: COPY takes both) or no way to say it (an
 * escape other than the quote, a null string), a splitter that follows COPY to the letter decides.
 */
#pragma once

#include "core/dialect.hpp"
#include "core/field_buffer.hpp"
#include "core/libcsv_splitter.hpp"

#include <cstddef>

namespace movielens_ingest::core {

class FieldSplitter {
  public:
    explicit FieldSplitter(const Dialect &dialect); /* throws std::bad_alloc */
    ~FieldSplitter();
    FieldSplitter(const FieldSplitter &) = delete;
    FieldSplitter &operator=(const FieldSplitter &) = delete;

    /*
     * Splits one record, given without its line end. An empty record has one field. The fields stay valid until the
     * next call and as long as the record's bytes do. There are none if the result is not Ok.
     */
    SplitResult split(const char *record, size_t size) noexcept;

    size_t count() const noexcept { return buffer_.fields.size(); }
    const Field *fields() const noexcept { return buffer_.fields.data(); }

  private:
    SplitResult split_plain(const char *record, size_t size) noexcept;
    SplitResult split_quoted(const char *record, size_t size) noexcept;

    Dialect dialect_;
    bool libcsv_knows_; /* the dialect */
    FieldBuffer buffer_;
    LibcsvSplitter libcsv_;
};

} // namespace movielens_ingest::core
