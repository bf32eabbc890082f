#include "pg/abandoned_import.hpp"

#include "pg/deferred_indexes.hpp"
#include "pg/import_lock.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

const char *end_abandoned(const Ledger *ledger, int64 id, Oid target, const char *status, const char *sqlstate,
                          const char *error) {
    const char *unbuilt = build_abandoned_indexes(ledger, target);

    (void)end_import(ledger, id, status, sqlstate, unbuilt != nullptr ? psprintf("%s; %s", error, unbuilt) : error);
    return unbuilt;
}

void fail_abandoned_batch(const Ledger *ledger, int64 batch_id, const char *sqlstate, const char *error) {
    int count;
    const BatchMember *members = read_batch(ledger, batch_id, &count);

    for (int i = 0; i < count; i++) {
        if (members[i].processing || strcmp(members[i].status, kQueued) == 0) {
            release_lock_beside(loading_lock(members[i].target_oid)); /* should this process have it */
            (void)end_abandoned(ledger, members[i].id, members[i].target_oid, kFailed, sqlstate, error);
        }
    }
}

} // namespace movielens_ingest::pg
