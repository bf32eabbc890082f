/*
 * number.hpp - numbers from text, for the forms that need no second look.
 *
 * Each function takes only what the type's input function in PostgreSQL takes, with a bit-identical result, and says
 * false to all else: blanks, other forms, out of range, not a number. The input function then decides, and words the
 * error.
 */
#pragma once

#include <cstddef>
#include <cstdint>

namespace movielens_ingest::core {

/* An optional sign and decimal digits, in range (int4in, int8in). */
bool parse_int32(const char *text, size_t size, int32_t *value) noexcept;
bool parse_int64(const char *text, size_t size, int64_t *value) noexcept;

/* An optional minus, decimal digits with at most one point among or behind them, an optional exponent (float8in). */
bool parse_float64(const char *text, size_t size, double *value) noexcept;

} // namespace movielens_ingest::core
