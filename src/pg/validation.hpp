/*
 * validation.hpp - finds the records of a file whose form or values an import would refuse, without loading one.
 */
#pragma once

#include "core/chunk_planner.hpp"
#include "pg/ledger.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

struct Validation {
    const Import *import; /* the id is not used */
    void (*refuse)(void *argument, const Reject *reject);
    void (*look_around)(void *argument); /* called every now and then; may be null */
    void *argument;
};

/*
 * Validates the records of a chunk in the current transaction, as the current user; what user code may have written is
 * rolled back. Raises what no single record is to blame for.
 */
void validate_chunk(const Validation *validation, const core::Chunk *chunk);

} // namespace movielens_ingest::pg
