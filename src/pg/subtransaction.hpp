/*
 * subtransaction.hpp - runs work whose error does not end the transaction.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/*
 * Runs work(argument) in a subtransaction. Null: it committed. Else the error that it raised, in a child of the current
 * memory context, and the subtransaction is rolled back. work runs in a memory context of its own, which is deleted
 * afterwards, and must hold no local with a destructor.
 */
ErrorData *try_in_subtransaction(void (*work)(void *), void *argument);

/* The same, but what work has done is rolled back in any case. An error is raised again. */
void run_and_undo(void (*work)(void *), void *argument);

/* Frees an error of try_in_subtransaction(). FreeErrorData would leave the names of its function, file and domain. */
void free_error(ErrorData *error);

/* Somebody cancelled this process; a trigger that raises query_canceled did not. */
bool is_cancel(const ErrorData *error);
/* A lock was not had within lock_timeout; NOWAIT, or a trigger that raises lock_not_available, is something else. */
bool is_lock_timeout(const ErrorData *error);
/* Another try may end without it. */
bool may_pass(const ErrorData *error);

/* The SQLSTATE of an error as text of five characters, in static memory until the next call. */
const char *sqlstate_of(const ErrorData *error);

} // namespace movielens_ingest::pg
