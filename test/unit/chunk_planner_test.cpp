#include "core/chunk_planner.hpp"
#include "feed.hpp"
#include "reference.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace movielens_ingest::core {
namespace {

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

/* Plans a file in every way that the arguments stand for; what comes out must be what the reference says. */
void check(const std::string &bytes, const Dialect &dialect, uint64_t data_start, uint64_t start_line,
           uint64_t chunk_size, uint64_t min_chunks, size_t piece) {
    std::vector<Placed> records = reference_records(bytes.substr(data_start), dialect);
    for (Placed &record : records)
        record.start += data_start;
    const Plan found = plan(bytes, dialect, data_start, start_line, chunk_size, min_chunks, piece);
    const std::string what = describe(bytes, dialect) + ", chunk size " + std::to_string(chunk_size) + ", min chunks " +
                             std::to_string(min_chunks) + ", by " + std::to_string(piece);

    ASSERT_EQ(found.rows, records.size()) << what;
    ASSERT_EQ(found.chunks, reference_chunks(bytes, records, data_start, start_line, chunk_size, min_chunks)) << what;

    /* That the chunks tile the file follows from the reference, but is worth its own words. */
    uint64_t byte = data_start;
    uint64_t row = 1;
    std::vector<Placed> alone;
    for (const Chunk &chunk : found.chunks) {
        ASSERT_EQ(chunk.start_byte, byte) << what;
        ASSERT_EQ(chunk.start_row, row) << what;
        ASSERT_GE(chunk.end_row, row) << what;
        byte = chunk.end_byte;
        row = chunk.end_row + 1;
        const std::vector<Placed> part = load(bytes, dialect, chunk, piece, 1 + piece % 4);
        ASSERT_EQ(part.size(), chunk.end_row - chunk.start_row + 1) << what;
        alone.insert(alone.end(), part.begin(), part.end());
    }
    ASSERT_EQ(byte, bytes.size()) << what;
    ASSERT_EQ(alone, records) << what;

    /* At most: the file once, the chunk of a cut again, and the whole once more if it is small. */
    ASSERT_LE(found.fed, 3 * (bytes.size() + piece)) << what;
}

void check_by_all_pieces(const std::string &bytes, const Dialect &dialect, uint64_t chunk_size, uint64_t min_chunks) {
    for (size_t piece = 1; piece <= 7; ++piece)
        check(bytes, dialect, 0, 1, chunk_size, min_chunks, piece);
    check(bytes, dialect, 0, 1, chunk_size, min_chunks, bytes.size() + 1);
}

std::string numbered_lines(size_t count, const std::string &line_end) {
    std::string bytes;
    for (size_t i = 1; i <= count; ++i)
        bytes += std::to_string(i) + "," + std::string(i % 3, 'x') + line_end;
    return bytes;
}

TEST(ChunkPlanner, AnEmptyRestHasNoChunk) {
    for (const std::string bytes : {"", "a,b\n"}) {
        ChunkPlanner planner(with(LineEnd::Lf), bytes.size(), 2, 10, 3);
        EXPECT_FALSE(planner.done());
        EXPECT_EQ(planner.position(), bytes.size());
        EXPECT_TRUE(planner.end_of_file());
        EXPECT_TRUE(planner.done());
        EXPECT_EQ(planner.rows(), 0U);
        Chunk chunk;
        EXPECT_FALSE(planner.take(&chunk));
    }
}

TEST(ChunkPlanner, CutsEveryChunkSizeRecords) {
    const Plan found = plan("1\n2\n3\n4\n5\n", with(LineEnd::Lf), 0, 1, 2, 2, 3);
    ASSERT_EQ(found.chunks.size(), 3U);
    EXPECT_EQ(found.rows, 5U);
    EXPECT_EQ(found.fed, 10U);
    EXPECT_EQ(found.chunks[2].number, 3U);
    EXPECT_EQ(found.chunks[2].start_row, 5U);
    EXPECT_EQ(found.chunks[2].end_row, 5U);
    EXPECT_EQ(found.chunks[2].start_byte, 8U);
    EXPECT_EQ(found.chunks[2].end_byte, 10U);
    EXPECT_EQ(found.chunks[2].start_line, 5U);
}

TEST(ChunkPlanner, ASmallFileIsCutEvenly) {
    const Plan found = plan("1\n2\n3\n4\n5\n", with(LineEnd::Lf), 0, 1, 2, 3, 3);
    ASSERT_EQ(found.chunks.size(), 3U);
    EXPECT_EQ(found.chunks[0].end_row, 1U);
    EXPECT_EQ(found.chunks[1].end_row, 3U);
    EXPECT_EQ(found.chunks[2].end_row, 5U);
}

TEST(ChunkPlanner, NeverMoreChunksThanRecords) {
    EXPECT_EQ(plan("1\n2\n", with(LineEnd::Lf), 0, 1, 30000, 12, 100).chunks.size(), 2U);
    EXPECT_EQ(plan("1", with(LineEnd::Lf), 0, 1, 30000, 12, 100).chunks.size(), 1U);
}

TEST(ChunkPlanner, OneChunkNeedsNoSecondReading) {
    const std::string bytes = numbered_lines(100, "\n");
    const Plan found = plan(bytes, with(LineEnd::Lf), 0, 1, 1000, 1, 64);
    EXPECT_EQ(found.chunks.size(), 1U);
    EXPECT_EQ(found.fed, bytes.size());
}

TEST(ChunkPlanner, ChunksComeOutAsSoonAsTheFileIsKnownNotToBeSmall) {
    ChunkPlanner planner(with(LineEnd::Lf), 0, 1, 2, 3);
    Chunk chunk;
    const std::string five = "1\n2\n3\n4\n5\n";
    EXPECT_TRUE(planner.feed(five.data(), five.size()));
    EXPECT_FALSE(planner.take(&chunk));
    EXPECT_TRUE(planner.feed("6", 1));
    EXPECT_FALSE(planner.take(&chunk));
    EXPECT_TRUE(planner.feed("\n7", 2));
    for (uint64_t number = 1; number <= 3; ++number) {
        ASSERT_TRUE(planner.take(&chunk));
        EXPECT_EQ(chunk.number, number);
    }
    EXPECT_FALSE(planner.take(&chunk));
    EXPECT_FALSE(planner.done());
    EXPECT_EQ(planner.position(), 13U);
    EXPECT_TRUE(planner.end_of_file());
    EXPECT_TRUE(planner.done());
    ASSERT_TRUE(planner.take(&chunk));
    EXPECT_EQ(chunk.start_row, 7U);
    EXPECT_EQ(chunk.end_byte, 13U);
    EXPECT_FALSE(planner.take(&chunk));
}

TEST(ChunkPlanner, BytesBehindTheEndAreIgnored) {
    ChunkPlanner planner(with(LineEnd::Lf), 0, 1, 10, 2);
    EXPECT_TRUE(planner.feed("1\n2\n3\n", 6));
    EXPECT_TRUE(planner.end_of_file());
    EXPECT_EQ(planner.position(), 0U);
    EXPECT_TRUE(planner.feed("1\n2\n3\n4\n5\n", 10));
    EXPECT_TRUE(planner.done());
    EXPECT_EQ(planner.rows(), 3U);
    EXPECT_TRUE(planner.feed("6\n", 2));
    EXPECT_TRUE(planner.end_of_file());
    Chunk chunk;
    ASSERT_TRUE(planner.take(&chunk));
    ASSERT_TRUE(planner.take(&chunk));
    EXPECT_EQ(chunk.end_byte, 6U);
    EXPECT_FALSE(planner.take(&chunk));
}

TEST(ChunkPlanner, HugeSettingsDoNotOverflow) {
    const std::string bytes = numbered_lines(50, "\n");
    for (const uint64_t chunk_size : {kMax, kMax / 2, kMax / 2 + 2, kMax / 10000 + 1})
        for (const uint64_t min_chunks : {uint64_t{1}, uint64_t{2}, uint64_t{7}, ChunkPlanner::kMaxMinChunks})
            check(bytes, with(LineEnd::Lf), 0, 1, chunk_size, min_chunks, 64);
}

TEST(ChunkPlanner, CutsAsManyChunksAsItMay) {
    const std::string bytes = numbered_lines(25000, "\r\n");
    const Plan found = plan(bytes, with(LineEnd::CrLf), 0, 1, 30000, ChunkPlanner::kMaxMinChunks, 4096);
    ASSERT_EQ(found.chunks.size(), 10000U);
    EXPECT_EQ(found.chunks.back().end_row, 25000U);
    EXPECT_EQ(found.chunks[4].end_row, 12U);
}

TEST(ChunkPlanner, StartsBehindAHeader) {
    const std::string header = "\"a\n\",b\n";
    for (uint64_t chunk_size = 1; chunk_size <= 4; ++chunk_size)
        for (uint64_t min_chunks = 1; min_chunks <= 4; ++min_chunks)
            for (size_t piece = 1; piece <= 7; ++piece)
                check(header + "1,2\n\"3\n3\",4\n5,\"6\n\n7\n", with(LineEnd::Lf), header.size(), 3, chunk_size,
                      min_chunks, piece);
}

TEST(ChunkPlanner, MeetsTheReferenceForAllSettings) {
    for (const auto &[line_end, text] : {std::pair{LineEnd::Lf, "\n"}, {LineEnd::CrLf, "\r\n"}, {LineEnd::Cr, "\r"}})
        for (const size_t rows : {1U, 2U, 3U, 11U, 24U})
            for (const bool complete : {true, false}) {
                std::string bytes = numbered_lines(rows, text);
                if (!complete)
                    bytes += "end";
                for (uint64_t chunk_size = 1; chunk_size <= rows + 2; ++chunk_size)
                    for (uint64_t min_chunks = 1; min_chunks <= 20; ++min_chunks)
                        check(bytes, with(line_end), 0, 1, chunk_size, min_chunks,
                              1 + (chunk_size + min_chunks) % (2 * bytes.size()));
            }
    for (uint64_t chunk_size = 1; chunk_size <= 8; ++chunk_size)
        for (uint64_t min_chunks = 1; min_chunks <= 8; ++min_chunks)
            check_by_all_pieces("1,\"a\r\nb\"\r\n2\r\n\r\n\"\"\"\"\r\n\\.\r\n6,\r7\r\n8\n9", with(LineEnd::CrLf),
                                chunk_size, min_chunks);
}

TEST(ChunkPlanner, AnOpenQuoteAnywhere) {
    const struct {
        LineEnd line_end;
        std::string bytes;
    } files[] = {
        {LineEnd::Lf, "1,a\n2,\"b\nb\"\n3,c\n4,\"d\"\n5\n6\n"},
        {LineEnd::CrLf, "1,a\r\n2,\"b\r\nb\"\r\n3,\"c\nc\"\r\n4\r\n5"},
        {LineEnd::Cr, "1,a\r2,\"b\rb\"\r3,\"c\nc\"\r4\r5"},
    };
    for (const auto &file : files) {
        for (size_t at = 0; at <= file.bytes.size(); ++at) {
            std::string bytes = file.bytes;
            bytes.insert(at, "\"");
            for (uint64_t chunk_size = 1; chunk_size <= 5; ++chunk_size)
                for (const uint64_t min_chunks : {1U, 2U, 3U, 5U, 20U})
                    check_by_all_pieces(bytes, with(file.line_end), chunk_size, min_chunks);
        }
    }
}

TEST(ChunkPlanner, MeetsTheReferenceOnRandomInput) {
    std::mt19937 random(2);
    const std::string alphabet = "a,\"\n\r\\.\n\r\n\"\n";
    const LineEnd line_ends[] = {LineEnd::Lf, LineEnd::CrLf, LineEnd::Cr};
    for (int i = 0; i < 100000; ++i) {
        std::string bytes;
        for (size_t size = random() % 40; bytes.size() < size;)
            bytes += alphabet[random() % alphabet.size()];
        const uint64_t data_start = std::min<uint64_t>(bytes.size(), random() % 4);
        check(bytes, random_dialect(&random, line_ends[random() % 3]), data_start, 1 + random() % 3, 1 + random() % 6,
              1 + random() % 6, 1 + random() % 10);
        if (HasFatalFailure())
            return;
    }
}

/* Files whose quote never closes, in which escapes open more quotes behind the cut. */
TEST(ChunkPlanner, MeetsTheReferenceOnRandomOpenQuotes) {
    std::mt19937 random(11);
    const LineEnd line_ends[] = {LineEnd::Lf, LineEnd::CrLf, LineEnd::Cr};
    const char *const texts[] = {"\n", "\r\n", "\r"};
    const std::string alphabet = "aa\\\\\"";
    for (int i = 0; i < 40000; ++i) {
        const size_t kind = random() % 3;
        std::string bytes;
        for (size_t lines = 2 + random() % 12; lines > 0; --lines) {
            for (size_t size = random() % 6; size > 0; --size)
                bytes += alphabet[random() % alphabet.size()];
            bytes += texts[random() % 12 == 0 ? random() % 3 : kind];
        }
        check(bytes, with(line_ends[kind], '"', '\\'), 0, 1, 1 + random() % 6, 1 + random() % 6, 1 + random() % 20);
        if (HasFatalFailure())
            return;
    }
}

/* A quote in the first record that never closes makes all that follows one record, until it is cut. */
TEST(ChunkPlanner, ReadsNoMoreThanTwiceForAnOpenQuote) {
    const std::string bytes = "0,\"\n" + numbered_lines(20000, "\n");
    const Plan found = plan(bytes, with(LineEnd::Lf), 0, 1, 100, 10, 4096);
    EXPECT_EQ(found.rows, 20001U);
    EXPECT_LE(found.fed, 2 * (bytes.size() + 4096));
    EXPECT_EQ(found.chunks.size(), 201U);
}

/* So does one in each record. */
TEST(ChunkPlanner, ReadsNoMoreThanTwiceForManyOpenQuotes) {
    std::string bytes = "0,\"\n";
    for (int i = 0; i < 20000; ++i)
        bytes += "\\\"b\n";
    const Plan found = plan(bytes, with(LineEnd::Lf, '"', '\\'), 0, 1, 100, 10, 4096);
    EXPECT_EQ(found.rows, 20001U);
    EXPECT_LE(found.fed, 2 * (bytes.size() + 4096));
    EXPECT_EQ(found.chunks.size(), 201U);
}

/* Should the file change while it is read, the plan is worth nothing, but it must be made, and tile what was read. */
TEST(ChunkPlanner, EndsEvenIfTheFileChangesMeanwhile) {
    std::mt19937 random(3);
    const std::string alphabet = "a,\"\n\r\\.\n\"\n";
    for (int i = 0; i < 20000; ++i) {
        ChunkPlanner planner(random_dialect(&random, random() % 2 == 0 ? LineEnd::Lf : LineEnd::CrLf), 0, 1,
                             1 + random() % 5, 1 + random() % 5);
        std::vector<Chunk> chunks;
        Chunk chunk;
        int calls = 0;
        for (; !planner.done() && calls < 10000; ++calls) {
            /* Between 20 and 30 bytes, other ones each time. */
            if (planner.position() >= 20 + random() % 11) {
                ASSERT_TRUE(planner.end_of_file());
            } else {
                std::string part;
                for (size_t size = 1 + random() % 8; part.size() < size;)
                    part += alphabet[random() % alphabet.size()];
                ASSERT_TRUE(planner.feed(part.data(), part.size()));
            }
            while (planner.take(&chunk))
                chunks.push_back(chunk);
        }
        ASSERT_TRUE(planner.done());
        while (planner.take(&chunk))
            chunks.push_back(chunk);
        uint64_t byte = 0;
        uint64_t row = 1;
        for (size_t n = 0; n < chunks.size(); ++n) {
            ASSERT_EQ(chunks[n].number, n + 1);
            ASSERT_EQ(chunks[n].start_byte, byte);
            ASSERT_GT(chunks[n].end_byte, byte);
            ASSERT_EQ(chunks[n].start_row, row);
            ASSERT_GE(chunks[n].end_row, row);
            byte = chunks[n].end_byte;
            row = chunks[n].end_row + 1;
        }
        ASSERT_EQ(planner.rows(), row - 1);
    }
}

} // namespace
} // namespace movielens_ingest::core
