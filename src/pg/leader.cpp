#include "pg/leader.hpp"

#include "pg/abandoned_import.hpp"
#include "pg/background_process.hpp"
#include "pg/batch.hpp"
#include "pg/import_lock.hpp"
#include "pg/ledger.hpp"
#include "pg/patience.hpp"
#include "pg/pg.hpp"
#include "pg/process_permit.hpp"
#include "pg/queue.hpp"
#include "pg/seat.hpp"
#include "pg/session.hpp"

namespace movielens_ingest::pg {

namespace {

/*
 * Sleeps until the transaction of the call has ended. False: it was rolled back. A call in a savepoint that was rolled
 * back does not come this far.
 */
bool call_has_committed(const LeaderArguments *arguments) {
    if (!TransactionIdIsValid(arguments->xid)) {
        return true;
    }
    begin_transaction(&arguments->identity);
    XactLockTableWait(arguments->xid, nullptr, nullptr, XLTW_None);
    const bool committed = TransactionIdDidCommit(arguments->xid);
    commit_transaction();
    return committed;
}

/* Tells the process that registered us, and waits for it, that we are there. */
void notify_launcher() {
    PGPROC *launcher = BackendPidGetProc(MyBgworkerEntry->bgw_notify_pid);

    if (launcher != nullptr) {
        SetLatch(&launcher->procLatch);
    }
}

/* False: another process leads the batch, and it came here through the queue, which may name it twice. */
bool take_lead(const LeaderArguments *arguments) {
    const LOCKTAG lock = leader_lock(arguments->files, arguments->batch_id);

    begin_transaction(&arguments->identity);
    const bool call = TransactionIdIsValid(arguments->xid);
    if (call) {
        hold_lock(lock); /* a leader that is about to die may have it still */
    }
    const bool taken = call || hold_lock_now(lock);
    commit_transaction();
    return taken;
}

/* False: others were faster since it was taken from the queue, where it stays. */
bool obtain_permit(const Identity *identity, ProcessPermit *permit) {
    if (permit->number != 0) {
        hold_permit(permit);
        return true;
    }
    begin_transaction(identity);
    const Shortage shortage =
        take_permit(identity->authenticated_user, identity->process_limit, PermitLife::Process, permit);
    commit_transaction();
    return shortage == Shortage::None;
}

void lead(const LeaderArguments *arguments) {
    Ledger ledger;

    bool wanted = false;
    patiently("take the lead of an import", [&]() { wanted = take_lead(arguments); });
    if (!wanted) {
        return;
    }
    notify_launcher();
    patiently("wait for the call that made an import", [&]() { wanted = call_has_committed(arguments); });
    if (!wanted) {
        return;
    }
    bool found = false;
    note_patiently(&arguments->identity, "find the ledger",
                   [&]() { found = reopen_ledger(arguments->files, &ledger); });
    if (found) {
        lead_batch(&arguments->identity, &ledger, arguments->batch_id);
        begin_transaction(&arguments->identity);
        release_lock(leader_lock(arguments->files, arguments->batch_id));
        commit_transaction();
    }
}

/* The next of the queue was given this slot, and could not even connect: the role may have been dropped. */
void end_unborn(const Identity *identity, const LeaderArguments *unborn) {
    bool led = true;
    note_patiently(identity, "look for the leader of an import",
                   [&]() { led = lock_is_held(leader_lock(unborn->files, unborn->batch_id)); });
    if (!led) {
        fail_abandoned_batch(identity, unborn->files, unborn->batch_id, ERRCODE_INSUFFICIENT_RESOURCES,
                             "the leader of the import could not connect to the database");
    }
}

} // namespace

} // namespace movielens_ingest::pg

using namespace movielens_ingest::pg;

extern "C" void movielens_ingest_leader_main(Datum) {
    dsm_handle seat;

    begin_process(&seat, sizeof(seat));
    const SeatVisit visit = sit_down(seat);
    const LeaderArguments *arguments = &visit.arguments;
    if (visit.duty == SeatDuty::Leave) {
        give_up_seat();
        return;
    }
    connect_as(&arguments->identity);
    if (visit.duty == SeatDuty::Lead) {
        bequeath_seat();
    }
    (void)hold_cancels(); /* a leader is cancelled only while it does its work: see run() */
    const Oid files = OidIsValid(arguments->files) ? arguments->files : queue_interrupted(&arguments->identity);
    if (!OidIsValid(files)) {
        give_up_seat(); /* a database without the extension */
        return;
    }
    begin_transaction(&arguments->identity);
    hold_lock_beside(mover_lock(files), true);
    commit_transaction();

    if (visit.duty == SeatDuty::Lead) {
        ProcessPermit permit = arguments->permit;
        if (obtain_permit(&arguments->identity, &permit)) {
            lead(arguments);
        }
        give_back_permit(&permit, PermitLife::Process);
    } else {
        if (visit.unborn.batch_id != 0) {
            end_unborn(&arguments->identity, &visit.unborn);
        }
        end_cancelled_imports(files, &arguments->identity);
    }
    patiently("move the queue on", [=]() { leave_queue(files, &arguments->identity); });
    give_up_seat();
}
