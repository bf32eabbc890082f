/*
 * column_list.hpp - which columns of the target the fields of a file are for. Names are found in any letter case.
 */
#pragma once

#include "pg/ledger.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/* True: some column has one of these names. */
bool names_some_column(Relation target, const char *const *names, int count);

/*
 * Each of these sets columns and column_count. By the names in the header, in any order: raises 42703, 42701, 42702 or
 * 42P10 for one that does not fit the table; looks_like_data: with a hint. By the option, with the same SQLSTATEs. All
 * columns that can be loaded, in the table's order, as COPY has them.
 */
void set_columns_by_header(Import *import, Relation target, const char *const *names, int count, bool looks_like_data);
void set_columns_by_option(Import *import, Relation target);
void set_all_columns(Import *import, Relation target);

/* Sets force_null and force_not_null by the options. Raises the same, and 42P10 for a column that is not loaded. */
void set_forced_columns(Import *import, Relation target);

} // namespace movielens_ingest::pg
