#include "core/error_fate.hpp"

#include <gtest/gtest.h>

namespace movielens_ingest::core {
namespace {

TEST(ErrorFate, ByCodeOrClass) {
    const struct {
        const char *sqlstate;
        ErrorFate fate;
    } cases[] = {
        {"08000", ErrorFate::Retry},      {"08003", ErrorFate::Retry},
        {"08006", ErrorFate::Retry},      {"53000", ErrorFate::Retry},
        {"53100", ErrorFate::Retry},                                   /* disk_full */
        {"53200", ErrorFate::Retry},                                   /* out_of_memory */
        {"53300", ErrorFate::Retry},                                   /* too_many_connections */
        {"53400", ErrorFate::Retry},      {"55P03", ErrorFate::Retry}, /* lock_not_available */
        {"58030", ErrorFate::Retry},                                   /* io_error */
        {"40000", ErrorFate::Retry},      {"40002", ErrorFate::Retry},
        {"40003", ErrorFate::Retry},

        {"40001", ErrorFate::RetryAlone}, /* serialization_failure */
        {"40P01", ErrorFate::RetryAlone}, /* deadlock_detected */

        {"42501", ErrorFate::Fail},                                   /* insufficient_privilege */
        {"42601", ErrorFate::Fail},       {"42703", ErrorFate::Fail}, /* undefined_column */
        {"42883", ErrorFate::Fail},                                   /* undefined_function */
        {"42P01", ErrorFate::Fail},                                   /* undefined_table */
        {"57000", ErrorFate::Fail},       {"57014", ErrorFate::Fail}, /* query_canceled */
        {"57P01", ErrorFate::Fail},                                   /* admin_shutdown */
        {"57P03", ErrorFate::Fail},       {"58000", ErrorFate::Fail},
        {"58P01", ErrorFate::Fail},                                   /* undefined_file */
        {"XX000", ErrorFate::Fail},       {"XX001", ErrorFate::Fail}, /* data_corrupted */
        {"XX002", ErrorFate::Fail},

        {"0A000", ErrorFate::Reject},     {"21000", ErrorFate::Reject},
        {"22001", ErrorFate::Reject}, /* string_data_right_truncation */
        {"22003", ErrorFate::Reject}, /* numeric_value_out_of_range */
        {"22021", ErrorFate::Reject}, /* character_not_in_repertoire */
        {"22P02", ErrorFate::Reject}, /* invalid_text_representation */
        {"22P04", ErrorFate::Reject}, /* bad_copy_file_format */
        {"23502", ErrorFate::Reject}, /* not_null_violation */
        {"23503", ErrorFate::Reject}, /* foreign_key_violation */
        {"23505", ErrorFate::Reject}, /* unique_violation */
        {"23514", ErrorFate::Reject}, /* check_violation */
        {"23P01", ErrorFate::Reject}, /* exclusion_violation */
        {"25006", ErrorFate::Fail},       {"44000", ErrorFate::Reject},
        {"54000", ErrorFate::Reject}, /* program_limit_exceeded: a too-long index row */
        {"55000", ErrorFate::Reject},     {"55P02", ErrorFate::Reject},
        {"P0001", ErrorFate::Reject}, /* raise_exception */
        {"P0004", ErrorFate::Reject},     {"HV000", ErrorFate::Reject},
        {"F0000", ErrorFate::Reject},     {"00000", ErrorFate::Reject},
        {"05800", ErrorFate::Reject}, /* a class stands at the start */
        {"X5300", ErrorFate::Reject},
    };
    for (const auto &c : cases)
        EXPECT_EQ(error_fate(c.sqlstate), c.fate) << c.sqlstate;
}

} // namespace
} // namespace movielens_ingest::core
