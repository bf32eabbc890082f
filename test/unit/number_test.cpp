#include "core/number.hpp"
#include "number_reference.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <limits>
#include <random>
#include <string>

namespace movielens_ingest::core {
namespace {

constexpr NumberVerdict kValue = NumberVerdict::Value;
constexpr NumberVerdict kInvalid = NumberVerdict::Invalid;
constexpr NumberVerdict kOutOfRange = NumberVerdict::OutOfRange;
constexpr NumberVerdict kUnknown = NumberVerdict::Unknown;

template <typename Type> class Integer : public testing::Test {};
using Integers = testing::Types<int16_t, int32_t, int64_t>;
TYPED_TEST_SUITE(Integer, Integers);

TYPED_TEST(Integer, TakesWhatTheInputFunctionTakes) {
    const struct {
        const char *text;
        TypeParam value;
    } cases[] = {
        {"0", 0},
        {"-0", 0},
        {"+0", 0},
        {"1", 1},
        {"-1", -1},
        {"+1", 1},
        {"007", 7},
        {"12345", 12345},
        {" 1", 1},
        {"1 ", 1},
        {"\t1", 1},
        {"1\n", 1},
        {"\r\n -7\v\f ", -7},
        {"00000000000000000000000000000000000000032767", 32767},
    };
    for (const auto &c : cases)
        EXPECT_EQ(parse<TypeParam>(c.text), (Parsed<TypeParam>{kValue, c.value})) << c.text;
}

TYPED_TEST(Integer, RefusesTheRest) {
    for (const char *text :
         {"",    " ",   "\t\n", "-",  "+",  "--1", "+-1", "-+1", "++1", "- 1", "1.0", "1e3", "0x10",
          "1_0", "0b1", "a",    "1a", "-a", "1,",  ".",   "-.",  "1-",  "1+",  "1 2", " a",  "1 a"}) {
        EXPECT_EQ(parse<TypeParam>(text).verdict, kInvalid) << text;
        check<TypeParam>(text);
    }
}

/* The input function counts digits before it looks at what follows, but minds the last one by one behind that. */
TYPED_TEST(Integer, RangeAndFormAreJudgedInOrder) {
    const std::string max = std::to_string(std::numeric_limits<TypeParam>::max());
    const std::string min = std::to_string(std::numeric_limits<TypeParam>::min());
    const std::string beyond = min.substr(1);
    std::string far = beyond;
    far.back() = '9';
    EXPECT_EQ(parse<TypeParam>(max), (Parsed<TypeParam>{kValue, std::numeric_limits<TypeParam>::max()}));
    EXPECT_EQ(parse<TypeParam>("+" + max), (Parsed<TypeParam>{kValue, std::numeric_limits<TypeParam>::max()}));
    EXPECT_EQ(parse<TypeParam>(min), (Parsed<TypeParam>{kValue, std::numeric_limits<TypeParam>::min()}));
    EXPECT_EQ(parse<TypeParam>(beyond).verdict, kOutOfRange);
    EXPECT_EQ(parse<TypeParam>(beyond + " ").verdict, kOutOfRange);
    EXPECT_EQ(parse<TypeParam>(beyond + "x").verdict, kInvalid);
    EXPECT_EQ(parse<TypeParam>(beyond + " x").verdict, kInvalid);
    EXPECT_EQ(parse<TypeParam>(beyond + ".0").verdict, kInvalid);
    for (const std::string sign : {"", "-", "+", " "}) {
        EXPECT_EQ(parse<TypeParam>(sign + far).verdict, kOutOfRange);
        EXPECT_EQ(parse<TypeParam>(sign + far + "x").verdict, kOutOfRange);
        EXPECT_EQ(parse<TypeParam>(sign + "99999999999999999999999999x").verdict, kOutOfRange);
        EXPECT_EQ(parse<TypeParam>(sign + beyond + "0\xFF").verdict, kOutOfRange);
    }
}

TYPED_TEST(Integer, AHighByteMayBeABlank) {
    EXPECT_EQ(parse<TypeParam>("\xA0").verdict, kUnknown);
    EXPECT_EQ(parse<TypeParam>(" \xA0"
                               "1")
                  .verdict,
              kUnknown);
    EXPECT_EQ(parse<TypeParam>("1\xA0").verdict, kUnknown);
    EXPECT_EQ(parse<TypeParam>("1 \xA0").verdict, kUnknown);
    EXPECT_EQ(parse<TypeParam>("-\xA0"
                               "1")
                  .verdict,
              kInvalid);
    EXPECT_EQ(parse<TypeParam>("1x\xA0").verdict, kInvalid);
}

TYPED_TEST(Integer, MeetsTheReferenceOnRandomText) {
    std::mt19937 random(7);
    const std::string alphabet = "0123456789012345678901234567890123456789+-. ex\t\xA0";
    const std::string limit = std::to_string(std::numeric_limits<TypeParam>::max()).substr(0, 4);
    size_t counts[4] = {};
    for (int i = 0; i < 200000; ++i) {
        std::string text;
        if (random() % 4 == 0)
            text += " ";
        if (random() % 3 == 0)
            text += "-+"[random() % 2];
        if (random() % 2 == 0)
            text += limit;
        const size_t letters = random() % 4 == 0 ? alphabet.size() : 10;
        for (size_t size = text.size() + random() % (random() % 2 == 0 ? 6 : 22); text.size() < size;)
            text += alphabet[random() % letters];
        ++counts[static_cast<size_t>(check<TypeParam>(text))];
        if (testing::Test::HasFailure())
            return;
    }
    for (const size_t count : counts)
        EXPECT_GT(count, 2000U);
}

/* Integers as PostgreSQL reads them from 16 on. */
constexpr IntegerForms kLiterals = IntegerForms::Literals;

TYPED_TEST(Integer, TakesLiterals) {
    const struct {
        const char *text;
        TypeParam value;
    } cases[] = {
        {"0", 0},       {"-0", 0},    {" +12 ", 12},  {"007", 7},         {"1_000", 1000}, {"1_2_3", 123},
        {"-1_0 ", -10}, {"0_7", 7},   {"0x1F", 31},   {"0X1f", 31},       {"0x_1_f", 31},  {"0o17", 15},
        {"0O_1_7", 15}, {"0b101", 5}, {"0B1_0_1", 5}, {"\t-0x10\n", -16}, {"+0b_1", 1},    {"0x0000000000007f", 127},
        {"-0o0", 0},
    };
    for (const auto &c : cases)
        EXPECT_EQ(parse<TypeParam>(c.text, kLiterals), (Parsed<TypeParam>{kValue, c.value})) << c.text;
    for (const char *text : {"",    " ",   "-",     "_",      "_1",   "1_",  "1__0", "1_ ",  "1_x",  "- 1",  "0x",
                             "0x_", "0x ", "0xg",   "0x1_",   "0o8",  "0o",  "0b2",  "0b",   "0_x1", "00x1", "x1",
                             "1e3", "1.0", "0b1_2", "0x1__f", "0xx1", "--1", "+-1",  "0x-1", "1 2",  "0d1"}) {
        EXPECT_EQ(parse<TypeParam>(text, kLiterals).verdict, kInvalid) << text;
        check<TypeParam>(text, kLiterals);
    }
}

/* There is room for a digit that makes a number too large; form is judged behind it, and only then the range. */
TYPED_TEST(Integer, RangeAndFormOfLiteralsAreJudgedInOrder) {
    const std::string max = std::to_string(std::numeric_limits<TypeParam>::max());
    const std::string min = std::to_string(std::numeric_limits<TypeParam>::min());
    std::string far = min.substr(1);
    far.back() = '9';
    EXPECT_EQ(parse<TypeParam>(max, kLiterals), (Parsed<TypeParam>{kValue, std::numeric_limits<TypeParam>::max()}));
    EXPECT_EQ(parse<TypeParam>(min, kLiterals), (Parsed<TypeParam>{kValue, std::numeric_limits<TypeParam>::min()}));
    EXPECT_EQ(parse<TypeParam>(min.substr(1), kLiterals).verdict, kOutOfRange);
    for (const std::string sign : {"", "-", "+", " "}) {
        EXPECT_EQ(parse<TypeParam>(sign + far, kLiterals).verdict, kOutOfRange);
        EXPECT_EQ(parse<TypeParam>(sign + far + " ", kLiterals).verdict, kOutOfRange);
        EXPECT_EQ(parse<TypeParam>(sign + far + "x", kLiterals).verdict, kInvalid);
        EXPECT_EQ(parse<TypeParam>(sign + far + "_", kLiterals).verdict, kInvalid);
        EXPECT_EQ(parse<TypeParam>(sign + far + "0x", kLiterals).verdict, kOutOfRange);
        EXPECT_EQ(parse<TypeParam>(sign + far + "_0x", kLiterals).verdict, kOutOfRange);
        EXPECT_EQ(parse<TypeParam>(sign + far + "\xA0", kLiterals).verdict, kUnknown);
    }
    std::string hex = "0x7";
    std::string binary = "0b";
    for (size_t i = 2; i < 2 * sizeof(TypeParam) + 1; ++i)
        hex += 'f';
    binary += std::string(8 * sizeof(TypeParam) - 1, '1');
    for (const std::string &text : {hex, binary})
        EXPECT_EQ(parse<TypeParam>(text, kLiterals),
                  (Parsed<TypeParam>{kValue, std::numeric_limits<TypeParam>::max()}));
    EXPECT_EQ(parse<TypeParam>("0x8" + std::string(2 * sizeof(TypeParam) - 1, '0'), kLiterals).verdict, kOutOfRange);
    EXPECT_EQ(parse<TypeParam>("-0x8" + std::string(2 * sizeof(TypeParam) - 1, '0'), kLiterals),
              (Parsed<TypeParam>{kValue, std::numeric_limits<TypeParam>::min()}));
    EXPECT_EQ(parse<TypeParam>(binary + "1", kLiterals).verdict, kOutOfRange);
}

TYPED_TEST(Integer, LiteralsMeetTheReferenceOnRandomText) {
    std::mt19937 random(17);
    const char *const starts[] = {"", "", "-", "+", " ", "0x", "-0x", "0X", "0o", "0b", "-0b", " 0O", "0B", "0"};
    const std::string alphabets[] = {"0123456789",
                                     "01",
                                     "01_",
                                     "01234567_",
                                     "0123456789abcdefABCDEF_",
                                     "0123456789_",
                                     "0123456789abcdef_xob+- \xA0"};
    const std::string limits[] = {std::to_string(std::numeric_limits<TypeParam>::max()).substr(0, 4), "7fff", "8000"};
    size_t counts[4] = {};
    for (int i = 0; i < 300000; ++i) {
        std::string text = starts[random() % std::size(starts)];
        if (random() % 3 == 0)
            text += limits[random() % std::size(limits)];
        const std::string &alphabet = alphabets[random() % std::size(alphabets)];
        for (size_t size = text.size() + random() % (random() % 2 == 0 ? 6 : 70); text.size() < size;)
            text += alphabet[random() % alphabet.size()];
        ++counts[static_cast<size_t>(check<TypeParam>(text, kLiterals))];
        if (testing::Test::HasFailure())
            return;
    }
    for (const size_t count : counts)
        EXPECT_GT(count, 1000U);
}

TEST(Bool, TakesWhatTheInputFunctionTakes) {
    for (const char *text : {"t", "TRUE", "true", "True", "tr", "y", "Yes", "ON", "1", " on ", "\ttrue\n"})
        EXPECT_EQ(parse<bool>(text), (Parsed<bool>{kValue, true})) << text;
    for (const char *text : {"f", "FALSE", "false", "fal", "n", "NO", "of", "off", "0", " 0", "no\r"})
        EXPECT_EQ(parse<bool>(text), (Parsed<bool>{kValue, false})) << text;
    for (const char *text :
         {"", " ", "o", "o n", "truee", "noo", "yess", "offf", "01", "11", "2", "-", "x", "t e", "oN1",
          "tru\xE9"
          "e"})
        EXPECT_EQ(parse<bool>(text).verdict, kInvalid) << text;
    for (const char *text : {"\xA0true", "true\xA0", "\xA0"})
        EXPECT_EQ(parse<bool>(text).verdict, kUnknown) << text;
}

TEST(Bool, MeetsTheReferenceOnRandomText) {
    std::mt19937 random(12);
    const char *const words[] = {"true", "FALSE", "yes", "No", "on", "oFf", "1", "0", "x", "\xA0", ""};
    const std::string alphabet = "tTrueEfalsyonNO10 \t\xA0";
    for (int i = 0; i < 100000; ++i) {
        std::string text = words[random() % std::size(words)];
        text.resize(random() % (text.size() + 1));
        for (size_t changes = random() % 3; changes > 0; --changes)
            text.insert(random() % (text.size() + 1), 1, alphabet[random() % alphabet.size()]);
        check<bool>(text);
    }
}

template <typename Type> class Float : public testing::Test {};
using Floats = testing::Types<float, double>;
TYPED_TEST_SUITE(Float, Floats);

TYPED_TEST(Float, TakesWhatTheInputFunctionTakes) {
    for (const char *text : {"0",
                             "-0",
                             "+0",
                             "0.0",
                             "-0.0",
                             "5",
                             "+5",
                             "0.5",
                             ".5",
                             "-.5",
                             "+.5",
                             "4.0",
                             "1.",
                             "1.e2",
                             "1e2",
                             "1E2",
                             "1e+2",
                             "1e-2",
                             "1.5e30",
                             "3e38",
                             "00012.50",
                             "0.025000000000000022",
                             "0.1",
                             "9007199254740993",
                             "16777217",
                             "123456789012345678901234567890",
                             "1.17549435e-38",
                             "1.4e-45",
                             "7.038531e-26",
                             "0e-400",
                             "0e400",
                             "0.0e999",
                             "1e23",
                             "1e22",
                             "6.0221409e+23",
                             " 1",
                             "1 ",
                             "\t-1.5\n",
                             "1e5 "}) {
        EXPECT_EQ(parse<TypeParam>(text).verdict, kValue) << text;
        check<TypeParam>(text);
    }
}

TYPED_TEST(Float, RefusesWhatIsNoNumber) {
    for (const char *text : {"",      " ",   "-",    "+",   ".",   "-.", ". 5", "e5",  "1e",   "1e+",   "1e-",
                             "1.2.3", "1..", "1,5",  "--1", "+-1", "1-", "1f",  "1d",  "1e5.", "1_000", "1.5e3e2",
                             "1 2",   "abc", "null", "N/A", "n",   "-i", "in",  "-na", "- 1",  "1.5 x", "-\xA0"}) {
        EXPECT_EQ(parse<TypeParam>(text).verdict, kInvalid) << text;
        check<TypeParam>(text);
    }
}

TYPED_TEST(Float, SaysWhatIsOutOfRange) {
    for (const char *text : {"1e309", "-1e309", "1e400", "1e-400", "2e-324", "1.8e308", "1e99999999999999999999",
                             "1e-99999999999999999999", "-.1e999"}) {
        EXPECT_EQ(parse<TypeParam>(text).verdict, kOutOfRange) << text;
        check<TypeParam>(text);
    }
}

TYPED_TEST(Float, LeavesTheRestToTheInputFunction) {
    for (const char *text : {"inf", "-inf", "Infinity", "nan", "NaN", "+nan", "nan(1)", "infx", "0x10", "0x1p3", "0x",
                             " 1e400", "1e400 ", "1e400x",
                             "\xA0"
                             "1",
                             "1\xA0"}) {
        EXPECT_EQ(parse<TypeParam>(text).verdict, kUnknown) << text;
        check<TypeParam>(text);
    }
}

TEST(Float32, HasItsOwnRange) {
    for (const char *text : {"3.4028235e38", "-3.4028235677973362e38", "7.1e-46", "1e-45"})
        EXPECT_EQ(parse<float>(text).verdict, kValue) << text;
    for (const char *text : {"3.4028236e38", "3.4028235677973367e38", "1e39", "7e-46", "1e-46"})
        EXPECT_EQ(parse<float>(text).verdict, kOutOfRange) << text;
    EXPECT_EQ(parse<float>("7.038531e-26"), (Parsed<float>{kValue, 0x1.5C87FAp-84F}));
}

/* More digits than any double has. */
TYPED_TEST(Float, MeetsTheReferenceOnLongNumbers) {
    for (size_t digits = 15; digits < 330; ++digits) {
        check<TypeParam>(std::string(digits, '9'));
        check<TypeParam>("0." + std::string(digits, '0') + "123");
        check<TypeParam>("1." + std::string(digits, '0') + "1");
        check<TypeParam>("-17976931348623157" + std::string(digits, '0'));
        check<TypeParam>(std::string(digits, '0') + ".5");
    }
}

TYPED_TEST(Float, MeetsTheReferenceOnEveryRating) {
    for (int halves = 0; halves <= 20; ++halves) {
        char text[16];
        snprintf(text, sizeof(text), "%.1f", halves * 0.5);
        check<TypeParam>(text);
    }
}

TYPED_TEST(Float, MeetsTheReferenceOnPrintedNumbers) {
    std::mt19937_64 random(8);
    for (int i = 0; i < 100000; ++i) {
        TypeParam value;
        const uint64_t pattern = random();
        memcpy(&value, &pattern, sizeof(value));
        if (i % 4 == 0)
            value *= std::numeric_limits<TypeParam>::min(); /* often a denormal number */
        if (!std::isfinite(value))
            continue;
        char text[400];
        snprintf(text, sizeof(text), "%.*g", std::numeric_limits<TypeParam>::max_digits10, value);
        check<TypeParam>(text);
        ASSERT_EQ(parse<TypeParam>(text), (Parsed<TypeParam>{kValue, value})) << text;
        snprintf(text, sizeof(text), "%.*g", static_cast<int>(1 + random() % 25), value);
        check<TypeParam>(text);
        if (i % 20 == 0) {
            snprintf(text, sizeof(text), "%.30f", value);
            check<TypeParam>(text);
        }
        snprintf(text, sizeof(text), "%.18f", static_cast<double>(random()) / 1.8446744073709552e19);
        check<TypeParam>(text);
    }
}

/* Numbers just beside the middle between two that can be represented are where a sloppy parser rounds wrong. */
TYPED_TEST(Float, MeetsTheReferenceBesideHalves) {
    const uint64_t one = uint64_t{1} << std::numeric_limits<TypeParam>::digits;
    std::mt19937_64 random(9);
    for (int i = 0; i < 20000; ++i) {
        const uint64_t odd = one + 2 * (random() % (one / 2)) + 1;
        const std::string text = std::to_string(odd) + std::string(random() % 11, '0');
        check<TypeParam>(text);
        check<TypeParam>(text + ".0000000000000000000000000000000000000000000000001");
        check<TypeParam>(text + "e-" + std::to_string(random() % 30));
    }
}

TYPED_TEST(Float, MeetsTheReferenceOnRandomText) {
    std::mt19937 random(10);
    const std::string alphabet = "0123456789012345678901234567890123456789..eE+- xinfa\xA0";
    size_t counts[4] = {};
    for (int i = 0; i < 200000; ++i) {
        std::string text;
        const size_t letters = random() % 3 == 0 ? alphabet.size() : 46;
        for (size_t size = random() % 14; text.size() < size;)
            text += alphabet[random() % letters];
        check<TypeParam>(text);
        ++counts[static_cast<size_t>(parse<TypeParam>(text).verdict)];
        if (testing::Test::HasFailure())
            return;
    }
    for (const size_t count : counts)
        EXPECT_GT(count, 1000U);
}

} // namespace
} // namespace movielens_ingest::core
