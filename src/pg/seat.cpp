#include "pg/seat.hpp"

#include "pg/background_process.hpp"
#include "pg/library_build.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr uint32 kMagic = 0x6d6c7331; /* "mls1" */

/*
 * One process at a time reads and writes it: the one that registers, then those in the seat, one after the other. It
 * needs no barriers: each maps the segment before and unmaps it after, under the lock of the server's list of segments.
 */
struct Seat {
    uint32 magic;
    bool has_next;
    LeaderArguments next;
    bool has_heir;
    LeaderArguments heir; /* the last one that could connect */
    bool unborn;          /* next was taken, but has not connected */
};

BackgroundWorkerHandle *register_entry(const char *name, const LeaderArguments *next, const LeaderArguments *heir) {
    dsm_segment *segment = dsm_create(sizeof(Seat), 0);
    auto *seat = static_cast<Seat *>(dsm_segment_address(segment));
    const dsm_handle handle = dsm_segment_handle(segment);

    memset(static_cast<void *>(seat), 0, sizeof(Seat));
    seat->has_next = next != nullptr;
    if (next != nullptr) {
        seat->next = *next;
    }
    seat->has_heir = heir != nullptr;
    if (heir != nullptr) {
        seat->heir = *heir;
    }
    seat->magic = magic_of_build(kMagic);
    dsm_pin_segment(segment);

    /* Started again at once when it exits with code 1. */
    BackgroundWorkerHandle *registered =
        register_process("movielens_ingest_leader_main", kLeaderType, name, &handle, sizeof(handle), 0);
    if (registered == nullptr) {
        dsm_unpin_segment(handle);
    }
    dsm_detach(segment);
    return registered;
}

/* Of this process. */
Seat *own = nullptr;
dsm_handle own_handle;
LeaderArguments own_arguments;

} // namespace

BackgroundWorkerHandle *register_seat(const LeaderArguments *arguments, const LeaderArguments *heir) {
    char name[BGW_MAXLEN];

    snprintf(name, sizeof(name), "movielens_ingest leader for import " INT64_FORMAT, arguments->batch_id);
    return register_entry(name, arguments, heir);
}

BackgroundWorkerHandle *register_scout(Oid database) {
    LeaderArguments arguments;

    memset(&arguments, 0, sizeof(arguments));
    arguments.identity.database = database;
    return register_entry("movielens_ingest scout", nullptr, &arguments);
}

BackgroundWorkerHandle *register_tender(Oid files) {
    LeaderArguments arguments;

    memset(&arguments, 0, sizeof(arguments));
    arguments.files = files;
    arguments.identity.database = MyDatabaseId;
    return register_entry("movielens_ingest tender of the queue", nullptr, &arguments);
}

SeatVisit sit_down(dsm_handle handle) {
    SeatVisit visit;

    memset(&visit, 0, sizeof(visit));
    visit.duty = SeatDuty::Leave;
    dsm_segment *segment = dsm_attach(handle);
    if (segment == nullptr) {
        return visit; /* the server has crashed since */
    }
    auto *seat = static_cast<Seat *>(dsm_segment_address(segment));
    if (dsm_segment_map_length(segment) < sizeof(Seat) || seat->magic != magic_of_build(kMagic)) {
        return visit;
    }
    own = seat;
    own_handle = handle;
    if (seat->has_next) {
        visit.duty = SeatDuty::Lead;
        visit.arguments = seat->next;
        seat->has_next = false;
        seat->unborn = true;
    } else if (seat->has_heir) {
        visit.duty = SeatDuty::Tend;
        visit.arguments = seat->heir;
        visit.arguments.xid = InvalidTransactionId;
        /* It runs fixed statements of the ledger only; the role of the dead may not log in any more. */
        visit.arguments.identity.authenticated_user = visit.arguments.identity.session_user = InvalidOid;
        visit.arguments.identity.user = BOOTSTRAP_SUPERUSERID;
        if (seat->unborn) {
            visit.unborn = seat->next;
        }
        seat->has_heir = false; /* should this one die too, that was the last */
    }
    own_arguments = visit.arguments;
    return visit;
}

void bequeath_seat() {
    own_arguments.permit.number = 0; /* it ends with this process */
    own->heir = own_arguments;
    own->heir.xid = InvalidTransactionId;
    own->has_heir = true;
    own->unborn = false;
}

void hand_over_seat(const LeaderArguments *next) {
    own->heir = own_arguments;
    own->has_heir = true;
    own->next = *next;
    own->has_next = true;
    proc_exit(1);
}

void give_up_seat() {
    if (own != nullptr) {
        own = nullptr;
        dsm_unpin_segment(own_handle);
    }
}

} // namespace movielens_ingest::pg
