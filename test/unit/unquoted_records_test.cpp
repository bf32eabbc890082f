#include "core/unquoted_records.hpp"
#include "feed.hpp"
#include "reference.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace movielens_ingest::core {
namespace {

/* Where the records from `start` on stand, as far as the reference has them. */
void check(const std::string &bytes, const Dialect &dialect, uint64_t most) {
    const Exact exact(bytes);
    const std::vector<Placed> records = reference_records(bytes, dialect);
    for (size_t first = 0; first < records.size(); ++first) {
        const size_t start = records[first].start;
        const std::string stretch = bytes.substr(start, bytes.find(dialect.quote, start) - start);
        RecordCount expected{0, 0};
        size_t end = start;
        for (size_t i = first; i < records.size() && expected.records < most; ++i) {
            const bool ended = records[i].size > records[i].content;
            if (!ended || records[i].start + records[i].size > start + stretch.size())
                break;
            ++expected.records;
            expected.lines += records[i].lines;
            end += records[i].size;
        }
        size_t pos = start;
        const RecordCount found = count_unquoted_records(dialect, exact.bytes.get(), exact.size, &pos, most);
        const std::string what =
            describe(bytes, dialect) + ", from " + std::to_string(start) + ", at most " + std::to_string(most);
        ASSERT_EQ(found.records, expected.records) << what;
        ASSERT_EQ(found.lines, expected.lines) << what;
        ASSERT_EQ(pos, end) << what;
    }
}

TEST(UnquotedRecords, EachLineEndEndsARecord) {
    const struct {
        LineEnd line_end;
        uint64_t records;
        uint64_t lines;
        size_t end;
    } cases[] = {{LineEnd::Lf, 3, 3, 8}, {LineEnd::CrLf, 3, 3, 8}, {LineEnd::Cr, 5, 2, 8}};
    const std::string bytes = "a\r\n\nb\rc\nd\"\n";
    for (const auto &c : cases) {
        size_t pos = 0;
        const RecordCount count = count_unquoted_records(with(c.line_end), bytes.data(), bytes.size(), &pos, 100);
        EXPECT_EQ(count.records, c.records);
        EXPECT_EQ(count.lines, c.lines);
        EXPECT_EQ(pos, c.end);
    }
}

TEST(UnquotedRecords, StopsBehindTheLastOneWanted) {
    const std::string bytes(200, '\n');
    for (uint64_t most = 1; most <= 201; ++most)
        check(bytes, with(LineEnd::Lf), most);
}

TEST(UnquotedRecords, AQuoteAnywhere) {
    std::string bytes;
    while (bytes.size() < 200)
        bytes += std::string(bytes.size() % 5, 'x') + "\n";
    for (size_t at = 0; at <= bytes.size(); ++at) {
        std::string changed = bytes;
        changed.insert(at, 1, '"');
        check(changed, with(LineEnd::Lf), 1 + at % 70);
    }
}

TEST(UnquotedRecords, MeetTheReferenceOnRandomInput) {
    std::mt19937 random(22);
    const std::string alphabet = "abbbb,,\\.\n\n\r\r";
    const LineEnd line_ends[] = {LineEnd::Lf, LineEnd::CrLf, LineEnd::Cr};
    for (int i = 0; i < 5000; ++i) {
        std::string bytes;
        for (size_t size = random() % 200; bytes.size() < size;)
            bytes += random() % 60 == 0 ? '"' : alphabet[random() % alphabet.size()];
        check(bytes, random_dialect(&random, line_ends[random() % 3]), 1 + random() % 40);
        if (HasFatalFailure())
            return;
    }
}

} // namespace
} // namespace movielens_ingest::core
