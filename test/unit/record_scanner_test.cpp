#include "core/record_scanner.hpp"
#include "feed.hpp"
#include "reference.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace movielens_ingest::core {
namespace {

constexpr RecordFault kNone = RecordFault::None;
constexpr RecordFault kCr = RecordFault::UnquotedCarriageReturn;
constexpr RecordFault kLf = RecordFault::UnquotedNewline;
constexpr RecordFault kOpen = RecordFault::UnterminatedQuote;
constexpr RecordFault kMismatch = RecordFault::MismatchedMarker;
constexpr RecordFault kMarker = RecordFault::EndOfCopyMarker;

constexpr LineEnd kLineEnds[] = {LineEnd::Unknown, LineEnd::Lf, LineEnd::CrLf, LineEnd::Cr};

std::vector<Placed> scan(const std::string &bytes, LineEnd line_end) {
    return scan_in_pieces(bytes, with(line_end), {});
}

using Records = std::vector<Placed>;

TEST(RecordScanner, EmptyInputHasNoRecord) {
    for (const LineEnd line_end : kLineEnds) {
        RecordScanner scanner(with(line_end));
        Record record;
        size_t pos = 0;
        EXPECT_FALSE(scanner.next("", 0, &pos, &record));
        EXPECT_EQ(pos, 0U);
        EXPECT_FALSE(scanner.finish(&record));
        EXPECT_EQ(scanner.line_end(), line_end);
    }
}

TEST(RecordScanner, EndsRecordsAtTheFilesLineEnd) {
    EXPECT_EQ(scan("a,b\nc\n", LineEnd::Lf), (Records{{0, 4, 3, 1, kNone}, {4, 2, 1, 1, kNone}}));
    EXPECT_EQ(scan("a,b\r\nc\r\n", LineEnd::CrLf), (Records{{0, 5, 3, 1, kNone}, {5, 3, 1, 1, kNone}}));
    EXPECT_EQ(scan("a,b\rc\r", LineEnd::Cr), (Records{{0, 4, 3, 1, kNone}, {4, 2, 1, 1, kNone}}));
}

TEST(RecordScanner, EmptyLinesAreRecords) {
    EXPECT_EQ(scan("\n\n", LineEnd::Lf), (Records{{0, 1, 0, 1, kNone}, {1, 1, 0, 1, kNone}}));
    EXPECT_EQ(scan("\r\n\r\n", LineEnd::CrLf), (Records{{0, 2, 0, 1, kNone}, {2, 2, 0, 1, kNone}}));
    EXPECT_EQ(scan("\r\r", LineEnd::Cr), (Records{{0, 1, 0, 1, kNone}, {1, 1, 0, 1, kNone}}));
}

TEST(RecordScanner, TheLastLineEndMayBeMissing) {
    EXPECT_EQ(scan("a\nbc", LineEnd::Lf), (Records{{0, 2, 1, 1, kNone}, {2, 2, 2, 0, kNone}}));
    EXPECT_EQ(scan("a\r\nbc", LineEnd::CrLf), (Records{{0, 3, 1, 1, kNone}, {3, 2, 2, 0, kNone}}));
    EXPECT_EQ(scan("a\rbc", LineEnd::Cr), (Records{{0, 2, 1, 1, kNone}, {2, 2, 2, 0, kNone}}));
    EXPECT_EQ(scan("\"a\n\"", LineEnd::Lf), (Records{{0, 4, 4, 1, kNone}}));
}

TEST(RecordScanner, LineBreaksInQuotesAreData) {
    EXPECT_EQ(scan("\"a\nb\r\nc\r\",d\n", LineEnd::Lf), (Records{{0, 12, 11, 3, kNone}}));
    EXPECT_EQ(scan("\"a\nb\r\nc\r\",d\r\n", LineEnd::CrLf), (Records{{0, 13, 11, 3, kNone}}));
    EXPECT_EQ(scan("\"a\nb\r\nc\r\",d\r", LineEnd::Cr), (Records{{0, 12, 11, 3, kNone}}));
}

TEST(RecordScanner, EveryQuoteToggles) {
    EXPECT_EQ(scan("\"a\"\"\nb\"\nc\n", LineEnd::Lf), (Records{{0, 8, 7, 2, kNone}, {8, 2, 1, 1, kNone}}));
    EXPECT_EQ(scan("a\"b\nc\"d\ne\n", LineEnd::Lf), (Records{{0, 8, 7, 2, kNone}, {8, 2, 1, 1, kNone}}));
    EXPECT_EQ(scan("\"\"\"\"\nb\n", LineEnd::Lf), (Records{{0, 5, 4, 1, kNone}, {5, 2, 1, 1, kNone}}));
}

TEST(RecordScanner, AnEscapeInQuotesMakesAQuoteOrdinary) {
    const Dialect dialect = with(LineEnd::Lf, '"', '\\');
    const auto escaped = [&](const std::string &bytes) { return scan_in_pieces(bytes, dialect, {}); };
    EXPECT_EQ(escaped("\"a\\\"\n\"\nb\n"), (Records{{0, 7, 6, 2, kNone}, {7, 2, 1, 1, kNone}}));
    EXPECT_EQ(escaped("\"a\\\\\"\nb\n"), (Records{{0, 6, 5, 1, kNone}, {6, 2, 1, 1, kNone}}));
    EXPECT_EQ(escaped("\"\\\\\\\"\n\"\n"), (Records{{0, 8, 7, 2, kNone}}));
    EXPECT_EQ(escaped("\"\\a\"\nb\n"), (Records{{0, 5, 4, 1, kNone}, {5, 2, 1, 1, kNone}}));
    EXPECT_EQ(escaped("\"\\\n\"\n"), (Records{{0, 5, 4, 2, kNone}}));
    /* Outside quotes it is a character, and a quote in quotes closes them. */
    EXPECT_EQ(escaped("a\\\"\n\"\n"), (Records{{0, 6, 5, 2, kNone}}));
    EXPECT_EQ(escaped("\"a\"\"\n\"\n"), (Records{{0, 7, 6, 2, kNone}}));
    EXPECT_EQ(escaped("\"a\"\\\"b\"\n\"\n"), (Records{{0, 8, 7, 1, kNone}, {8, 2, 1, 1, kOpen}}));
}

TEST(RecordScanner, ALineBreakMayBeTheEscape) {
    EXPECT_EQ(scan_in_pieces("\"\n\"\n\n\"\na\n", with(LineEnd::Lf, '"', '\n'), {}),
              (Records{{0, 7, 6, 4, kNone}, {7, 2, 1, 1, kNone}}));
    EXPECT_EQ(scan_in_pieces("\"\r\"\r\r\"\r\na\r\n", with(LineEnd::CrLf, '"', '\r'), {}),
              (Records{{0, 8, 6, 1, kNone}, {8, 3, 1, 1, kNone}}));
}

TEST(RecordScanner, FirstLineEndDecidesWhatIsUnknown) {
    const struct {
        const char *bytes;
        LineEnd line_end;
    } cases[] = {
        {"a\nb\r\n", LineEnd::Lf},        {"a\r\nb\n", LineEnd::CrLf},
        {"a\rb\n", LineEnd::Cr},          {"a\r", LineEnd::Cr},
        {"\"a\nb\",c\rd", LineEnd::Cr},   {"\"a\r\",c\n", LineEnd::Lf},
        {"\"a\r\n\"\r\n", LineEnd::CrLf}, {"\\.\n", LineEnd::Lf},
        {"\\.\r\n", LineEnd::CrLf},       {"\\.\r", LineEnd::Cr},
        {"\\.\ra", LineEnd::Cr},          {"a", LineEnd::Unknown},
        {"\"a\r\n", LineEnd::CrLf},       {"\"a\nb\r\n", LineEnd::Lf},
        {"\"a\rb\r", LineEnd::Cr},        {"\"a\rb\nc\r\n", LineEnd::Lf},
        {"\"a", LineEnd::Unknown},
    };
    for (const auto &c : cases) {
        LineEnd line_end = LineEnd::Lf;
        for (const bool byte_by_byte : {false, true}) {
            const std::string bytes = c.bytes;
            std::vector<size_t> ends;
            for (size_t i = 1; byte_by_byte && i < bytes.size(); ++i)
                ends.push_back(i);
            scan_in_pieces(bytes, with(LineEnd::Unknown), ends, &line_end);
            EXPECT_EQ(line_end, c.line_end) << visible(c.bytes);
        }
    }
}

TEST(RecordScanner, CountsTheLineBreaksOfTheLineEndItFinds) {
    EXPECT_EQ(scan("\"\n\n\r\"\r", LineEnd::Unknown), (Records{{0, 6, 5, 2, kNone}}));
    EXPECT_EQ(scan("\"\n\n\r\"\n", LineEnd::Unknown), (Records{{0, 6, 5, 3, kNone}}));
    EXPECT_EQ(scan("\"\n\n\r\"\r\n", LineEnd::Unknown), (Records{{0, 7, 5, 3, kNone}}));
    EXPECT_EQ(scan("\"\r\r\"", LineEnd::Unknown), (Records{{0, 4, 4, 2, kNone}}));
}

TEST(RecordScanner, AForeignCarriageReturnIsAFaultOfTheWholeRecord) {
    EXPECT_EQ(scan("a\rb\nc\n", LineEnd::Lf), (Records{{0, 4, 3, 1, kCr}, {4, 2, 1, 1, kNone}}));
    EXPECT_EQ(scan("a\r\nc\n", LineEnd::Lf), (Records{{0, 3, 2, 1, kCr}, {3, 2, 1, 1, kNone}}));
    EXPECT_EQ(scan("a\rb\r\nc\r\n", LineEnd::CrLf), (Records{{0, 5, 3, 1, kCr}, {5, 3, 1, 1, kNone}}));
    EXPECT_EQ(scan("a\r\r\nc\r\n", LineEnd::CrLf), (Records{{0, 4, 2, 1, kCr}, {4, 3, 1, 1, kNone}}));
    EXPECT_EQ(scan("a\r\"\r\n\"\r\n", LineEnd::CrLf), (Records{{0, 8, 6, 2, kCr}}));
}

TEST(RecordScanner, AForeignNewlineEndsTheRecord) {
    EXPECT_EQ(scan("a\nb\r\n", LineEnd::CrLf), (Records{{0, 2, 1, 1, kLf}, {2, 3, 1, 1, kNone}}));
    EXPECT_EQ(scan("a\nb\r", LineEnd::Cr), (Records{{0, 2, 1, 0, kLf}, {2, 2, 1, 1, kNone}}));
    EXPECT_EQ(scan("a\r\nb\r", LineEnd::Cr), (Records{{0, 2, 1, 1, kNone}, {2, 1, 0, 0, kLf}, {3, 2, 1, 1, kNone}}));
}

TEST(RecordScanner, TheFirstFaultCounts) {
    EXPECT_EQ(scan("a\rb\nc\r\n", LineEnd::CrLf), (Records{{0, 4, 3, 1, kCr}, {4, 3, 1, 1, kNone}}));
    EXPECT_EQ(scan("a\r\"b\n", LineEnd::Lf), (Records{{0, 5, 4, 1, kCr}}));
    /* The CR stands in the part that is scanned again. */
    EXPECT_EQ(scan("\"a\nb\"\r\"\n", LineEnd::Lf), (Records{{0, 3, 2, 1, kOpen}, {3, 5, 4, 1, kNone}}));
}

TEST(RecordScanner, ACarriageReturnMayBeTheLastByte) {
    EXPECT_EQ(scan("a\r", LineEnd::Unknown), (Records{{0, 2, 1, 1, kNone}}));
    EXPECT_EQ(scan("a\r", LineEnd::Cr), (Records{{0, 2, 1, 1, kNone}}));
    EXPECT_EQ(scan("a\r", LineEnd::CrLf), (Records{{0, 2, 2, 0, kCr}}));
    EXPECT_EQ(scan("a\r", LineEnd::Lf), (Records{{0, 2, 2, 0, kCr}}));
    EXPECT_EQ(scan("\"a\r", LineEnd::CrLf), (Records{{0, 3, 3, 0, kOpen}}));
}

TEST(RecordScanner, AnOpenQuoteIsCutAtTheFirstLine) {
    EXPECT_EQ(scan("a,\"b\nc\n", LineEnd::Lf), (Records{{0, 5, 4, 1, kOpen}, {5, 2, 1, 1, kNone}}));
    EXPECT_EQ(scan("a,\"b\r\nc\r\n", LineEnd::CrLf), (Records{{0, 6, 4, 1, kOpen}, {6, 3, 1, 1, kNone}}));
    EXPECT_EQ(scan("a,\"b\rc\r", LineEnd::Cr), (Records{{0, 5, 4, 1, kOpen}, {5, 2, 1, 1, kNone}}));
    EXPECT_EQ(scan("a,\"b", LineEnd::Lf), (Records{{0, 4, 4, 0, kOpen}}));
    EXPECT_EQ(scan("\"\n", LineEnd::Lf), (Records{{0, 2, 1, 1, kOpen}}));
    /* An LF is no line break where lines end in CR, and a CR before an LF is data where they end in LF. */
    EXPECT_EQ(scan("\"b\nc\rd\r", LineEnd::Cr), (Records{{0, 5, 4, 1, kOpen}, {5, 2, 1, 1, kNone}}));
    EXPECT_EQ(scan("\"b\nc", LineEnd::Cr), (Records{{0, 4, 4, 0, kOpen}}));
    EXPECT_EQ(scan("\"b\r\nc\n", LineEnd::Lf), (Records{{0, 4, 3, 1, kOpen}, {4, 2, 1, 1, kNone}}));
    EXPECT_EQ(scan("\"b\nc\r\n", LineEnd::CrLf), (Records{{0, 3, 2, 1, kOpen}, {3, 3, 1, 1, kNone}}));
    EXPECT_EQ(scan("\"b\r\nc\r\n", LineEnd::Unknown), (Records{{0, 4, 2, 1, kOpen}, {4, 3, 1, 1, kNone}}));
    EXPECT_EQ(scan("\"b\rc\r", LineEnd::Unknown), (Records{{0, 3, 2, 1, kOpen}, {3, 2, 1, 1, kNone}}));
    /* The line break where it is cut is the file's line end: not that of the record behind it. */
    EXPECT_EQ(scan("a\"b\n\xA6\r\nc\nd\n", LineEnd::Unknown),
              (Records{{0, 4, 3, 1, kOpen},
                       {4, 3, 2, 1, RecordFault::UnquotedCarriageReturn},
                       {7, 2, 1, 1, kNone},
                       {9, 2, 1, 1, kNone}}));
}

TEST(RecordScanner, BehindTheCutTheQuotesAreTheOtherWayRound) {
    EXPECT_EQ(scan("1,\"a\n2,\"b\"\n3,c\n", LineEnd::Lf),
              (Records{{0, 5, 4, 1, kOpen}, {5, 6, 5, 1, kNone}, {11, 4, 3, 1, kNone}}));
    EXPECT_EQ(scan("1,\"a\n2,\"b\nc\"\n3\n", LineEnd::Lf),
              (Records{{0, 10, 9, 2, kNone}, {10, 3, 2, 1, kOpen}, {13, 2, 1, 1, kNone}}));
    EXPECT_EQ(scan("1,\"a\n2,\"b\",\"\n3,c\n4\n", LineEnd::Lf),
              (Records{{0, 13, 12, 2, kNone}, {13, 4, 3, 1, kNone}, {17, 2, 1, 1, kNone}}));
    EXPECT_EQ(scan("1,\"a\n2,\"\"\n3\n", LineEnd::Lf),
              (Records{{0, 5, 4, 1, kOpen}, {5, 5, 4, 1, kNone}, {10, 2, 1, 1, kNone}}));
}

/* With an escape, the scan behind the cut may come to be in quotes as the scan before it was. */
TEST(RecordScanner, BehindTheCutEveryLineIsARecord) {
    const Dialect dialect = with(LineEnd::Lf, '"', '\\');
    EXPECT_EQ(scan_in_pieces("\"\n\\\"a\nb\n\\\"", dialect, {}),
              (Records{{0, 2, 1, 1, kOpen}, {2, 4, 3, 1, kOpen}, {6, 2, 1, 1, kNone}, {8, 2, 2, 0, kOpen}}));

    /* Only the first open quote is found at the end of the input: else the time would grow with its square. */
    std::string bytes = "\"\n";
    for (int i = 0; i < 1000; ++i)
        bytes += "\\\"b\n";
    RecordScanner scanner(dialect);
    Record record;
    size_t pos = 0;
    EXPECT_FALSE(scanner.next(bytes.data(), bytes.size(), &pos, &record));
    EXPECT_TRUE(scanner.finish(&record));
    pos = record.size;
    int records = 1;
    for (; scanner.next(bytes.data(), bytes.size(), &pos, &record); ++records)
        EXPECT_EQ(record.fault, kOpen);
    EXPECT_EQ(records, 1001);
    EXPECT_FALSE(scanner.finish(&record));

    scanner.restart(false);
    pos = 0;
    EXPECT_FALSE(scanner.next(bytes.data(), bytes.size(), &pos, &record));
}

TEST(RecordScanner, TheEndOfCopyMarkerStandsAloneOnItsLine) {
    EXPECT_EQ(scan("\\.\na\n", LineEnd::Lf), (Records{{0, 3, 2, 1, kMarker}, {3, 2, 1, 1, kNone}}));
    EXPECT_EQ(scan("a\r\n\\.\r\n", LineEnd::CrLf), (Records{{0, 3, 1, 1, kNone}, {3, 4, 2, 1, kMarker}}));
    EXPECT_EQ(scan("\\.\r\\.\r", LineEnd::Cr), (Records{{0, 3, 2, 1, kMarker}, {3, 3, 2, 1, kMarker}}));

    EXPECT_EQ(scan("\\.a\n", LineEnd::Lf), (Records{{0, 4, 3, 1, kNone}}));
    EXPECT_EQ(scan("a\\.\n", LineEnd::Lf), (Records{{0, 4, 3, 1, kNone}}));
    EXPECT_EQ(scan("\\.,\n", LineEnd::Lf), (Records{{0, 4, 3, 1, kNone}}));
    EXPECT_EQ(scan("\\\n", LineEnd::Lf), (Records{{0, 2, 1, 1, kNone}}));
    EXPECT_EQ(scan("\"\\.\"\n", LineEnd::Lf), (Records{{0, 5, 4, 1, kNone}}));
    EXPECT_EQ(scan("\"\n\\.\n\"\n", LineEnd::Lf), (Records{{0, 7, 6, 3, kNone}}));
    EXPECT_EQ(scan("\\.", LineEnd::Lf), (Records{{0, 2, 2, 0, kNone}}));
    EXPECT_EQ(scan("\\", LineEnd::Lf), (Records{{0, 1, 1, 0, kNone}}));

    EXPECT_EQ(scan("\\.\r\n", LineEnd::Lf), (Records{{0, 4, 3, 1, kMismatch}}));
    EXPECT_EQ(scan("\\.\r\r\n", LineEnd::CrLf), (Records{{0, 5, 3, 1, kMismatch}}));
    EXPECT_EQ(scan("\\.\n", LineEnd::CrLf), (Records{{0, 3, 2, 1, kLf}}));
    EXPECT_EQ(scan("\\.\ra\r\n", LineEnd::CrLf), (Records{{0, 6, 4, 1, kCr}}));
    EXPECT_EQ(scan("\\.\r", LineEnd::CrLf), (Records{{0, 3, 3, 0, kCr}}));
    EXPECT_EQ(scan("\\.\n", LineEnd::Cr), (Records{{0, 3, 2, 0, kMismatch}}));
    for (const char *bytes : {"\\.\r", "\\.\n"})
        EXPECT_EQ(scan(bytes, LineEnd::Unknown), (Records{{0, 3, 2, 1, kMarker}})) << visible(bytes);
}

/* COPY looks for the marker before it minds quotes. */
TEST(RecordScanner, TheEndOfCopyMarkerIsFoundEvenIfItHoldsTheQuote) {
    for (const char quote : {'\\', '.'}) {
        EXPECT_EQ(scan_in_pieces("\\.\na\n", with(LineEnd::Lf, quote), {}),
                  (Records{{0, 3, 2, 1, kMarker}, {3, 2, 1, 1, kNone}}));
        EXPECT_EQ(scan_in_pieces("\\.a\n", with(LineEnd::Lf, quote), {}), (Records{{0, 4, 3, 1, kOpen}}));
        EXPECT_EQ(scan_in_pieces("\\.\r\n", with(LineEnd::Lf, quote), {}), (Records{{0, 4, 3, 1, kMismatch}}));
    }
}

/* From PostgreSQL 18 on. */
TEST(RecordScanner, WithoutEndOfCopyMarkersTheyAreData) {
    const struct {
        const char *bytes;
        LineEnd line_end;
        Records records;
    } cases[] = {
        {"\\.\na\n", LineEnd::Lf, {{0, 3, 2, 1, kNone}, {3, 2, 1, 1, kNone}}},
        {"a\r\n\\.\r\n", LineEnd::CrLf, {{0, 3, 1, 1, kNone}, {3, 4, 2, 1, kNone}}},
        {"\\.\r\\.\r", LineEnd::Cr, {{0, 3, 2, 1, kNone}, {3, 3, 2, 1, kNone}}},
        {"\\.\n\\.", LineEnd::Unknown, {{0, 3, 2, 1, kNone}, {3, 2, 2, 0, kNone}}},
        {"\\.\r\n", LineEnd::Lf, {{0, 4, 3, 1, kCr}}},
        {"\\.\r\r\n", LineEnd::CrLf, {{0, 5, 3, 1, kCr}}},
        {"\\.\n", LineEnd::Cr, {{0, 3, 2, 0, kLf}}},
    };
    for (const auto &c : cases) {
        Dialect dialect = with(c.line_end);
        dialect.end_marker = false;
        EXPECT_EQ(scan_in_pieces(c.bytes, dialect, {}), c.records) << visible(c.bytes);
        EXPECT_EQ(scan_by(1, c.bytes, dialect), c.records) << visible(c.bytes);
    }
    for (const char quote : {'\\', '.'}) {
        Dialect dialect = with(LineEnd::Lf, quote);
        dialect.end_marker = false;
        EXPECT_EQ(scan_in_pieces("\\.\na\n", dialect, {}), (Records{{0, 3, 2, 1, kOpen}, {3, 2, 1, 1, kNone}}));
        EXPECT_EQ(scan_in_pieces("\\.\n\\.\n", dialect, {}), (Records{{0, 6, 5, 2, kNone}}));
    }
}

TEST(RecordScanner, OtherQuotesAndBytesAreJustBytes) {
    const std::string bytes("\xFF\0\x80\"\n'\n'\n", 9);
    EXPECT_EQ(scan_in_pieces(bytes, with(LineEnd::Lf, '\''), {}), (Records{{0, 5, 4, 1, kNone}, {5, 4, 3, 2, kNone}}));
    EXPECT_EQ(scan_in_pieces(bytes, with(LineEnd::Lf, '\xFF'), {}),
              (Records{{0, 5, 4, 1, kOpen}, {5, 2, 1, 1, kNone}, {7, 2, 1, 1, kNone}}));
}

/* The scanner goes on after finish() as if it were new. */
TEST(RecordScanner, StartsAnewAfterFinish) {
    for (const char *first : {"a", "\"a", "\\", "\\.", "\\.\r", "a\r", "a\r\"b\n"}) {
        RecordScanner scanner(with(LineEnd::CrLf));
        Record record;
        size_t pos = 0;
        const std::string bytes = first;
        while (scanner.next(bytes.data(), bytes.size(), &pos, &record))
            ;
        scanner.finish(&record);
        EXPECT_FALSE(scanner.finish(&record)) << visible(first);
        pos = 0;
        ASSERT_TRUE(scanner.next("b\r\n", 3, &pos, &record)) << visible(first);
        EXPECT_EQ(pos, 3U);
        EXPECT_EQ((Placed{0, record.size, record.content, record.lines, record.fault}), (Placed{0, 3, 1, 1, kNone}));
    }
}

const char *const kNasty[] = {
    "a,b,c\n1,2,3\n",
    "a,b,c\r\n1,2,3\r\n",
    "a,b,c\r1,2,3\r",
    "a\n\r\n\r\r\n\n\r",
    "\"a\r\n\",b\r\nc\r\n",
    "\"a\r\"\r\"\r\n\"\r\n",
    "\"\"\"\"\r\n\"\"\r\n\"\r\n",
    "x\"y\r\nz\"\r\nw\r\n",
    "\\.\r\n\\.\n\\.\r\\.",
    "\\.\r\r\n\\\r\n.\r\n",
    "a\\.\r\n\\.b\r\n\"\\.\r\n\\.\r\n\"\r\n",
    "\\.\"\r\n\"\n",
    "a,\"b\r\nc\r\n\"d\",\"e\r\nf\r\n",
    "a,\"b\rc\r\"d\",\"e\rf\r",
    "a,\"b\nc\n\"d\",\"e\nf\n",
    "\"\r\"\n\"\r\n\"\r",
    "\r\n\"",
    "\r\r\n\"\r\n",
    "a\r\"b\r\nc",
    "\"a\rb\",c\nd\r\n",
    "\"\\\"\r\n\\\\\"\r\n\"\\\r\n",
    "\"\r\n\\\"a\r\nb\r\n\\\"",
};

TEST(RecordScanner, PiecesDoNotMatter) {
    const struct {
        char quote;
        char escape;
    } characters[] = {{'"', '"'}, {'.', '.'}, {'\\', '\\'}, {'"', '\\'}, {'\\', '.'}, {'"', '\n'}};
    for (const auto &[quote, escape] : characters) {
        for (const bool end_marker : {true, false}) {
            for (const LineEnd line_end : kLineEnds) {
                Dialect dialect = with(line_end, quote, escape);
                dialect.end_marker = end_marker;
                for (const std::string bytes : kNasty) {
                    const Records expected = reference_records(bytes, dialect);
                    EXPECT_EQ(scan_in_pieces(bytes, dialect, {}), expected) << describe(bytes, dialect);
                    for (size_t piece = 1; piece <= 7; ++piece)
                        EXPECT_EQ(scan_by(piece, bytes, dialect), expected)
                            << describe(bytes, dialect) << " by " << piece;
                    for (size_t i = 0; i <= bytes.size(); ++i)
                        for (size_t j = i; j <= bytes.size(); ++j)
                            ASSERT_EQ(scan_in_pieces(bytes, dialect, {i, j}), expected)
                                << describe(bytes, dialect) << " at " << i << ", " << j;
                }
            }
        }
    }
}

/* Short texts in a few characters that all mean something: the reference must be met whatever the pieces. */
TEST(RecordScanner, MeetsTheReferenceOnRandomInput) {
    std::mt19937 random(1);
    const std::string alphabet = "a,\"\n\r\\.\r\n\"";
    for (int i = 0; i < 300000; ++i) {
        std::string bytes;
        for (size_t size = random() % 25; bytes.size() < size;)
            bytes += alphabet[random() % alphabet.size()];
        const Dialect dialect = random_dialect(&random, kLineEnds[random() % 4]);
        const Records expected = reference_records(bytes, dialect);
        ASSERT_EQ(scan_in_pieces(bytes, dialect, {}), expected) << describe(bytes, dialect);
        ASSERT_EQ(scan_by(1 + random() % 5, bytes, dialect), expected) << describe(bytes, dialect);
    }
}

TEST(RecordScanner, RecordsLongerThanAnyPiece) {
    const std::string value(300000, 'x');
    const std::string bytes = value + "\r\n\"" + value + "\r\n" + value + "\"\r\n" + value;
    for (const size_t piece : {size_t{1} << 16, size_t{99991}, bytes.size()})
        EXPECT_EQ(scan_by(piece, bytes, with(LineEnd::Unknown)), (Records{{0, 300002, 300000, 1, kNone},
                                                                          {300002, 600006, 600004, 2, kNone},
                                                                          {900008, 300000, 300000, 0, kNone}}));
}

} // namespace
} // namespace movielens_ingest::core
