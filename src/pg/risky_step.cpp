#include "pg/risky_step.hpp"

#include "pg/patience.hpp"

namespace movielens_ingest::pg {

namespace {

/* That of this process. */
struct {
    bool going_on;
    Identity identity;
    Oid files; /* OID of uploaded_files */
    RiskyStep step;
    int64 of;
} begun;

/* In a transaction. wait: for who has the ledger locked; else the count stays as it is. */
void uncount(bool wait) {
    Ledger ledger;

    if ((wait || can_open_ledger_now(begun.files)) && reopen_ledger(begun.files, &ledger)) {
        count_step(&ledger, begun.step, begun.of, -1, wait);
    }
}

/*
 * In the exit of a process that was told to end within a step: that is no crash. As for a chunk (withdraw_at_exit) it
 * waits for nobody.
 */
void uncount_at_exit(int, Datum) {
    if (!begun.going_on) {
        return;
    }
    AbortOutOfAnyTransaction();
    SetConfigOption("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION);
    begin_transaction(&begun.identity);
    uncount(false);
    commit_transaction();
    begun.going_on = false;
}

} // namespace

int crashes_in_step(Loader *leader, RiskyStep step, int64 of) {
    begin_transaction(&leader->identity);
    const int crashes = step_crashes(&leader->ledger, step, of);
    commit_transaction();
    return crashes;
}

void begin_risky_step(const Identity *identity, Oid files, RiskyStep step, int64 of) {
    static bool registered = false;

    Assert(!begun.going_on); /* or nobody would take that one back */
    if (!registered) {
        before_shmem_exit(uncount_at_exit, Datum(0));
        registered = true;
    }
    note_patiently(identity, "count a step of an import", [=]() {
        Ledger ledger;

        if (reopen_ledger(files, &ledger)) {
            count_step(&ledger, step, of, 1, true);
            ForceSyncCommit();
        }
    });
    begun = {true, *identity, files, step, of};
}

void end_risky_step() {
    if (begun.going_on) {
        note_patiently(&begun.identity, "note that a step of an import has ended", []() { uncount(true); });
        begun.going_on = false;
    }
}

} // namespace movielens_ingest::pg
