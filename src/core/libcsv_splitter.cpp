#include "core/libcsv_splitter.hpp"

#include <csv.h>

#include <cstring>

namespace movielens_ingest::core {

namespace {

/*
 * libcsv's defaults trim blanks around unquoted fields, take broken quotes for text and know no NULL: nothing that COPY
 * does.
 */
constexpr unsigned char kOptions = CSV_STRICT | CSV_STRICT_FINI | CSV_EMPTY_IS_NULL;

/* libcsv enlarges its field buffer by a fixed amount, 128 bytes unless told otherwise. */
constexpr size_t kBufferStep = 16 * 1024;

/* A buffer larger than this is given back after the record that needed it. */
constexpr size_t kBufferKeep = size_t{1} << 20;

struct Sink {
    FieldBuffer *out;
    bool failed;
};

} // namespace

extern "C" {

/* Called by libcsv, through C frames: it must not throw. A null text is an empty field without quotes. */
static void movielens_ingest_libcsv_field(void *text, size_t size, void *context) noexcept {
    Sink *sink = static_cast<Sink *>(context);
    FieldBuffer *out = sink->out;
    if (sink->failed)
        return;
    if (text == nullptr) {
        sink->failed = !out->add(nullptr, 0);
        return;
    }
    if (size > out->bytes.size() - out->used) {
        sink->failed = true;
        return;
    }
    char *copy = out->bytes.data() + out->used;
    if (size > 0)
        memcpy(copy, text, size);
    out->used += size;
    sink->failed = !out->add(copy, size);
}

/* Blanks are text to COPY. */
static int movielens_ingest_libcsv_no_space(unsigned char) noexcept { return 0; }

/* The record comes without its line end, so a line break in it is text. */
static int movielens_ingest_libcsv_no_line_end(unsigned char) noexcept { return 0; }

} /* extern "C" */

LibcsvSplitter::LibcsvSplitter(const Dialect &dialect) : parser_(new csv_parser) {
    csv_init(parser_.get(), kOptions); /* fails only for a null pointer */
    csv_set_delim(parser_.get(), static_cast<unsigned char>(dialect.delimiter));
    csv_set_quote(parser_.get(), static_cast<unsigned char>(dialect.quote));
    csv_set_space_func(parser_.get(), movielens_ingest_libcsv_no_space);
    csv_set_term_func(parser_.get(), movielens_ingest_libcsv_no_line_end);
    csv_set_blk_size(parser_.get(), kBufferStep);
}

LibcsvSplitter::~LibcsvSplitter() { csv_free(parser_.get()); }

LibcsvSplitter::Result LibcsvSplitter::split(const char *record, size_t size, FieldBuffer *out) noexcept {
    Sink sink{out, false};
    Result result = Result::Ok;

    if (!out->start(size))
        return Result::OutOfMemory;
    if (csv_parse(parser_.get(), record, size, movielens_ingest_libcsv_field, nullptr, &sink) != size ||
        csv_fini(parser_.get(), movielens_ingest_libcsv_field, nullptr, &sink) != 0) {
        result = csv_error(parser_.get()) == CSV_EPARSE ? Result::NoAnswer : Result::OutOfMemory;
        reset();
    }
    if (csv_get_buffer_size(parser_.get()) > kBufferKeep)
        csv_free(parser_.get()); /* frees the buffer only; the next record starts a new one */
    return sink.failed ? Result::OutOfMemory : result;
}

/* libcsv has no call for it, but csv_fini makes the parser new again as long as it finds nothing to complain about. */
void LibcsvSplitter::reset() noexcept {
    csv_set_opts(parser_.get(), 0);
    csv_fini(parser_.get(), nullptr, nullptr, nullptr);
    csv_set_opts(parser_.get(), kOptions);
}

} // namespace movielens_ingest::core
