/*
 * cancel_hold.hpp - a cancel that comes while cancels are held waits until they are allowed. So do statement_timeout
 * and lock_timeout, which interrupt as a cancel (ProcessInterrupts).
 *
 * errfinish() takes all holds away with every ERROR, one that is caught as well. HOLD_CANCEL_INTERRUPTS() and
 * RESUME_CANCEL_INTERRUPTS() count: when an error was caught between them, the second goes below zero, and no cancel is
 * heard any more. So nothing is counted here: who changes the hold keeps what it was before and puts that back, and who
 * catches an error puts back what was held when he began to try.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

struct CancelHold {
    uint32 count; /* as QueryCancelHoldoffCount; 0: cancels are allowed */
};

inline CancelHold current_hold() { return {QueryCancelHoldoffCount}; }

inline void put_back(CancelHold hold) { QueryCancelHoldoffCount = hold.count; }

/* These return what to put back. */
inline CancelHold hold_cancels() {
    const CancelHold before = current_hold();
    put_back({1});
    return before;
}

inline CancelHold allow_cancels() {
    const CancelHold before = current_hold();
    put_back({0});
    return before;
}

} // namespace movielens_ingest::pg
