#include "number_reference.hpp"

#include "feed.hpp"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <type_traits>

namespace movielens_ingest::core {

namespace {

bool is_high(char c) { return static_cast<unsigned char>(c) >= 0x80; }

bool has_high_byte(const std::string &text) {
    for (const char c : text)
        if (is_high(c))
            return true;
    return false;
}

bool is_blank(char c, Locale locale) {
    return is_high(c) ? locale == Locale::HighBytesAreBlanks : strchr(" \t\n\v\f\r", c) != nullptr;
}

std::string without_leading_blanks(std::string text, Locale locale) {
    while (!text.empty() && is_blank(text.front(), locale))
        text.erase(0, 1);
    return text;
}

std::string without_trailing_blanks(std::string text, Locale locale) {
    while (!text.empty() && is_blank(text.back(), locale))
        text.pop_back();
    return text;
}

/* As pg_strtoint16, pg_strtoint32 and pg_strtoint64 of PostgreSQL 15 decide. */
template <typename Integer> void input_decimal(std::string text, Locale locale, Parsed<Integer> *expected) {
    const __int128 limit = static_cast<__int128>(std::numeric_limits<Integer>::max()) + 1;
    text = without_leading_blanks(text, locale);
    const bool minus = !text.empty() && text[0] == '-';
    if (!text.empty() && (text[0] == '-' || text[0] == '+'))
        text.erase(0, 1);
    const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());

    __int128 number = 0;
    for (size_t i = 0; i < digits && number <= limit; ++i)
        number = 10 * number + (text[i] - '0');
    if (digits == 0)
        *expected = {NumberVerdict::Invalid};
    else if (number > limit)
        *expected = {NumberVerdict::OutOfRange};
    else if (!without_leading_blanks(text.substr(digits), locale).empty())
        *expected = {NumberVerdict::Invalid};
    else if (number == limit && !minus)
        *expected = {NumberVerdict::OutOfRange};
    else
        *expected = {NumberVerdict::Value, static_cast<Integer>(minus ? -number : number)};
}

/*
 * As those of 16 and later decide: the longest run of digits counts, and is too long if the digits before its last one
 * are more than the limit divided by the base.
 */
template <typename Integer> void input_literal(std::string text, Locale locale, Parsed<Integer> *expected) {
    const __int128 limit = static_cast<__int128>(std::numeric_limits<Integer>::max()) + 1;
    text = without_leading_blanks(text, locale);
    const bool minus = !text.empty() && text[0] == '-';
    if (!text.empty() && (text[0] == '-' || text[0] == '+'))
        text.erase(0, 1);

    std::string digits = "0123456789";
    for (const auto &[letter, all] : {std::pair('x', "0123456789abcdef"), {'o', "01234567"}, {'b', "01"}})
        if (text.size() >= 2 && text[0] == '0' && (text[1] | 0x20) == letter)
            digits = all;
    const bool prefix = digits.size() != 10;
    if (prefix)
        text.erase(0, 2);
    const auto value_of = [&](char c) { return digits.find(c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c); };

    const auto base = static_cast<__int128>(digits.size());
    __int128 number = 0;
    size_t i = 0;
    *expected = {NumberVerdict::Invalid};
    for (; i < text.size(); ++i) {
        const bool underscore = text[i] == '_' && (prefix || i > 0);
        if (underscore && (i + 1 == text.size() || value_of(text[i + 1]) == std::string::npos))
            return;
        if (underscore)
            continue;
        if (value_of(text[i]) == std::string::npos)
            break;
        if (number > limit / base) {
            *expected = {NumberVerdict::OutOfRange};
            return;
        }
        number = base * number + static_cast<__int128>(value_of(text[i]));
    }
    if (i == 0 || !without_leading_blanks(text.substr(i), locale).empty())
        return;
    if (number > limit || (number == limit && !minus))
        *expected = {NumberVerdict::OutOfRange};
    else
        *expected = {NumberVerdict::Value, static_cast<Integer>(minus ? -number : number)};
}

template <typename Integer>
void input_integer(const std::string &text, Locale locale, IntegerForms forms, Parsed<Integer> *expected) {
    if (forms == IntegerForms::Decimal)
        input_decimal(text, locale, expected);
    else
        input_literal(text, locale, expected);
}

void convert(const char *text, char **end, float *value) { *value = strtof(text, end); }
void convert(const char *text, char **end, double *value) { *value = strtod(text, end); }

/* As float4in and float8in_internal decide. */
template <typename Float> void input_float(const std::string &text, Locale locale, Parsed<Float> *expected) {
    const std::string number = without_leading_blanks(text, locale);
    char *end;
    Float value;
    errno = 0;
    convert(number.c_str(), &end, &value);
    if (end == number.c_str())
        *expected = {NumberVerdict::Invalid};
    else if (errno == ERANGE && (value == 0 || std::isinf(value)))
        /* The message quotes the number, and not what is around it. */
        *expected = {number == text && *end == '\0' ? NumberVerdict::OutOfRange : NumberVerdict::Unknown};
    else if (!without_leading_blanks(end, locale).empty())
        *expected = {NumberVerdict::Invalid};
    else
        *expected = {NumberVerdict::Value, value};
}

NumberVerdict call(const char *text, size_t size, IntegerForms forms, int16_t *value) {
    return forms == IntegerForms::Decimal ? parse_int16<IntegerForms::Decimal>(text, size, value)
                                          : parse_int16<IntegerForms::Literals>(text, size, value);
}
NumberVerdict call(const char *text, size_t size, IntegerForms forms, int32_t *value) {
    return forms == IntegerForms::Decimal ? parse_int32<IntegerForms::Decimal>(text, size, value)
                                          : parse_int32<IntegerForms::Literals>(text, size, value);
}
NumberVerdict call(const char *text, size_t size, IntegerForms forms, int64_t *value) {
    return forms == IntegerForms::Decimal ? parse_int64<IntegerForms::Decimal>(text, size, value)
                                          : parse_int64<IntegerForms::Literals>(text, size, value);
}
NumberVerdict call(const char *text, size_t size, IntegerForms, float *value) {
    return parse_float32(text, size, value);
}
NumberVerdict call(const char *text, size_t size, IntegerForms, double *value) {
    return parse_float64(text, size, value);
}
NumberVerdict call(const char *text, size_t size, IntegerForms, bool *value) { return parse_bool(text, size, value); }

/* The form that is taken when it is in range. */
bool is_decimal(const std::string &text) {
    size_t i = !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
    const auto digits = [&] {
        const size_t from = i;
        while (i < text.size() && text[i] >= '0' && text[i] <= '9')
            ++i;
        return i - from;
    };
    size_t mantissa = digits();
    if (i < text.size() && text[i] == '.') {
        ++i;
        mantissa += digits();
    }
    if (mantissa == 0)
        return false;
    if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
        ++i;
        if (i < text.size() && (text[i] == '-' || text[i] == '+'))
            ++i;
        if (digits() == 0)
            return false;
    }
    return i == text.size();
}

/* Integers and booleans are never unknown in ASCII, nor are decimal numbers; of others, this is what may be. */
template <typename Type> bool may_be_unknown(const std::string &text, NumberVerdict expected) {
    if (std::is_floating_point_v<Type> && is_decimal(text))
        return false;
    const bool out_of_range = expected == NumberVerdict::OutOfRange || expected == NumberVerdict::Unknown;
    return has_high_byte(text) ||
           (std::is_floating_point_v<Type> && (out_of_range || text.find_first_of("iInNxX") != std::string::npos));
}

} // namespace

void reference_number(const std::string &text, Locale locale, IntegerForms forms, Parsed<int16_t> *expected) {
    input_integer(text, locale, forms, expected);
}

void reference_number(const std::string &text, Locale locale, IntegerForms forms, Parsed<int32_t> *expected) {
    input_integer(text, locale, forms, expected);
}

void reference_number(const std::string &text, Locale locale, IntegerForms forms, Parsed<int64_t> *expected) {
    input_integer(text, locale, forms, expected);
}

void reference_number(const std::string &text, Locale locale, IntegerForms, Parsed<float> *expected) {
    input_float(text, locale, expected);
}

void reference_number(const std::string &text, Locale locale, IntegerForms, Parsed<double> *expected) {
    input_float(text, locale, expected);
}

/* As boolin decides. */
void reference_number(const std::string &given, Locale locale, IntegerForms, Parsed<bool> *expected) {
    std::string text = given;
    for (char &c : text)
        c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    text = without_trailing_blanks(without_leading_blanks(text, locale), locale);
    *expected = {NumberVerdict::Invalid};
    for (const char *yes : {"t", "tr", "tru", "true", "y", "ye", "yes", "on", "1"})
        if (text == yes)
            *expected = {NumberVerdict::Value, true};
    for (const char *no : {"f", "fa", "fal", "fals", "false", "n", "no", "of", "off", "0"})
        if (text == no)
            *expected = {NumberVerdict::Value, false};
}

template <typename Type> Parsed<Type> parse(const std::string &text, IntegerForms forms) {
    const Exact exact(text);
    const Type before = static_cast<Type>(1);
    Parsed<Type> parsed{NumberVerdict::Unknown, before};
    parsed.verdict = call(exact.bytes.get(), exact.size, forms, &parsed.value);
    if (parsed.verdict != NumberVerdict::Value) {
        if (parsed.value != before)
            throw std::logic_error("a value without a verdict: " + visible(text));
        parsed.value = 0;
    }
    return parsed;
}

template <typename Type> NumberVerdict check(const std::string &text, IntegerForms forms) {
    const Parsed<Type> found = parse<Type>(text, forms);
    for (const Locale locale : {Locale::HighBytesAreBlanks, Locale::HighBytesAreNoBlanks}) {
        Parsed<Type> expected;
        reference_number(text, locale, forms, &expected);
        if (found.verdict == NumberVerdict::Unknown ? may_be_unknown<Type>(text, expected.verdict) : found == expected)
            continue;
        std::ostringstream what;
        what << found << " instead of " << expected << ": " << visible(text);
        throw std::logic_error(what.str());
    }
    return found.verdict;
}

template Parsed<int16_t> parse<int16_t>(const std::string &, IntegerForms);
template Parsed<int32_t> parse<int32_t>(const std::string &, IntegerForms);
template Parsed<int64_t> parse<int64_t>(const std::string &, IntegerForms);
template Parsed<float> parse<float>(const std::string &, IntegerForms);
template Parsed<double> parse<double>(const std::string &, IntegerForms);
template Parsed<bool> parse<bool>(const std::string &, IntegerForms);

template NumberVerdict check<int16_t>(const std::string &, IntegerForms);
template NumberVerdict check<int32_t>(const std::string &, IntegerForms);
template NumberVerdict check<int64_t>(const std::string &, IntegerForms);
template NumberVerdict check<float>(const std::string &, IntegerForms);
template NumberVerdict check<double>(const std::string &, IntegerForms);
template NumberVerdict check<bool>(const std::string &, IntegerForms);

} // namespace movielens_ingest::core
