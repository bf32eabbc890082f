/*
 * fields.cpp - the splitters must find the fields that the reference finds; where libcsv has an answer, it must be that
 * of the splitter which follows COPY.
 *
 * The first line: delimiter, quote, escape, the byte between two records, bytes of the null string, and this. All
 * records go through the same splitters, so that nothing may be left of the one before.
 */
#include "core/copy_splitter.hpp"
#include "core/field_splitter.hpp"
#include "core/libcsv_splitter.hpp"
#include "input.hpp"

#include <optional>
#include <sstream>
#include <vector>

namespace movielens_ingest::core {
namespace {

using Fields = std::optional<std::vector<Value>>; /* nothing: a quote never closes */

Fields values(const Field *fields, size_t count) {
    std::vector<Value> out;
    for (size_t i = 0; i < count; ++i) {
        require(fields[i].data != nullptr || fields[i].size == 0, "a NULL with a size");
        out.push_back(fields[i].data == nullptr ? Value() : Value(std::string(fields[i].data, fields[i].size)));
    }
    return out;
}

Fields values(SplitResult result, const Field *fields, size_t count) {
    require(result != SplitResult::OutOfMemory, "out of memory");
    return result == SplitResult::Ok ? values(fields, count) : std::nullopt;
}

/* libcsv's idea of a dialect. */
bool libcsv_knows(const Dialect &dialect) { return dialect.escape == dialect.quote && dialect.null_size == 0; }

/* As RFC 4180 has it: libcsv must answer. The record has all its quotes closed. */
bool is_strict(const std::string &record, const Dialect &dialect) {
    for (size_t i = 0, quotes = 0; i < record.size(); ++i) {
        if (record[i] != dialect.quote)
            continue;
        const bool opens = quotes++ % 2 == 0;
        const bool begins = i == 0 || record[i - 1] == dialect.delimiter;
        const bool ends = i + 1 == record.size() || record[i + 1] == dialect.delimiter;
        if (opens ? !begins && record[i - 1] != dialect.quote : !ends && record[i + 1] != dialect.quote)
            return false;
    }
    return true;
}

class Splitters {
  public:
    explicit Splitters(const Dialect &dialect) : dialect_(dialect), splitter_(dialect), libcsv_(dialect) {}

    void check(const std::string &record) {
        const std::string what = describe(record, dialect_) + ", delimiter " + visible({dialect_.delimiter});
        const Exact exact(record);
        const char *const bytes = exact.bytes.get();
        const Fields expected = reference_fields(record, dialect_);

        SplitResult result = splitter_.split(bytes, exact.size);
        require_same("fields", values(result, splitter_.fields(), splitter_.count()), expected, what);
        result = split_like_copy(dialect_, bytes, exact.size, &buffer_);
        require_same("fields as COPY has them", values(result, buffer_.fields.data(), buffer_.fields.size()), expected,
                     what);

        if (!libcsv_knows(dialect_) || record.empty())
            return;
        const LibcsvSplitter::Result answer = libcsv_.split(bytes, exact.size, &buffer_);
        require(answer != LibcsvSplitter::Result::OutOfMemory, "out of memory");
        if (answer == LibcsvSplitter::Result::Ok)
            require_same("fields by libcsv", values(buffer_.fields.data(), buffer_.fields.size()), expected, what);
        else
            require(!expected || !is_strict(record, dialect_), "libcsv has no answer: " + what);
    }

  private:
    Dialect dialect_;
    FieldSplitter splitter_;
    LibcsvSplitter libcsv_;
    FieldBuffer buffer_;
};

void check_input(Input *input) {
    Dialect dialect = input->dialect();
    const char separator = input->byte();
    std::string null_string;
    for (size_t size = input->number(4); size > 0; --size) {
        const char c = input->byte();
        if (c != dialect.delimiter && c != dialect.quote && c != '\n' && c != '\r')
            null_string += c;
    }
    dialect.null_string = null_string.data();
    dialect.null_size = null_string.size();

    Splitters splitters(dialect);
    std::istringstream records(input->text());
    for (std::string record; std::getline(records, record, separator);)
        splitters.check(record);
}

} // namespace
} // namespace movielens_ingest::core

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    movielens_ingest::core::Input input(data, size);
    movielens_ingest::core::check_input(&input);
    return 0;
}
