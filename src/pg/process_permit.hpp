/*
 * process_permit.hpp - how many processes imports may have: on the server (movielens_ingest.max_processes), and for a
 * role (movielens_ingest.max_processes_per_role).
 *
 * A permit is a lock of the server whose tag names a role and a number, and nobody ever waits for one. So it needs no
 * shared memory that has to be asked for when the server starts, it counts in all databases, pg_locks shows it, and it
 * is gone with its process, however that ends. Whoever registers a process takes the permit, and the process holds it
 * beside him: there is no moment in which neither does.
 *
 * The role is the one that has logged in, for SET ROLE would make room for as many again with each role that it is a
 * member of.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/* Plain data: it travels to the process. */
struct ProcessPermit {
    Oid role;
    uint16 number; /* 0: none */
};

/* Why there is no process more. */
enum class Shortage : uint8_t {
    None,
    Slots,  /* of max_worker_processes */
    Server, /* imports have as many processes as they may, or what is free is for a role that has fewer */
    Role,   /* the role has as many as it may */
};

/* How long who takes a permit holds it, unless he gives it back. */
enum class PermitLife : uint8_t { Transaction, Process };

/* Takes a permit for a process of this role, which may have so many; 0: as many as there are. In a transaction. */
Shortage take_permit(Oid role, int role_limit, PermitLife life, ProcessPermit *permit);
void give_back_permit(const ProcessPermit *permit, PermitLife life);
/* In the process that a permit was taken for, until it ends: beside him who took it. */
void hold_permit(const ProcessPermit *permit);
/* When a transaction has been aborted, which drops the permits of a process (ProcReleaseLocks). */
void hold_permits_again();
/* In the beginning of a process, before it connects to a database: its exit gives back what it holds. */
void give_back_permits_at_exit();

/* Takes permits for so many processes, or for fewer, that a command of this transaction will start. */
int take_permits(Oid role, int role_limit, int count, ProcessPermit *permits);

/* What is taken now. In the current memory context. */
struct PermitsTaken {
    Oid *roles; /* one for each permit */
    int count;
    Oid *waiting; /* roles that show_waiting() was called for */
    int waiting_count;
};
PermitsTaken permits_taken();
int permits_of(const PermitsTaken *taken, Oid role);
/* Counts one more for a role. */
void add_permit(PermitsTaken *taken, Oid role);
/* Why a role may not have one more. */
Shortage shortage_of(const PermitsTaken *taken, Oid role, int role_limit);

/*
 * Says that a role waits for a process, as long as this process lives; or InvalidOid: that none does any more. Imports
 * of roles that have more processes leave one to it.
 */
enum class Waiting : uint8_t { Queue, Workers };
void show_waiting(Waiting what, Oid role);
/* Whether an import of this role is to leave a process to others. */
bool should_make_room(Oid role, int role_limit);

/* Of an error or a message that says that a process is missing. */
int shortage_message(Shortage shortage, Oid role, int64 import_id);
const char *shortage_hint(Shortage shortage);

} // namespace movielens_ingest::pg
