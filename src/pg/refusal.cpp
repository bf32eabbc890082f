#include "pg/refusal.hpp"

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

namespace {

const char *copy_text(const char *text, MemoryContext context) {
    return text != nullptr ? MemoryContextStrdup(context, text) : nullptr;
}

} // namespace

Refusal copy_refusal(const Refusal *why, MemoryContext context) {
    return {why->sqlerrcode, copy_text(why->message, context), copy_text(why->detail, context),
            copy_text(why->column, context)};
}

} // namespace movielens_ingest::pg
