/*
 * refusal.hpp - why a record cannot be loaded: an error that was found without being raised, or caught.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

struct Refusal {
    int sqlerrcode; /* as COPY would give it; 0: there is none */
    const char *message;
    const char *detail; /* or null */
    const char *column; /* to blame; or null */
};

/* An error is a record's own, by its SQLSTATE (core::error_fate), or a violated policy. */
bool is_records_own(const ErrorData *error);

/*
 * An error of an input function is the value's own: so is one of class 42, with which some of them refuse a value
 * (regclass, jsonpath, tsquery).
 */
bool is_values_own(const ErrorData *error);

/* In the given memory context, with texts as error_text.hpp clips them. */
Refusal copy_refusal(const Refusal *why, MemoryContext context);

} // namespace movielens_ingest::pg
