#include "pg/risky_step.hpp"

#include "pg/patience.hpp"

namespace movielens_ingest::pg {

namespace {

/* That of this process; leader is null: none. */
struct {
    Loader *leader;
    RiskyStep step;
    int64 of;
} begun;

/* In a transaction, for a process that must not wait long. */
void uncount() {
    Ledger ledger;

    if (can_open_ledger_now(begun.leader->ledger.files) && reopen_ledger(begun.leader->ledger.files, &ledger)) {
        count_step(&ledger, begun.step, begun.of, -1);
    }
}

/* In the exit of a process that was told to end within a step: that is no crash. As for a chunk (withdraw_at_exit). */
void uncount_at_exit(int, Datum) {
    if (begun.leader == nullptr) {
        return;
    }
    AbortOutOfAnyTransaction();
    SetConfigOption("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION);
    begin_transaction(&begun.leader->identity);
    uncount();
    commit_transaction();
    begun.leader = nullptr;
}

} // namespace

int crashes_in_step(Loader *leader, RiskyStep step, int64 of) {
    begin_transaction(&leader->identity);
    const int crashes = step_crashes(&leader->ledger, step, of);
    commit_transaction();
    return crashes;
}

void begin_risky_step(Loader *leader, RiskyStep step, int64 of) {
    static bool registered = false;

    if (!registered) {
        before_shmem_exit(uncount_at_exit, Datum(0));
        registered = true;
    }
    note_patiently(&leader->identity, "count a step of an import", [=]() {
        count_step(&leader->ledger, step, of, 1);
        ForceSyncCommit();
    });
    begun = {leader, step, of};
}

void end_risky_step() {
    if (begun.leader != nullptr) {
        note_patiently(&begun.leader->identity, "note that a step of an import has ended", uncount);
        begun.leader = nullptr;
    }
}

} // namespace movielens_ingest::pg
