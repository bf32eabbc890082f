#include "core/number.hpp"

#include <cfloat>
#include <charconv>
#include <iterator>
#include <limits>
#include <system_error>

namespace movielens_ingest::core {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* As isspace() has it in every locale. */
bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

bool is_ascii(char c) { return static_cast<unsigned char>(c) < 0x80; }

char to_lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

const char *skip_blanks(const char *text, const char *end) {
    while (text != end && is_blank(*text))
        ++text;
    return text;
}

/* What stands where a blank may, and is none, makes the text invalid; unless it is a blank in this locale. */
NumberVerdict no_blank(char c) { return is_ascii(c) ? NumberVerdict::Invalid : NumberVerdict::Unknown; }

/* Whatever the text's case; the word is in lower case. */
bool same_letters(const char *text, const char *word, size_t size) {
    for (size_t i = 0; i < size; ++i)
        if (to_lower(text[i]) != word[i])
            return false;
    return true;
}

/* Digits and nothing else, so few that they can't overflow: what nearly every field is. */
template <typename Integer> bool parse_digits(const char *text, size_t size, Integer *value) noexcept {
    if (size == 0 || size > std::numeric_limits<Integer>::digits10)
        return false;
    Integer number = 0;
    for (size_t i = 0; i < size; ++i) {
        if (!is_digit(text[i]))
            return false;
        number = static_cast<Integer>(number * 10 + (text[i] - '0'));
    }
    *value = number;
    return true;
}

/* The digits of an integer, as far as it has been read. */
struct Digits {
    const char *at;  /* what is behind them */
    uint64_t number; /* their absolute value */
    NumberVerdict verdict;
};

/*
 * pg_strtoint16, pg_strtoint32 and pg_strtoint64 of PostgreSQL 15. They count down from 0, so the one number that is
 * too large by one only when it is positive is found out last, behind the check for other characters.
 */
template <typename Integer> Digits read_decimal(const char *at, const char *end) noexcept {
    if (at == end || !is_digit(*at))
        return {at, 0, NumberVerdict::Invalid};

    Integer negative = 0;
    for (; at != end && is_digit(*at); ++at) {
        if (__builtin_mul_overflow(negative, 10, &negative) || __builtin_sub_overflow(negative, *at - '0', &negative))
            return {at, 0, NumberVerdict::OutOfRange};
    }
    return {at, 0 - static_cast<uint64_t>(negative), NumberVerdict::Value};
}

/* 99, which is no digit of any base, for what is none of 16. */
unsigned digit_of(char c) {
    if (is_digit(c))
        return static_cast<unsigned>(c - '0');
    const char lower = to_lower(c);
    return lower >= 'a' && lower <= 'f' ? static_cast<unsigned>(lower - 'a') + 10 : 99;
}

/* 10, unless the letter behind a leading zero names another one. */
unsigned base_of(const char *at, const char *end) {
    if (end - at < 2 || *at != '0')
        return 10;
    switch (to_lower(at[1])) {
    case 'x':
        return 16;
    case 'o':
        return 8;
    case 'b':
        return 2;
    default:
        return 10;
    }
}

/*
 * The same from PostgreSQL 16 on. They count up without a sign, and look before each digit whether there is room for
 * one: what is too large only by its last digit is found out behind the check for other characters. An underscore
 * stands before a digit, and may be the first thing behind a prefix.
 */
template <typename Integer> Digits read_literal(const char *at, const char *end) noexcept {
    constexpr uint64_t kLimit = static_cast<uint64_t>(std::numeric_limits<Integer>::max()) + 1;
    const unsigned base = base_of(at, end);
    const char *const first = base == 10 ? at : at + 2;
    uint64_t number = 0;

    for (at = first; at != end; ++at) {
        if (*at == '_' && (base != 10 || at != first)) {
            ++at;
            if (at == end || digit_of(*at) >= base)
                return {at, 0, NumberVerdict::Invalid};
        }
        const unsigned digit = digit_of(*at);
        if (digit >= base)
            break;
        if (number > kLimit / base)
            return {at, 0, NumberVerdict::OutOfRange};
        number = number * base + digit;
    }
    return {at, number, at == first ? NumberVerdict::Invalid : NumberVerdict::Value};
}

template <IntegerForms forms, typename Integer>
NumberVerdict parse_integer(const char *text, size_t size, Integer *value) noexcept {
    if (parse_digits(text, size, value))
        return NumberVerdict::Value;

    const char *const end = text + size;
    const char *at = skip_blanks(text, end);
    if (at == end)
        return NumberVerdict::Invalid;
    if (!is_ascii(*at))
        return NumberVerdict::Unknown;

    const bool minus = *at == '-';
    if (minus || *at == '+')
        ++at;
    const Digits digits =
        forms == IntegerForms::Decimal ? read_decimal<Integer>(at, end) : read_literal<Integer>(at, end);
    if (digits.verdict != NumberVerdict::Value)
        return digits.verdict;

    at = skip_blanks(digits.at, end);
    if (at != end)
        return no_blank(*at);
    const uint64_t limit = static_cast<uint64_t>(std::numeric_limits<Integer>::max()) + (minus ? 1 : 0);
    if (digits.number > limit)
        return NumberVerdict::OutOfRange;
    *value = static_cast<Integer>(minus ? 0 - digits.number : digits.number);
    return NumberVerdict::Value;
}

/*
 * A decimal number of few digits without an exponent: if these digits, and the power of ten to divide them by, are
 * numbers that a Float holds exactly, then their quotient is rounded once, and so correctly.
 */
template <typename Float> bool parse_short_decimal(const char *text, size_t size, Float *value) noexcept {
    static_assert(std::numeric_limits<Float>::is_iec559 && std::numeric_limits<Float>::radix == 2);
    constexpr Float kPowers[] = {1, 10, 100, 1000, 10000, 100000, 1e6, 1e7, 1e8, 1e9, 1e10};
    constexpr int kMost = std::numeric_limits<Float>::digits10 + 1; /* digits, and a point */
    const bool minus = size > 0 && *text == '-';
    const char *const start = text + (minus ? 1 : 0);
    const char *const end = text + size;
    if (FLT_EVAL_METHOD != 0 || end - start > kMost) /* a quotient is rounded twice on some processors */
        return false;

    const char *point = nullptr;
    uint64_t number = 0;
    for (const char *at = start; at != end; ++at) {
        if (is_digit(*at))
            number = number * 10 + static_cast<uint64_t>(*at - '0');
        else if (*at == '.' && point == nullptr && at != start)
            point = at;
        else
            return false;
    }
    const auto decimals = static_cast<size_t>(point == nullptr ? 0 : end - point - 1);
    if (start == end || number >= uint64_t{1} << std::numeric_limits<Float>::digits || decimals >= std::size(kPowers))
        return false;
    const Float quotient = static_cast<Float>(number) / kPowers[decimals];
    *value = minus ? -quotient : quotient;
    return true;
}

/*
 * float4in and float8in_internal call strtof and strtod, which round correctly in glibc, as std::from_chars must. They
 * refuse what overflows or becomes zero, and take denormal numbers; std::from_chars says result_out_of_range to the
 * same. It knows no plus and no hexadecimal form, stopping at the x; infinities and NaN are kept from it.
 */
template <typename Float> NumberVerdict parse_float(const char *text, size_t size, Float *value) noexcept {
    if (parse_short_decimal(text, size, value))
        return NumberVerdict::Value;

    const char *const end = text + size;
    const char *const start = skip_blanks(text, end);
    if (start == end)
        return NumberVerdict::Invalid;
    if (!is_ascii(*start))
        return NumberVerdict::Unknown;

    const char *const number = *start == '-' || *start == '+' ? start + 1 : start;
    const char *const digit = number != end && *number == '.' ? number + 1 : number;
    if (digit == end || !is_digit(*digit)) {
        const bool word = end - number >= 3 && (same_letters(number, "inf", 3) || same_letters(number, "nan", 3));
        return word ? NumberVerdict::Unknown : NumberVerdict::Invalid;
    }

    Float parsed;
    const auto [stop, error] = std::from_chars(*start == '+' ? number : start, end, parsed, std::chars_format::general);
    /* float8in_internal quotes the number only, and does not look at what is behind it. */
    if (error != std::errc())
        return start == text && stop == end ? NumberVerdict::OutOfRange : NumberVerdict::Unknown;
    if (stop != end && to_lower(*stop) == 'x')
        return NumberVerdict::Unknown;

    const char *const rest = skip_blanks(stop, end);
    if (rest != end)
        return no_blank(*rest);
    *value = parsed;
    return NumberVerdict::Value;
}

} // namespace

template <IntegerForms forms> NumberVerdict parse_int16(const char *text, size_t size, int16_t *value) noexcept {
    return parse_integer<forms>(text, size, value);
}

template <IntegerForms forms> NumberVerdict parse_int32(const char *text, size_t size, int32_t *value) noexcept {
    return parse_integer<forms>(text, size, value);
}

template <IntegerForms forms> NumberVerdict parse_int64(const char *text, size_t size, int64_t *value) noexcept {
    return parse_integer<forms>(text, size, value);
}

template NumberVerdict parse_int16<IntegerForms::Decimal>(const char *, size_t, int16_t *) noexcept;
template NumberVerdict parse_int32<IntegerForms::Decimal>(const char *, size_t, int32_t *) noexcept;
template NumberVerdict parse_int64<IntegerForms::Decimal>(const char *, size_t, int64_t *) noexcept;
template NumberVerdict parse_int16<IntegerForms::Literals>(const char *, size_t, int16_t *) noexcept;
template NumberVerdict parse_int32<IntegerForms::Literals>(const char *, size_t, int32_t *) noexcept;
template NumberVerdict parse_int64<IntegerForms::Literals>(const char *, size_t, int64_t *) noexcept;

NumberVerdict parse_float32(const char *text, size_t size, float *value) noexcept {
    return parse_float(text, size, value);
}

NumberVerdict parse_float64(const char *text, size_t size, double *value) noexcept {
    return parse_float(text, size, value);
}

/* parse_bool_with_len: the beginning of a word will do, unless two words begin so. */
NumberVerdict parse_bool(const char *text, size_t size, bool *value) noexcept {
    constexpr struct {
        const char *text;
        size_t shortest;
        size_t longest;
        bool value;
    } kWords[] = {
        {"true", 1, 4, true}, {"false", 1, 5, false}, {"yes", 1, 3, true}, {"no", 1, 2, false},
        {"on", 2, 2, true},   {"off", 2, 3, false},   {"1", 1, 1, true},   {"0", 1, 1, false},
    };
    const char *end = text + size;
    const char *const start = skip_blanks(text, end);
    while (end != start && is_blank(end[-1]))
        --end;
    if (start == end)
        return NumberVerdict::Invalid;
    if (!is_ascii(*start) || !is_ascii(end[-1]))
        return NumberVerdict::Unknown;

    const size_t length = static_cast<size_t>(end - start);
    for (const auto &word : kWords) {
        if (length >= word.shortest && length <= word.longest && same_letters(start, word.text, length)) {
            *value = word.value;
            return NumberVerdict::Value;
        }
    }
    return NumberVerdict::Invalid;
}

} // namespace movielens_ingest::core
