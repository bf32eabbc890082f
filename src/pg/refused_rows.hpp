/*
 * refused_rows.hpp - the result of ml_validate(): refused records as rows of rejected_rows, sorted.
 */
#pragma once

#include "pg/ledger.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/* desc: of rejected_rows. The row is in the current memory context; its ids are null. */
MinimalTuple form_refused_row(TupleDesc desc, const Reject *reject);

/* Within work_mem, beyond that in temporary files. */
struct RefusedRows;

/* In the current memory context, for as long as the current resource owner lives. */
RefusedRows *make_refused_rows(TupleDesc desc);
/* In any order; the row is copied. */
void add_refused_row(RefusedRows *rows, MinimalTuple row);
/* Puts the rows into a store by row_number, of those with the same row_number one, and frees them here. */
void return_refused_rows(RefusedRows *rows, Tuplestorestate *store);

} // namespace movielens_ingest::pg
