/*
 * number_reference.hpp - what PostgreSQL's input functions say to a number or a boolean, found out slowly.
 */
#pragma once

#include "core/number.hpp"

#include <cstdint>
#include <cstring>
#include <ostream>
#include <string>

namespace movielens_ingest::core {

/* A verdict, and the value if there is one. */
template <typename Type> struct Parsed {
    NumberVerdict verdict;
    Type value = 0;
};

/* To the bit: 0 is not -0. */
template <typename Type> bool operator==(const Parsed<Type> &a, const Parsed<Type> &b) {
    return a.verdict == b.verdict && memcmp(&a.value, &b.value, sizeof(Type)) == 0;
}

template <typename Type> std::ostream &operator<<(std::ostream &out, const Parsed<Type> &parsed) {
    return out << "{verdict " << static_cast<int>(parsed.verdict) << ", value " << +parsed.value << "}";
}

/* Whether isspace() says yes to bytes of 0x80 and more: it depends on the locale. */
enum class Locale : uint8_t { HighBytesAreBlanks, HighBytesAreNoBlanks };

/* The forms matter to integers only. */
void reference_number(const std::string &text, Locale locale, IntegerForms forms, Parsed<int16_t> *expected);
void reference_number(const std::string &text, Locale locale, IntegerForms forms, Parsed<int32_t> *expected);
void reference_number(const std::string &text, Locale locale, IntegerForms forms, Parsed<int64_t> *expected);
void reference_number(const std::string &text, Locale locale, IntegerForms forms, Parsed<float> *expected);
void reference_number(const std::string &text, Locale locale, IntegerForms forms, Parsed<double> *expected);
void reference_number(const std::string &text, Locale locale, IntegerForms forms, Parsed<bool> *expected);

/* What the core says. Throws std::logic_error if it changes a value that it does not know. */
template <typename Type> Parsed<Type> parse(const std::string &text, IntegerForms forms = IntegerForms::Decimal);

/*
 * What the core says, after it has been compared with the reference in both locales. Throws std::logic_error where they
 * differ, and at an Unknown where the core has to know.
 */
template <typename Type> NumberVerdict check(const std::string &text, IntegerForms forms = IntegerForms::Decimal);

} // namespace movielens_ingest::core
