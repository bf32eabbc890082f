/*
 * numbers.cpp - integers, floating-point numbers and booleans must be to the bit what the reference makes of them.
 *
 * The first line is one byte. p: the text's first eight bytes are a double, which is printed with as many digits as the
 * ninth says. h: they are a number just beside the middle between two that a float or a double can hold. Else the text
 * is a number, or none.
 */
#include "input.hpp"
#include "number_reference.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <limits>

namespace movielens_ingest::core {
namespace {

/* No text that reaches a parser holds a NUL byte. */
void check_all(const std::string &bytes) {
    const std::string text = bytes.substr(0, bytes.find('\0'));
    for (const IntegerForms forms : {IntegerForms::Decimal, IntegerForms::Literals}) {
        check<int16_t>(text, forms);
        check<int32_t>(text, forms);
        check<int64_t>(text, forms);
    }
    check<float>(text);
    check<double>(text);
    check<bool>(text);
}

/* The text's first bytes, as far as it has them. */
template <typename Type> Type take(std::string *text) {
    Type value{};
    const size_t size = std::min(sizeof(value), text->size());
    memcpy(&value, text->data(), size);
    text->erase(0, size);
    return value;
}

void check_printed(std::string text) {
    const auto value = take<double>(&text);
    const auto digits = take<uint8_t>(&text);
    char printed[400];
    snprintf(printed, sizeof(printed), "%.*g", 1 + digits % 40, value);
    check_all(printed + text);
    snprintf(printed, sizeof(printed), "%.*f", digits % 40, value);
    check_all(printed + text);
    snprintf(printed, sizeof(printed), "%.*g", 1 + digits % 40, static_cast<double>(static_cast<float>(value)));
    check_all(printed + text);
}

/* An odd number with one binary digit too many, alone and with the smallest of fractions. */
template <typename Float> void check_half(std::string text) {
    constexpr uint64_t kOne = uint64_t{1} << std::numeric_limits<Float>::digits;
    const auto odd = kOne + (take<uint64_t>(&text) % kOne | 1);
    const auto scale = take<int8_t>(&text);
    const std::string exponent = "e" + std::to_string(scale);
    const std::string half = std::to_string(odd) + std::string(static_cast<size_t>(scale & 15), '0');
    check_all(half);
    check_all(half + exponent);
    check_all(half + ".0000000000000000000000000000000000001" + exponent);
    check_all(half + text);
}

void check_input(Input *input) {
    const char form = input->byte();
    const std::string text = input->text();
    if (form == 'p') {
        check_printed(text);
    } else if (form == 'h') {
        check_half<float>(text);
        check_half<double>(text);
    } else {
        check_all(text);
    }
}

} // namespace
} // namespace movielens_ingest::core

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    movielens_ingest::core::Input input(data, size);
    movielens_ingest::core::check_input(&input);
    return 0;
}
