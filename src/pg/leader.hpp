/*
 * leader.hpp - the leader of an import: waits for the call to commit, plans the file, starts workers, loads chunks
 * itself, and brings the import to its end.
 */
#pragma once

#include "pg/identity.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

constexpr char kLeaderType[] = "movielens_ingest leader"; /* backend_type */

/* In bgw_extra. */
struct LeaderArguments {
    int64 import_id;
    Oid files;         /* OID of uploaded_files */
    TransactionId xid; /* top-level transaction of the call */
    Identity identity;
};

static_assert(std::is_trivially_copyable_v<LeaderArguments> && sizeof(LeaderArguments) <= BGW_EXTRALEN);

/*
 * Registers the leader as a background worker that notifies this process. Null: the server has no slot free. The handle
 * is in the current memory context.
 */
BackgroundWorkerHandle *register_leader(const LeaderArguments *arguments);

} // namespace movielens_ingest::pg

extern "C" PGDLLEXPORT void movielens_ingest_leader_main(Datum);
