/*
 * validation.hpp - finds the records of a file whose form or values an import would refuse, without loading one.
 */
#pragma once

#include "core/chunk_planner.hpp"
#include "pg/ledger.hpp"
#include "pg/pg.hpp"
#include "pg/reject.hpp"

namespace movielens_ingest::pg {

/*
 * Validates the records of a chunk in the current transaction, as the current user; what user code may have written is
 * rolled back. The sink is told of those that an import would refuse. Raises what no single record is to blame for. The
 * import has no id.
 */
void validate_chunk(const Import *import, const core::Chunk *chunk, RejectSink *rejects);

} // namespace movielens_ingest::pg
