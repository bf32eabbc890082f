#include "core/plain_records.hpp"
#include "feed.hpp"
#include "reference.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace movielens_ingest::core {
namespace {

const std::vector<std::pair<LineEnd, std::string>> kLineEnds = {
    {LineEnd::Lf, "\n"}, {LineEnd::CrLf, "\r\n"}, {LineEnd::Cr, "\r"}};

/* How many plain records the bytes begin with. */
size_t count_plain(const std::string &bytes, const Dialect &dialect, size_t fields) {
    std::vector<uint32_t> ends(fields * (bytes.size() + 1));
    size_t pos = 0;
    return PlainScanner(dialect, fields).scan(bytes.data(), bytes.size(), &pos, bytes.size() + 1, ends.data());
}

void check(const std::string &bytes, const Dialect &dialect, size_t fields, size_t most) {
    const std::vector<Placed> records = reference_records(bytes, dialect);
    std::vector<PlainFields> expected;
    for (const Placed &record : records)
        expected.push_back(reference_plain_fields(bytes, record, dialect, fields));
    ASSERT_EQ(split_plain_records(bytes, dialect, records, fields, most), expected)
        << describe(bytes, dialect) << ", " << fields << " fields, " << most << " records at a time";
}

TEST(PlainScanner, FindsFieldsAndRecords) {
    const std::string bytes = "xx\na,bc\n,\nd,e";
    uint32_t ends[8];
    size_t pos = 3;
    EXPECT_EQ(PlainScanner(with(LineEnd::Lf), 2).scan(bytes.data(), bytes.size(), &pos, 4, ends), 2U);
    EXPECT_EQ(pos, 10U);
    EXPECT_EQ(std::vector<uint32_t>(ends, ends + 4), (std::vector<uint32_t>{4, 7, 8, 9}));
}

TEST(PlainScanner, TheLineEndIsNoneOfTheLastField) {
    for (const auto &[line_end, text] : kLineEnds) {
        const std::string bytes = "1,22" + text;
        uint32_t ends[2];
        size_t pos = 0;
        EXPECT_EQ(PlainScanner(with(line_end), 2).scan(bytes.data(), bytes.size(), &pos, 1, ends), 1U);
        EXPECT_EQ(pos, bytes.size());
        EXPECT_EQ(ends[0], 1U);
        EXPECT_EQ(ends[1], 4U);
    }
}

TEST(PlainScanner, FindsNoMoreThanWanted) {
    const std::string bytes = "a\nb\nc\n";
    uint32_t ends[2] = {7, 7};
    size_t pos = 0;
    const PlainScanner scanner(with(LineEnd::Lf), 1);
    EXPECT_EQ(scanner.scan(bytes.data(), bytes.size(), &pos, 0, ends), 0U);
    EXPECT_EQ(scanner.scan(bytes.data(), bytes.size(), &pos, 1, ends), 1U);
    EXPECT_EQ(pos, 2U);
    EXPECT_EQ(ends[1], 7U);
}

TEST(PlainScanner, WhatIsNotPlain) {
    for (const auto &[line_end, text] : kLineEnds) {
        const Dialect dialect = with(line_end);
        for (const std::string plain : {",", "a,b", "a\\,\\.", ".\\,", "\xFF\xAC,\x80"})
            EXPECT_EQ(count_plain(plain + text, dialect, 2), 1U) << visible(plain + text);
        for (const std::string other :
             {"", "a", "a,b,c", ",,", "\"a\",b", "a\",b", "a,b\"", "\\.,b", "\\,b", "a\r,b", "a\n,b", "\r,b"})
            EXPECT_EQ(count_plain(other + text, dialect, 2), 0U) << visible(other + text);
        Dialect unmarked = dialect;
        unmarked.end_marker = false;
        for (const std::string plain : {"\\.,b", "\\,b", "\\.,"})
            EXPECT_EQ(count_plain(plain + text, unmarked, 2), 1U) << visible(plain + text);
        EXPECT_EQ(count_plain("\\." + text + "\\." + text, unmarked, 1), 2U);
        EXPECT_EQ(count_plain("a,b", dialect, 2), 0U);
        EXPECT_EQ(count_plain("a,b\r", dialect, 2), line_end == LineEnd::Cr ? 1U : 0U);
        EXPECT_EQ(count_plain("", dialect, 2), 0U);
    }
}

/* The escape means nothing outside quotes; any other byte may be the delimiter. */
TEST(PlainScanner, AnyDialect) {
    Dialect dialect = with(LineEnd::Lf, '\'', 'e');
    EXPECT_EQ(count_plain("ee,e\n", dialect, 2), 1U);
    for (const char delimiter : {'\0', '\t', ' ', 'e', '\\', '.', '\x7F', '\x80', '\xFF', '"'}) {
        dialect.delimiter = delimiter;
        EXPECT_EQ(count_plain(std::string("xz") + delimiter + "z\n", dialect, 2), 1U);
        EXPECT_EQ(count_plain(std::string("xz") + delimiter + "'\n", dialect, 2), 0U);
    }
}

/* However many they are, there is room for no more than the wanted ones. */
TEST(PlainScanner, FarTooManyFields) {
    const std::string bytes = "a,b\n" + std::string(300, ',') + "\n";
    uint32_t ends[400] = {};
    size_t pos = 0;
    EXPECT_EQ(PlainScanner(with(LineEnd::Lf), 2).scan(bytes.data(), bytes.size(), &pos, 3, ends), 1U);
    EXPECT_EQ(pos, 4U);
    EXPECT_EQ(ends[5], 7U);
    EXPECT_EQ(std::vector<uint32_t>(ends + 6, ends + 400), std::vector<uint32_t>(394));
}

/* One byte that makes a record another one, at each place around the ends of blocks. */
TEST(PlainScanner, OneOtherByteAnywhere) {
    for (const auto &[line_end, text] : kLineEnds) {
        std::string bytes;
        while (bytes.size() < 200)
            bytes += std::string(bytes.size() % 7, 'x') + "," + std::string(bytes.size() % 5, 'y') + text;
        for (size_t at = 0; at <= bytes.size(); ++at)
            for (const char c : {'"', '\r', '\n', ',', '\\', 'z'}) {
                std::string changed = bytes;
                changed.insert(at, 1, c);
                check(changed, with(line_end), 2, 100);
                if (HasFatalFailure())
                    return;
            }
        for (size_t size = 0; size <= bytes.size(); ++size)
            check(bytes.substr(0, size), with(line_end), 2, 1 + size % 40);
    }
}

TEST(PlainScanner, MeetsTheReferenceOnRandomInput) {
    std::mt19937 random(21);
    const std::string alphabet = "abc,,\n\r\\.\"";
    for (int i = 0; i < 20000; ++i) {
        const auto &[line_end, text] = kLineEnds[random() % 3];
        const size_t fields = 1 + random() % 5;
        std::string bytes;
        for (size_t size = random() % 300; bytes.size() < size; bytes += text) {
            for (size_t field = 0; field < fields; ++field)
                bytes += (field > 0 ? "," : "") + std::string(random() % 9, 'x');
            if (random() % 12 == 0)
                bytes.insert(random() % (bytes.size() + 1), 1, alphabet[random() % alphabet.size()]);
        }
        check(bytes, random_dialect(&random, line_end), fields, 1 + random() % 30);
        if (HasFatalFailure())
            return;
    }
}

} // namespace
} // namespace movielens_ingest::core
