#include "pg/refusal.hpp"

#include "core/error_fate.hpp"
#include "pg/error_text.hpp"
#include "pg/pg.hpp"
#include "pg/subtransaction.hpp"

namespace movielens_ingest::pg {

bool is_records_own(const ErrorData *error) {
    /* A violated policy has the SQLSTATE of a missing privilege. */
    const bool policy = error->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE && error->funcname != nullptr &&
                        strcmp(error->funcname, "ExecWithCheckOptions") == 0;

    return policy || core::error_fate(sqlstate_of(error)) == core::ErrorFate::Reject;
}

bool is_values_own(const ErrorData *error) {
    return is_records_own(error) ||
           ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION;
}

Refusal copy_refusal(const Refusal *why, MemoryContext context) {
    return {why->sqlerrcode, copy_error_text(why->message, context), copy_error_text(why->detail, context),
            why->column != nullptr ? MemoryContextStrdup(context, why->column) : nullptr};
}

} // namespace movielens_ingest::pg
