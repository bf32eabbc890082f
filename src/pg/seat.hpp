/*
 * seat.hpp - the slot of max_worker_processes that a leader holds, and who leads in it next.
 *
 * When imports are queued because no slot is free, a leader that ends cannot register the next one: its own slot is
 * free only after it has ended, and the process cannot become another user's. So it leaves the arguments of the next
 * leader in a little shared memory that outlives it, and exits with code 1: the postmaster starts the same entry again
 * at once, and that process reads there whom to lead for. When a leader dies instead, its entry is started again too,
 * with nothing left to read: that process moves the queue on, under the identity of the dead, and ends. A scout begins
 * like that.
 */
#pragma once

#include "pg/identity.hpp"
#include "pg/pg.hpp"
#include "pg/process_permit.hpp"

namespace movielens_ingest::pg {

struct LeaderArguments {
    int64 batch_id;
    Oid files;         /* OID of uploaded_files */
    TransactionId xid; /* top-level transaction of the call; invalid: it has committed */
    Identity identity;
    ProcessPermit permit; /* number 0: it takes one itself, and does not lead without */
};

/* What the process in a seat is to do. */
enum class SeatDuty {
    Lead, /* the batch of the arguments */
    Tend, /* the queue, in the name of these arguments: a leader died, or files is InvalidOid: the server has started */
    Leave, /* nothing: the seat is given up */
};

struct SeatVisit {
    SeatDuty duty;
    LeaderArguments arguments;
    LeaderArguments unborn; /* Tend: a leader that could not even connect; batch_id 0: none */
};

/*
 * Registers a process that leads, and notifies this one. heir: in whose name to tend the queue should it not even be
 * able to connect; or null. Null: the server has no slot free. The handle is in the current memory context.
 */
BackgroundWorkerHandle *register_seat(const LeaderArguments *arguments, const LeaderArguments *heir);

/* Registers a process that looks for interrupted imports in a database. Null: no slot is free. */
BackgroundWorkerHandle *register_scout(Oid database);

/* Registers a process that tends the queue of this database, and loads nothing. Null: no slot is free. */
BackgroundWorkerHandle *register_tender(Oid files);

/* In the process, before it connects to a database. */
SeatVisit sit_down(dsm_handle seat);
/* The leader has connected: should it die, another one can do so in its name. */
void bequeath_seat();
/* Ends the process, and lets another one lead in its place. */
[[noreturn]] void hand_over_seat(const LeaderArguments *next);
/* Nobody is to come after this process, which is about to end. */
void give_up_seat();

} // namespace movielens_ingest::pg
