#include "core/number.hpp"

#include <charconv>
#include <system_error>

namespace movielens_ingest::core {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* pg_strtoint32 and pg_strtoint64: a sign and digits. Blanks around them are left to the input function. */
template <typename Integer> bool parse_integer(const char *text, size_t size, Integer *value) noexcept {
    const char *end = text + size;
    const char *first_digit = text;
    if (size > 0 && (*text == '-' || *text == '+'))
        ++first_digit;
    if (first_digit == end || !is_digit(*first_digit))
        return false;

    /* std::from_chars takes a minus, but no plus. */
    Integer parsed;
    const auto [stop, error] = std::from_chars(*text == '+' ? first_digit : text, end, parsed);
    if (error != std::errc() || stop != end)
        return false;
    *value = parsed;
    return true;
}

} // namespace

bool parse_int32(const char *text, size_t size, int32_t *value) noexcept { return parse_integer(text, size, value); }

bool parse_int64(const char *text, size_t size, int64_t *value) noexcept { return parse_integer(text, size, value); }

/*
 * float8in_internal calls strtod, which rounds correctly in glibc, as std::from_chars must. A first digit is asked for:
 * it keeps out infinities, NaN and forms that strtod and std::from_chars might see differently. Hexadecimal stops at
 * the x. float8in_internal refuses what overflows or becomes zero, and takes denormal numbers; std::from_chars says
 * result_out_of_range to the same.
 */
bool parse_float64(const char *text, size_t size, double *value) noexcept {
    const char *end = text + size;
    const char *first_digit = text;
    if (size > 0 && *text == '-')
        ++first_digit;
    if (first_digit == end || !is_digit(*first_digit))
        return false;

    double parsed;
    const auto [stop, error] = std::from_chars(text, end, parsed, std::chars_format::general);
    if (error != std::errc() || stop != end)
        return false;
    *value = parsed;
    return true;
}

} // namespace movielens_ingest::core
