/*
 * field_conversion.hpp - values of the common types from fields, as their input functions make them, without calling
 * these: no error is raised.
 */
#pragma once

#include "core/field_buffer.hpp"
#include "pg/pg.hpp"
#include "pg/refusal.hpp"

namespace movielens_ingest::pg {

/* How a field becomes a value. Input: by the type's input function only. */
enum class Conversion : uint8_t { Int2, Int4, Int8, Float4, Float8, Bool, Text, Varchar, Input };

Conversion conversion_of(Oid type);

enum class Converted : uint8_t {
    Value,
    Refused,
    Unknown, /* the input function has to be asked */
};

/*
 * The value of a field that is not NULL, or why the input function would refuse it (in the current memory context,
 * without a column). typmod: of the column.
 */
Converted convert_field(Conversion conversion, int32 typmod, core::Field field, Datum *value, Refusal *why);

} // namespace movielens_ingest::pg
