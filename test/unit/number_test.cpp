#include "core/number.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>

namespace movielens_ingest::core {
namespace {

/* In memory of the text's exact size: no terminator behind it, and AddressSanitizer sees a look there. */
template <typename Number>
bool parse(bool (*function)(const char *, size_t, Number *), const std::string &text, Number *value) {
    const std::unique_ptr<char[]> exact(new char[text.size()]);
    std::copy(text.begin(), text.end(), exact.get());
    return function(exact.get(), text.size(), value);
}

bool int32(const std::string &text, int32_t *value) { return parse(parse_int32, text, value); }
bool int64(const std::string &text, int64_t *value) { return parse(parse_int64, text, value); }
bool float64(const std::string &text, double *value) { return parse(parse_float64, text, value); }

const char *const kNoIntegers[] = {
    "",    "-", "+",  "--1", "+-1", "-+1", "++1", " 1", "1 ", "1.0", "1e3", "0x10", "1_0",
    "0b1", "a", "1a", "-a",  "1,",  "\t1", "1\n", "١",  ".",  "-.",  "1-",  "1+",
};

TEST(Number, Int32) {
    const struct {
        const char *text;
        int32_t value;
    } cases[] = {
        {"0", 0},
        {"-0", 0},
        {"+0", 0},
        {"1", 1},
        {"-1", -1},
        {"+1", 1},
        {"007", 7},
        {"138493", 138493},
        {"2147483647", 2147483647},
        {"+2147483647", 2147483647},
        {"-2147483648", std::numeric_limits<int32_t>::min()},
        {"00000000000000000000000000000000002147483647", 2147483647},
    };
    for (const auto &c : cases) {
        int32_t value = 99;
        EXPECT_TRUE(int32(c.text, &value)) << c.text;
        EXPECT_EQ(value, c.value) << c.text;
    }
    int32_t value = 99;
    for (const char *text : kNoIntegers)
        EXPECT_FALSE(int32(text, &value)) << text;
    for (const char *text : {"2147483648", "-2147483649", "+2147483648", "4294967296", "99999999999999999999999999"})
        EXPECT_FALSE(int32(text, &value)) << text;
    EXPECT_FALSE(int32(std::string("1\0", 2), &value));
    EXPECT_EQ(value, 99);
}

TEST(Number, Int64) {
    const struct {
        const char *text;
        int64_t value;
    } cases[] = {
        {"0", 0},
        {"+12", 12},
        {"-1260759144", -1260759144},
        {"9223372036854775807", std::numeric_limits<int64_t>::max()},
        {"-9223372036854775808", std::numeric_limits<int64_t>::min()},
    };
    for (const auto &c : cases) {
        int64_t value = 99;
        EXPECT_TRUE(int64(c.text, &value)) << c.text;
        EXPECT_EQ(value, c.value) << c.text;
    }
    int64_t value = 99;
    for (const char *text : kNoIntegers)
        EXPECT_FALSE(int64(text, &value)) << text;
    for (const char *text : {"9223372036854775808", "-9223372036854775809", "18446744073709551616"})
        EXPECT_FALSE(int64(text, &value)) << text;
    EXPECT_EQ(value, 99);
}

/* The form that pg_strtoint32 and pg_strtoint64 take, without blanks. */
bool is_integer(const std::string &text) {
    const size_t sign = !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
    return text.size() > sign && text.find_first_not_of("0123456789", sign) == std::string::npos;
}

TEST(Number, IntegersMeetStrtoll) {
    std::mt19937 random(7);
    const std::string alphabet = "0123456789012345678901234567890123456789+-. ex";
    int parsed = 0;
    for (int i = 0; i < 200000; ++i) {
        std::string text;
        if (random() % 3 == 0)
            text += "-+"[random() % 2];
        const size_t letters = random() % 4 == 0 ? alphabet.size() : 10;
        for (size_t size = text.size() + random() % 22; text.size() < size;)
            text += alphabet[random() % letters];

        errno = 0;
        const long long expected = strtoll(text.c_str(), nullptr, 10);
        const bool fits64 = is_integer(text) && errno == 0;
        const bool fits32 = fits64 && expected >= std::numeric_limits<int32_t>::min() &&
                            expected <= std::numeric_limits<int32_t>::max();
        int32_t value32;
        int64_t value64;
        ASSERT_EQ(int32(text, &value32), fits32) << text;
        ASSERT_EQ(int64(text, &value64), fits64) << text;
        if (fits32) {
            ASSERT_EQ(value32, expected) << text;
        }
        if (fits64) {
            ASSERT_EQ(value64, expected) << text;
        }
        parsed += fits64;
    }
    EXPECT_GT(parsed, 50000);
}

uint64_t bits(double value) {
    uint64_t out;
    memcpy(&out, &value, sizeof(out));
    return out;
}

/* The form that parse_float64 promises to take. */
bool is_decimal(const std::string &text) {
    size_t i = !text.empty() && text[0] == '-' ? 1 : 0;
    const auto digits = [&] {
        const size_t from = i;
        while (i < text.size() && text[i] >= '0' && text[i] <= '9')
            ++i;
        return i - from;
    };
    if (digits() == 0)
        return false;
    if (i < text.size() && text[i] == '.') {
        ++i;
        digits();
    }
    if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
        ++i;
        if (i < text.size() && (text[i] == '-' || text[i] == '+'))
            ++i;
        if (digits() == 0)
            return false;
    }
    return i == text.size();
}

/* As float8in_internal decides. */
void check_float64(const std::string &text) {
    errno = 0;
    const double expected = strtod(text.c_str(), nullptr);
    const bool in_range = errno == 0 || (errno == ERANGE && expected != 0 && std::fabs(expected) < HUGE_VAL);
    double value = 99;
    const bool taken = float64(text, &value);
    ASSERT_EQ(taken, is_decimal(text) && in_range) << text;
    ASSERT_EQ(bits(value), taken ? bits(expected) : bits(99.0)) << text;
}

TEST(Number, Float64TakesWhatFloat8inTakes) {
    for (const char *text : {"0",
                             "-0",
                             "0.0",
                             "-0.0",
                             "5",
                             "0.5",
                             "4.0",
                             "1.",
                             "1.e2",
                             "1e2",
                             "1E2",
                             "1e+2",
                             "1e-2",
                             "1.5e300",
                             "1e308",
                             "1.7976931348623157e308",
                             "-1e308",
                             "00012.50",
                             "0.025000000000000022",
                             "0.1",
                             "9007199254740993",
                             "123456789012345678901234567890",
                             "2.2250738585072014e-308",
                             "2.2250738585072011e-308",
                             "4.9406564584124654e-324",
                             "5e-324",
                             "3e-324",
                             "0e-400",
                             "0e400",
                             "0.0e999",
                             "8.98846567431158e307",
                             "1e23",
                             "1e22",
                             "6.0221409e+23"}) {
        double value;
        EXPECT_TRUE(float64(text, &value)) << text;
        check_float64(text);
    }
}

TEST(Number, Float64RefusesTheRest) {
    for (const char *text : {"",
                             "-",
                             ".",
                             ".5",
                             "-.5",
                             "+1",
                             "+0.5",
                             "inf",
                             "-inf",
                             "Infinity",
                             "nan",
                             "NaN",
                             "0x10",
                             "0x1p3",
                             "1e",
                             "1e+",
                             "1e-",
                             "e5",
                             "1.2.3",
                             "1..",
                             "1,5",
                             " 1",
                             "1 ",
                             "1e5 ",
                             "--1",
                             "1-",
                             "1e309",
                             "-1e309",
                             "1e400",
                             "1e-400",
                             "2e-324",
                             "1.8e308",
                             "1f",
                             "1d",
                             "1e5.",
                             "0x",
                             "1_000",
                             "1e99999999999999999999",
                             "1e-99999999999999999999",
                             "nan(1)",
                             "1.5e3e2"}) {
        double value = 99;
        EXPECT_FALSE(float64(text, &value)) << text;
        EXPECT_EQ(value, 99) << text;
    }
    double value = 99;
    EXPECT_FALSE(float64(std::string("1\0", 2), &value));
}

/* More digits than any double has. */
TEST(Number, Float64MeetsStrtodOnLongNumbers) {
    for (size_t digits = 15; digits < 330; ++digits) {
        check_float64(std::string(digits, '9'));
        check_float64("0." + std::string(digits, '0') + "123");
        check_float64("1." + std::string(digits, '0') + "1");
        check_float64("-17976931348623157" + std::string(digits, '0'));
        check_float64(std::string(digits, '0') + ".5");
    }
}

TEST(Number, Float64MeetsStrtodOnEveryRating) {
    for (int halves = 0; halves <= 20; ++halves) {
        char text[16];
        snprintf(text, sizeof(text), "%.1f", halves * 0.5);
        check_float64(text);
    }
}

TEST(Number, Float64MeetsStrtodOnPrintedDoubles) {
    std::mt19937_64 random(8);
    for (int i = 0; i < 100000; ++i) {
        double value;
        uint64_t pattern = random();
        if (i % 4 == 0)
            pattern &= 0x800FFFFFFFFFFFFFU; /* a denormal number */
        memcpy(&value, &pattern, sizeof(value));
        if (!std::isfinite(value))
            continue;
        char text[400];
        snprintf(text, sizeof(text), "%.17g", value);
        check_float64(text);
        double parsed;
        ASSERT_TRUE(float64(text, &parsed)) << text;
        ASSERT_EQ(bits(parsed), pattern) << text;
        snprintf(text, sizeof(text), "%.*g", static_cast<int>(1 + random() % 25), value);
        check_float64(text);
        if (i % 20 == 0) {
            snprintf(text, sizeof(text), "%.30f", value);
            check_float64(text);
        }
        snprintf(text, sizeof(text), "%.18f", static_cast<double>(random()) / 1.8446744073709552e19);
        check_float64(text);
    }
}

/* Numbers just beside the middle between two doubles are where a sloppy parser rounds wrong. */
TEST(Number, Float64MeetsStrtodBesideHalves) {
    std::mt19937_64 random(9);
    for (int i = 0; i < 20000; ++i) {
        const uint64_t odd = (uint64_t{1} << 53) + 2 * (random() >> 12) + 1;
        const std::string text = std::to_string(odd) + std::string(random() % 11, '0');
        check_float64(text);
        check_float64(text + ".0000000000000000000000000000000000000000000000001");
        check_float64(text + "e-" + std::to_string(random() % 30));
    }
}

TEST(Number, Float64MeetsStrtodOnRandomText) {
    std::mt19937 random(10);
    const std::string alphabet = "0123456789012345678901234567890123456789..eE+- xinfa";
    int taken = 0;
    for (int i = 0; i < 200000; ++i) {
        std::string text;
        const size_t letters = random() % 3 == 0 ? alphabet.size() : 46;
        for (size_t size = random() % 14; text.size() < size;)
            text += alphabet[random() % letters];
        check_float64(text);
        if (HasFatalFailure())
            return;
        taken += is_decimal(text);
    }
    EXPECT_GT(taken, 30000);
}

} // namespace
} // namespace movielens_ingest::core
