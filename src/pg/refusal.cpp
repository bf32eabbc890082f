#include "pg/refusal.hpp"

#include "core/error_fate.hpp"
#include "pg/pg.hpp"
#include "pg/subtransaction.hpp"

namespace movielens_ingest::pg {

namespace {

const char *copy_text(const char *text, MemoryContext context) {
    return text != nullptr ? MemoryContextStrdup(context, text) : nullptr;
}

} // namespace

bool is_records_own(const ErrorData *error) {
    /* A violated policy has the SQLSTATE of a missing privilege. */
    const bool policy = error->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE && error->funcname != nullptr &&
                        strcmp(error->funcname, "ExecWithCheckOptions") == 0;

    return policy || core::error_fate(sqlstate_of(error)) == core::ErrorFate::Reject;
}

Refusal copy_refusal(const Refusal *why, MemoryContext context) {
    return {why->sqlerrcode, copy_text(why->message, context), copy_text(why->detail, context),
            copy_text(why->column, context)};
}

} // namespace movielens_ingest::pg
