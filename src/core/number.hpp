/*
 * number.hpp - numbers and booleans from text, and what PostgreSQL's input function would say to the rest.
 *
 * A verdict other than Unknown is certain, so the caller can word the error without having it raised. The functions
 * know the blanks of ASCII only: what a byte of 0x80 or more is, where a blank may stand, depends on the locale.
 */
#pragma once

#include <cstddef>
#include <cstdint>

namespace movielens_ingest::core {

enum class NumberVerdict : uint8_t {
    Value,      /* *value is what the input function returns, to the bit; else it is left alone */
    Invalid,    /* invalid_text_representation */
    OutOfRange, /* numeric_value_out_of_range; the message quotes the whole text */
    Unknown,    /* the input function has to be asked */
};

/* What the server takes for an integer. */
enum class IntegerForms : uint8_t {
    Decimal,  /* up to PostgreSQL 15 */
    Literals, /* from 16 on 0x1F, 0o17, 0b101 and 1_000 too; and range is judged a little later than form */
};

/* int2in, int4in, int8in. Unknown: only for the sake of a byte of 0x80 or more. The text must hold no NUL byte. */
template <IntegerForms forms> NumberVerdict parse_int16(const char *text, size_t size, int16_t *value) noexcept;
template <IntegerForms forms> NumberVerdict parse_int32(const char *text, size_t size, int32_t *value) noexcept;
template <IntegerForms forms> NumberVerdict parse_int64(const char *text, size_t size, int64_t *value) noexcept;

/*
 * float4in, float8in. Unknown too: what begins like an infinity, a NaN or a hexadecimal number, and what is out of
 * range and not alone.
 */
NumberVerdict parse_float32(const char *text, size_t size, float *value) noexcept;
NumberVerdict parse_float64(const char *text, size_t size, double *value) noexcept;

/* boolin. Never OutOfRange. */
NumberVerdict parse_bool(const char *text, size_t size, bool *value) noexcept;

} // namespace movielens_ingest::core
