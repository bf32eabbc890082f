#include "pg/field_conversion.hpp"

#include "core/number.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

namespace {

using Verdict = core::NumberVerdict;

Converted refuse(Refusal *why, int sqlerrcode, const char *message) {
    *why = {sqlerrcode, message, nullptr, nullptr};
    return Converted::Refused;
}

/* The words of pg_strtoint32 and float8in_internal and their like. */
constexpr char kIntegerOutOfRange[] = gettext_noop("value \"%s\" is out of range for type %s");
constexpr char kFloatOutOfRange[] = gettext_noop("\"%s\" is out of range for type %s");

Converted judge(Verdict verdict, const char *type, const char *out_of_range, core::Field field, Refusal *why) {
    switch (verdict) {
    case Verdict::Value:
        return Converted::Value;
    case Verdict::Invalid:
        return refuse(why, ERRCODE_INVALID_TEXT_REPRESENTATION,
                      psprintf(_("invalid input syntax for type %s: \"%s\""), type, pnstrdup(field.data, field.size)));
    case Verdict::OutOfRange:
        return refuse(why, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
                      psprintf(_(out_of_range), pnstrdup(field.data, field.size), type));
    case Verdict::Unknown:
        break;
    }
    return Converted::Unknown;
}

template <typename Number, typename ToDatum>
Converted convert_number(Verdict (*parse)(const char *, size_t, Number *), ToDatum to_datum, const char *type,
                         const char *out_of_range, core::Field field, Datum *value, Refusal *why) {
    Number number{};
    const Verdict verdict = parse(field.data, field.size, &number);

    *value = to_datum(number);
    return judge(verdict, type, out_of_range, field, why);
}

/* varchar_input: typmod counts characters, and blanks that are too many are cut off. */
Converted convert_varchar(int32 typmod, core::Field field, Datum *value, Refusal *why) {
    int size = static_cast<int>(field.size);
    const int most = typmod - VARHDRSZ;

    if (typmod >= VARHDRSZ && size > most) {
        const int fitting = pg_mbcharcliplen(field.data, size, most);
        for (int i = fitting; i < size; i++) {
            if (field.data[i] != ' ') {
                return refuse(why, ERRCODE_STRING_DATA_RIGHT_TRUNCATION,
                              psprintf(_("value too long for type character varying(%d)"), most));
            }
        }
        size = fitting;
    }
    *value = PointerGetDatum(cstring_to_text_with_len(field.data, size));
    return Converted::Value;
}

} // namespace

Conversion conversion_of(Oid type) {
    switch (type) {
    case INT2OID:
        return Conversion::Int2;
    case INT4OID:
        return Conversion::Int4;
    case INT8OID:
        return Conversion::Int8;
    case FLOAT4OID:
        return Conversion::Float4;
    case FLOAT8OID:
        return Conversion::Float8;
    case BOOLOID:
        return Conversion::Bool;
    case TEXTOID:
        return Conversion::Text;
    case VARCHAROID:
        return Conversion::Varchar;
    default:
        return Conversion::Input;
    }
}

Converted convert_field(Conversion conversion, int32 typmod, core::Field field, Datum *value, Refusal *why) {
    switch (conversion) {
    case Conversion::Int2:
        return convert_number(
            core::parse_int16<kIntegerForms>, [](int16_t number) { return Int16GetDatum(number); }, "smallint",
            kIntegerOutOfRange, field, value, why);
    case Conversion::Int4:
        return convert_number(
            core::parse_int32<kIntegerForms>, [](int32_t number) { return Int32GetDatum(number); }, "integer",
            kIntegerOutOfRange, field, value, why);
    case Conversion::Int8:
        return convert_number(
            core::parse_int64<kIntegerForms>, [](int64_t number) { return Int64GetDatum(number); }, "bigint",
            kIntegerOutOfRange, field, value, why);
    case Conversion::Float4:
        return convert_number(
            core::parse_float32, [](float number) { return Float4GetDatum(number); }, "real", kFloatOutOfRange, field,
            value, why);
    case Conversion::Float8:
        return convert_number(
            core::parse_float64, [](double number) { return Float8GetDatum(number); }, "double precision",
            kFloatOutOfRange, field, value, why);
    case Conversion::Bool:
        return convert_number(
            core::parse_bool, [](bool number) { return BoolGetDatum(number); }, "boolean", kIntegerOutOfRange, field,
            value, why);
    case Conversion::Varchar:
        return convert_varchar(typmod, field, value, why);
    case Conversion::Text:
        *value = PointerGetDatum(cstring_to_text_with_len(field.data, static_cast<int>(field.size)));
        return Converted::Value;
    case Conversion::Input:
        break;
    }
    return Converted::Unknown;
}

} // namespace movielens_ingest::pg
