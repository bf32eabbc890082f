#include "core/error_fate.hpp"

#include <cstddef>
#include <cstring>

namespace movielens_ingest::core {

namespace {

struct Rule {
    const char *prefix; /* an SQLSTATE, or its first two characters: a class */
    ErrorFate fate;
};

/* The first rule that fits counts, so a code stands above its class. What fits none is Reject. */
constexpr Rule kRules[] = {
    {"40001", ErrorFate::RetryAlone}, /* serialization_failure */
    {"40P01", ErrorFate::RetryAlone}, /* deadlock_detected */
    {"40", ErrorFate::Retry},         /* transaction rollback */
    {"08", ErrorFate::Retry},         /* connection exception */
    {"53", ErrorFate::Retry},         /* insufficient resources */
    {"55P03", ErrorFate::Retry},      /* lock_not_available */
    {"25006", ErrorFate::Fail},       /* read_only_sql_transaction: no import has one, but its validation may */
    {"58030", ErrorFate::Retry},      /* io_error */
    {"58", ErrorFate::Fail},          /* system error */
    {"57", ErrorFate::Fail},          /* operator intervention, with query_canceled and admin_shutdown */
    {"XX", ErrorFate::Fail},          /* internal error */
    /*
     * Access rules, and names that are not there. A violated policy is 42501 too, not to be told from a missing
     * privilege by its code; tables with policies that apply are refused before anything is loaded.
     */
    {"42", ErrorFate::Fail},
};

} // namespace

ErrorFate error_fate(const char *sqlstate) noexcept {
    for (const Rule &rule : kRules) {
        if (strncmp(sqlstate, rule.prefix, strlen(rule.prefix)) == 0)
            return rule.fate;
    }
    return ErrorFate::Reject;
}

} // namespace movielens_ingest::core
