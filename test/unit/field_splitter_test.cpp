#include "core/field_splitter.hpp"

#include "core/copy_splitter.hpp"
#include "core/libcsv_splitter.hpp"
#include "feed.hpp"
#include "reference.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace movielens_ingest::core {
namespace {

using Values = std::vector<Value>;

constexpr std::nullopt_t kNull = std::nullopt;

Values values(const Field *fields, size_t count) {
    Values out;
    for (size_t i = 0; i < count; ++i) {
        if (fields[i].data == nullptr) {
            EXPECT_EQ(fields[i].size, 0U);
        }
        out.push_back(fields[i].data == nullptr ? Value() : Value(std::string(fields[i].data, fields[i].size)));
    }
    return out;
}

Values values(const FieldBuffer &buffer) { return values(buffer.fields.data(), buffer.fields.size()); }

std::optional<Values> split(FieldSplitter *splitter, const std::string &record) {
    const Exact exact(record);
    const SplitResult result = splitter->split(exact.bytes.get(), record.size());
    if (result == SplitResult::Ok)
        return values(splitter->fields(), splitter->count());
    EXPECT_EQ(result, SplitResult::UnterminatedQuote);
    EXPECT_EQ(splitter->count(), 0U);
    return std::nullopt;
}

Values split(const std::string &record, const Dialect &dialect = Dialect()) {
    FieldSplitter splitter(dialect);
    const std::optional<Values> fields = split(&splitter, record);
    EXPECT_TRUE(fields.has_value()) << record;
    return fields.value_or(Values());
}

Dialect written(char delimiter, char quote, char escape, const char *null_string = "") {
    Dialect dialect;
    dialect.delimiter = delimiter;
    dialect.quote = quote;
    dialect.escape = escape;
    dialect.null_string = null_string;
    dialect.null_size = strlen(null_string);
    return dialect;
}

std::string show(const Values &fields) {
    std::string out;
    for (const Value &field : fields)
        out += field.has_value() ? "[" + visible(*field) + "]" : "NULL";
    return out;
}

TEST(FieldSplitter, CutsAtDelimiters) {
    EXPECT_EQ(split("1,31,2.5,1260759144"), (Values{"1", "31", "2.5", "1260759144"}));
    EXPECT_EQ(split("a"), (Values{"a"}));
}

TEST(FieldSplitter, EmptyIsNullUnlessQuoted) {
    EXPECT_EQ(split(""), (Values{kNull}));
    EXPECT_EQ(split(","), (Values{kNull, kNull}));
    EXPECT_EQ(split("a,,b,"), (Values{"a", kNull, "b", kNull}));
    EXPECT_EQ(split("\"\""), (Values{""}));
    EXPECT_EQ(split("\"\",,\"\""), (Values{"", kNull, ""}));
    EXPECT_EQ(split(",\"a\","), (Values{kNull, "a", kNull}));
}

TEST(FieldSplitter, TakesQuotesOff) {
    EXPECT_EQ(split("1,\"American President, The (1995)\",\"a\"\"b\""),
              (Values{"1", "American President, The (1995)", "a\"b"}));
    EXPECT_EQ(split("\"\"\"\""), (Values{"\""}));
    EXPECT_EQ(split("\"a\r\nb\nc\rd\""), (Values{"a\r\nb\nc\rd"}));
}

TEST(FieldSplitter, KeepsBlanks) {
    EXPECT_EQ(split(" a , b\t,\" c \", "), (Values{" a ", " b\t", " c ", " "}));
    EXPECT_EQ(split(" ,\"\""), (Values{" ", ""}));
}

/* What COPY takes and RFC 4180 does not. */
TEST(FieldSplitter, FollowsCopyWhereLibcsvHasNoAnswer) {
    EXPECT_EQ(split("a\"b\"c"), (Values{"abc"}));
    EXPECT_EQ(split("\"a\"b,c"), (Values{"ab", "c"}));
    EXPECT_EQ(split("\"a\" ,b"), (Values{"a ", "b"}));
    EXPECT_EQ(split(" \"a,b\""), (Values{" a,b"}));
    EXPECT_EQ(split("\"a\"\"b\"\"c\""), (Values{"a\"b\"c"}));
    EXPECT_EQ(split("\"a\"b\"c\""), (Values{"abc"}));
    EXPECT_EQ(split("a\"\"b"), (Values{"ab"}));
    EXPECT_EQ(split("a\"\""), (Values{"a"}));
    EXPECT_EQ(split("a\"\"\"\""), (Values{"a\""}));
    EXPECT_EQ(split("x,\"\" "), (Values{"x", " "}));
    EXPECT_EQ(split("\"\"a\"\""), (Values{"a"}));
}

TEST(FieldSplitter, SaysThatAQuoteNeverCloses) {
    FieldSplitter splitter((Dialect()));
    for (const char *record : {"\"", "a,\"b", "a\"b", "\"\"\"", "\"a\"\"", "\"a\"b\"", "a,\"b,c"}) {
        EXPECT_EQ(split(&splitter, record), std::nullopt) << record;
        EXPECT_EQ(split(&splitter, "\"c\",d"), (Values{"c", "d"})) << "after " << record;
    }
}

TEST(FieldSplitter, LineBreaksOutsideQuotesAreText) {
    EXPECT_EQ(split("a\rb,\nc"), (Values{"a\rb", "\nc"}));
    EXPECT_EQ(split("\r,\"a\"\r,\n"), (Values{"\r", "a\r", "\n"}));
    EXPECT_EQ(split("\"a\"\n"), (Values{"a\n"}));
}

TEST(FieldSplitter, OtherDelimitersAndQuotes) {
    EXPECT_EQ(split("a;'b;''c';\"", written(';', '\'', '\'')), (Values{"a", "b;'c", "\""}));
    EXPECT_EQ(split("a\t\" b\"\t", written('\t', '"', '"')), (Values{"a", " b", kNull}));
    EXPECT_EQ(split("a  \" \" b", written(' ', '"', '"')), (Values{"a", kNull, " ", "b"}));
    EXPECT_EQ(split("a\xFF\xFE,\xFF\xFE", written('\xFF', '\xFE', '\xFE')), (Values{"a", ",\xFF"}));
}

TEST(FieldSplitter, OtherEscapes) {
    const Dialect dialect = written(',', '"', '\\');
    EXPECT_EQ(split("\"a\\\"b\",\\,\"\\\\\"", dialect), (Values{"a\"b", "\\", "\\"}));
    EXPECT_EQ(split("\"\\a\\,\",c", dialect), (Values{"\\a\\,", "c"}));
    /* Two quotes are a stretch that ends and one that begins; outside quotes the escape is a character. */
    EXPECT_EQ(split("\"a\"\"b\"", dialect), (Values{"ab"}));
    EXPECT_EQ(split("\\\"a,b\"", dialect), (Values{"\\a,b"}));
    EXPECT_EQ(split("\"\",", dialect), (Values{"", kNull}));
    EXPECT_EQ(split("\"a,b,\"c\",\"d\"", written(',', '"', ',')), (Values{"a,b\"c", "d"}));

    FieldSplitter splitter(dialect);
    for (const char *record : {"\"", "\"\\\"", "\"\\", "a,\"b\\\\\\\""})
        EXPECT_EQ(split(&splitter, record), std::nullopt) << record;
}

TEST(FieldSplitter, TheNullStringIsNullUnlessQuoted) {
    const Dialect dialect = written(',', '"', '"', "NA");
    EXPECT_EQ(split("NA,,N,NAN,\"NA\",N\"A\",\"\",NA", dialect),
              (Values{kNull, "", "N", "NAN", "NA", "NA", "", kNull}));
    EXPECT_EQ(split("NA,a,,NA", dialect), (Values{kNull, "a", "", kNull}));
    EXPECT_EQ(split("NA", dialect), (Values{kNull}));
    EXPECT_EQ(split("na, NA,NA ", dialect), (Values{"na", " NA", "NA "}));
    EXPECT_EQ(split(",\"\"", dialect), (Values{"", ""}));
    EXPECT_EQ(split("\\N,\"\\N\"", written(',', '"', '\\', "\\N")), (Values{kNull, "\\N"}));

    /* An empty record has no byte to point at. */
    EXPECT_EQ(split("", dialect), (Values{""}));
    FieldSplitter splitter(dialect);
    ASSERT_EQ(splitter.split(nullptr, 0), SplitResult::Ok);
    EXPECT_NE(splitter.fields()[0].data, nullptr);
    FieldBuffer buffer;
    ASSERT_EQ(split_like_copy(dialect, nullptr, 0, &buffer), SplitResult::Ok);
    EXPECT_EQ(values(buffer), (Values{""}));
}

TEST(FieldSplitter, NulBytesAreBytes) {
    const std::string plain("a\0b,\0", 5);
    EXPECT_EQ(split(plain), (Values{std::string("a\0b", 3), std::string("\0", 1)}));
    const std::string quoted("\"a\0b\",\0", 7);
    EXPECT_EQ(split(quoted), (Values{std::string("a\0b", 3), std::string("\0", 1)}));
}

TEST(FieldSplitter, LongRecords) {
    FieldSplitter splitter((Dialect()));
    for (const size_t size : {100U, 20000U, 3000000U, 100U, 1200000U}) {
        const std::string value(size, 'x');
        EXPECT_EQ(split(&splitter, value + ",\"" + value + "\""), (Values{value, value}));
        EXPECT_EQ(split(&splitter, value + "\"\"" + ",\"" + value + "\""), (Values{value, value}));
        EXPECT_EQ(split(&splitter, value + "\"" + ",\"" + value + "\""), std::nullopt);
        EXPECT_EQ(split(&splitter, "\"" + value), std::nullopt);
    }
    const Values many = split(&splitter, std::string(50000, ',') + "\"\"").value();
    EXPECT_EQ(many.size(), 50001U);
    EXPECT_EQ(many.back(), Value(""));
}

TEST(FieldSplitter, SaysThatItHasNoMemory) {
    const size_t size = std::numeric_limits<size_t>::max() / 2 + 1;
    const char quote = '"';
    FieldBuffer buffer;
    LibcsvSplitter libcsv((Dialect()));
    EXPECT_EQ(libcsv.split(&quote, size, &buffer), LibcsvSplitter::Result::OutOfMemory);
    EXPECT_EQ(split_like_copy(Dialect(), &quote, size, &buffer), SplitResult::OutOfMemory);
}

/* A record of random bytes, all of which mean something to someone. */
std::string random_record(std::mt19937 *random) {
    const std::string alphabet = "a, \"\n\r\\.\",\"b";
    std::string record;
    for (size_t size = (*random)() % 16; record.size() < size;)
        record += alphabet[(*random)() % alphabet.size()];
    return record;
}

TEST(FieldSplitter, MeetsTheReferenceOnRandomRecords) {
    std::mt19937 random(4);
    const Dialect dialects[] = {
        written(',', '"', '"'),        written('a', '"', '"'),       written(' ', '"', '"'),
        written(',', 'a', 'a'),        written('"', ',', ','),       written('\\', '.', '.'),
        written(',', '"', '\\'),       written(',', '"', ','),       written('a', '\\', '.'),
        written(',', '"', 'a', "b"),   written(',', '"', '"', "a"),  written(' ', '"', '\\', "\\."),
        written(',', '"', '\n', "ab"), written(',', '\\', '"', " "),
    };
    for (const Dialect &dialect : dialects) {
        FieldSplitter splitter(dialect);
        for (int i = 0; i < 20000; ++i) {
            const std::string record = random_record(&random);
            ASSERT_EQ(split(&splitter, record), reference_fields(record, dialect)) << describe(record, dialect);
        }
    }
}

TEST(FieldSplitter, LibcsvAndTheCopySplitterAgree) {
    std::mt19937 random(5);
    const Dialect dialect;
    LibcsvSplitter libcsv(dialect);
    FieldBuffer by_libcsv;
    FieldBuffer by_copy;
    int answers = 0;
    for (int i = 0; i < 60000; ++i) {
        const std::string record = random_record(&random);
        if (record.empty())
            continue;
        const Exact exact(record);
        const LibcsvSplitter::Result result = libcsv.split(exact.bytes.get(), record.size(), &by_libcsv);
        const SplitResult copy = split_like_copy(dialect, exact.bytes.get(), record.size(), &by_copy);
        ASSERT_NE(result, LibcsvSplitter::Result::OutOfMemory);
        if (copy == SplitResult::UnterminatedQuote) {
            ASSERT_EQ(result, LibcsvSplitter::Result::NoAnswer) << visible(record);
        }
        if (result == LibcsvSplitter::Result::NoAnswer)
            continue;
        ++answers;
        ASSERT_EQ(values(by_libcsv), values(by_copy))
            << visible(record) << ": " << show(values(by_libcsv)) << " and " << show(values(by_copy));
    }
    EXPECT_GT(answers, 5000);
}

/* The fallback must not hide that libcsv fails where it should not. */
TEST(FieldSplitter, LibcsvAnswersForEveryProperRecord) {
    std::mt19937 random(6);
    const Dialect dialect;
    LibcsvSplitter libcsv(dialect);
    FieldBuffer buffer;
    const std::string alphabet = "a, \t\"\n\rb\xC3\xBC";
    for (int i = 0; i < 20000; ++i) {
        std::string record;
        Values expected;
        for (size_t fields = 1 + random() % 4; expected.size() < fields;) {
            std::string value;
            for (size_t size = random() % 6; value.size() < size;)
                value += alphabet[random() % alphabet.size()];
            if (!expected.empty())
                record += ',';
            if (value.find_first_of(",\"") == std::string::npos && random() % 2 == 0) {
                record += value;
                expected.push_back(value.empty() ? Value() : Value(value));
                continue;
            }
            record += '"';
            for (const char c : value)
                record += c == '"' ? "\"\"" : std::string(1, c);
            record += '"';
            expected.emplace_back(value);
        }
        if (record.empty())
            continue;
        ASSERT_EQ(libcsv.split(record.data(), record.size(), &buffer), LibcsvSplitter::Result::Ok) << visible(record);
        ASSERT_EQ(values(buffer), expected) << visible(record);
    }
}

} // namespace
} // namespace movielens_ingest::core
