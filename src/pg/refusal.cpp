#include "pg/refusal.hpp"

#include "pg/error_text.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

Refusal copy_refusal(const Refusal *why, MemoryContext context) {
    return {why->sqlerrcode, copy_error_text(why->message, context), copy_error_text(why->detail, context),
            why->column != nullptr ? MemoryContextStrdup(context, why->column) : nullptr};
}

} // namespace movielens_ingest::pg
