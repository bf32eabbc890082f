/*
 * wide.hpp - 64 bytes at a time, by the widest instructions that the processor has.
 *
 * Each set of instructions is a type with the one function that differs. Code that needs it is a template over that
 * type, called through with_wide(), so that it is compiled for each set and the processor is asked once a call.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace movielens_ingest::core {

constexpr size_t kBlockSize = 64; /* bytes: one for each bit of a mask */

/* Bit i of a mask stands for byte i of the block. */

struct WidePortable {
    static uint64_t equal(const char *block, char c) noexcept {
        constexpr uint64_t kOnes = 0x0101010101010101;
        constexpr uint64_t kLow = 0x7F * kOnes;
        uint64_t mask = 0;
        for (size_t i = 0; i < kBlockSize; i += sizeof(uint64_t)) {
            uint64_t bytes;
            memcpy(&bytes, block + i, sizeof(bytes));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
            bytes = __builtin_bswap64(bytes);
#endif
            bytes ^= static_cast<unsigned char>(c) * kOnes;
            /* The high bit of each byte that is now 0, without a carry into the next one; then all of them together. */
            const uint64_t zeros = ~(((bytes & kLow) + kLow) | bytes | kLow);
            mask |= ((zeros >> 7) * 0x0102040810204080) >> 56 << i;
        }
        return mask;
    }
};

#ifdef __x86_64__

/* Which every x86-64 has. */
struct WideSse2 {
    static uint64_t equal(const char *block, char c) noexcept {
        const __m128i wanted = _mm_set1_epi8(c);
        uint64_t mask = 0;
        for (size_t i = 0; i < kBlockSize; i += sizeof(__m128i)) {
            const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i *>(block + i));
            const int found = _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, wanted));
            mask |= static_cast<uint64_t>(static_cast<unsigned>(found)) << i;
        }
        return mask;
    }
};

struct WideAvx2 {
    __attribute__((target("avx2,bmi,popcnt"))) static uint64_t equal(const char *block, char c) noexcept {
        const __m256i wanted = _mm256_set1_epi8(c);
        const auto *halves = reinterpret_cast<const __m256i *>(block);
        const int low = _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_loadu_si256(halves), wanted));
        const int high = _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_loadu_si256(halves + 1), wanted));
        return static_cast<uint64_t>(static_cast<unsigned>(high)) << 32 | static_cast<unsigned>(low);
    }
};

inline bool has_avx2() noexcept {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("popcnt");
}

template <typename Work> __attribute__((target("avx2,bmi,popcnt"))) inline auto with_avx2(const Work &work) noexcept {
    return work(WideAvx2());
}

template <typename Work> auto with_wide(const Work &work) noexcept {
    return has_avx2() ? with_avx2(work) : work(WideSse2());
}

#else

template <typename Work> auto with_wide(const Work &work) noexcept { return work(WidePortable()); }

#endif

/*
 * The block at data, of which size bytes may be read; if they are fewer, a copy of them in *room with NULs behind them.
 * Such a NUL may be taken for a delimiter or a quote, but no record ends there.
 */
inline const char *read_block(const char *data, size_t size, char (*room)[kBlockSize]) noexcept {
    if (size >= kBlockSize)
        return data;
    memset(*room, 0, kBlockSize);
    memcpy(*room, data, size);
    return *room;
}

/* The bits below the lowest one of mask; all, if it has none. */
constexpr uint64_t bits_before(uint64_t mask) noexcept { return (mask & -mask) - 1; }

} // namespace movielens_ingest::core
