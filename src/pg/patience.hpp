/*
 * patience.hpp - what has to get into the ledger, sooner or later: a process that does not give it up because of an
 * error that may pass, such as a full disk, but tries again until it is done.
 *
 * Nothing is lost meanwhile that is not in the ledger yet: it is in the memory of the process that waits here.
 */
#pragma once

#include "pg/identity.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/*
 * In a background process, outside of a transaction: runs work(argument), with the transactions that it begins and
 * commits, again after pauses, for as long as it raises errors that may pass. Other errors are raised, and so is a
 * cancel, where cancels are not held, which comes in a pause. what: in the log, behind "could not".
 */
void run_patiently(const char *what, void (*work)(void *), void *argument);

/* The same for a function object, which must hold nothing with a destructor. */
template <typename Work> void patiently(const char *what, Work work) {
    static_assert(std::is_trivially_destructible_v<Work>);
    run_patiently(
        what, [](void *argument) { (*static_cast<Work *>(argument))(); }, &work);
}

/* The same in one transaction. */
template <typename Work> void note_patiently(const Identity *identity, const char *what, Work work) {
    patiently(what, [identity, work]() {
        begin_transaction(identity);
        work();
        commit_transaction();
    });
}

/* Logs an error after which the process tries again; of the same kind, at most once a minute. */
void log_trouble(const char *what, const ErrorData *error);

/* Sleeps so many milliseconds, and takes what interrupts. */
void rest(long milliseconds);

constexpr long kRest = 1000; /* milliseconds between two tries */

} // namespace movielens_ingest::pg
