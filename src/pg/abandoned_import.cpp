#include "pg/abandoned_import.hpp"

#include "pg/deferred_indexes.hpp"
#include "pg/import_lock.hpp"
#include "pg/patience.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

const char *end_abandoned(const Ledger *ledger, int64 id, Oid target, const char *status, const char *sqlstate,
                          const char *error) {
    const char *unbuilt = build_abandoned_indexes(ledger, target);

    (void)end_import(ledger, id, status, sqlstate, unbuilt != nullptr ? psprintf("%s; %s", error, unbuilt) : error);
    return unbuilt;
}

namespace {

void fail_members(const Ledger *ledger, int64 batch_id, const char *sqlstate, const char *error) {
    int count;
    const BatchMember *members = read_batch(ledger, batch_id, &count);

    for (int i = 0; i < count; i++) {
        if (is_open_status(members[i].status)) {
            release_lock_beside(loading_lock(members[i].target_oid)); /* should this process have it */
            (void)end_abandoned(ledger, members[i].id, members[i].target_oid, kFailed, sqlstate, error);
        }
    }
}

/* Around a transaction that may build indexes, and crash the server: see risky_step.hpp. */
void count_builds(const Identity *identity, Oid files, int64 batch_id, int change) {
    note_patiently(identity, "count a build of indexes", [=]() {
        Ledger ledger;

        if (reopen_ledger(files, &ledger)) {
            count_index_builds(&ledger, batch_id, change);
            ForceSyncCommit();
        }
    });
}

} // namespace

void fail_abandoned_batch(const Identity *identity, Oid files, int64 batch_id, int sqlerrcode, const char *error) {
    count_builds(identity, files, batch_id, 1);
    note_patiently(identity, "write the end of an import that nobody leads", [=]() {
        Ledger ledger;

        if (reopen_ledger(files, &ledger)) {
            fail_members(&ledger, batch_id, unpack_sql_state(sqlerrcode), error);
        }
    });
    count_builds(identity, files, batch_id, -1);
}

} // namespace movielens_ingest::pg
