#include "core/checksum.hpp"

#include <gtest/gtest.h>
#include <xxhash.h>

#include <string>

namespace movielens_ingest::core {
namespace {

TEST(Checksum, IsXxh3OfAllBytes) {
    std::string bytes;
    for (int i = 0; i < 3000; ++i)
        bytes += static_cast<char>(i * 7);
    Checksum checksum;
    EXPECT_EQ(checksum.value(), XXH3_64bits("", 0));
    for (const size_t piece : {1U, 7U, 255U, 256U, 1000U, 3000U}) {
        checksum.reset();
        for (size_t at = 0; at < bytes.size(); at += piece) {
            const std::string part = bytes.substr(at, piece);
            checksum.update(part.data(), part.size());
            checksum.update(nullptr, 0);
            ASSERT_EQ(checksum.value(), XXH3_64bits(bytes.data(), at + part.size()));
        }
    }
}

/* The ledger keeps these values: they must not change with a library. */
TEST(Checksum, KeepsItsValues) {
    Checksum checksum;
    EXPECT_EQ(checksum.value(), 0x2D06800538D394C2U);
    checksum.update("1,31,2.5,1260759144\n", 20);
    EXPECT_EQ(checksum.value(), 0xF8A653C2752CF9C2U);
}

} // namespace
} // namespace movielens_ingest::core
