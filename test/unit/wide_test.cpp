#include "core/wide.hpp"
#include "feed.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace movielens_ingest::core {
namespace {

template <typename Wide> void check_equal() {
    std::mt19937 random(1);
    for (int i = 0; i < 20000; ++i) {
        /* Bytes that differ in one bit are the ones to be mixed up. */
        const char wanted = static_cast<char>(random());
        std::string bytes(kBlockSize, wanted);
        uint64_t expected = ~uint64_t{0};
        for (size_t k = 0; k < kBlockSize; ++k) {
            if (random() % 3 == 0)
                continue;
            bytes[k] = static_cast<char>(wanted ^ (random() % 2 == 0 ? 1U << random() % 8 : 1 + random() % 255));
            expected &= ~(uint64_t{1} << k);
        }
        ASSERT_EQ(Wide::equal(Exact(bytes).bytes.get(), wanted), expected) << visible(bytes);
    }
}

TEST(Wide, PortableFindsEqualBytes) { check_equal<WidePortable>(); }

#ifdef __x86_64__
TEST(Wide, Sse2FindsEqualBytes) { check_equal<WideSse2>(); }

TEST(Wide, Avx2FindsEqualBytes) {
    if (!has_avx2())
        GTEST_SKIP() << "the processor has no AVX2";
    check_equal<WideAvx2>();
}
#endif

TEST(Wide, ReadsNothingBehindTheEnd) {
    char room[kBlockSize];
    for (size_t size = 0; size <= kBlockSize + 1; ++size) {
        const Exact exact(std::string(size, 'x'));
        const char *const block = read_block(exact.bytes.get(), exact.size, &room);
        EXPECT_EQ(block == exact.bytes.get(), size >= kBlockSize);
        EXPECT_EQ(std::string(block, kBlockSize),
                  (std::string(size, 'x') + std::string(kBlockSize, '\0')).substr(0, kBlockSize));
    }
}

TEST(Wide, BitsBefore) {
    EXPECT_EQ(bits_before(0), ~uint64_t{0});
    EXPECT_EQ(bits_before(1), 0U);
    EXPECT_EQ(bits_before(0x8000000000000000), 0x7FFFFFFFFFFFFFFF);
    EXPECT_EQ(bits_before(0xF0), 0xFU);
}

} // namespace
} // namespace movielens_ingest::core
