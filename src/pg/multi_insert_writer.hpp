/*
 * multi_insert_writer.hpp - the fast way into an ordinary table without triggers of its own: CopyFrom's, with batches
 * of table_multi_insert, and its foreign keys are checked by the caller as a set.
 */
#pragma once

#include "pg/pg.hpp"
#include "pg/writer.hpp"

namespace movielens_ingest::pg {

/* In the current memory context. columns: that the file loads, by column_numbers(). */
Writer *make_multi_insert_writer(Relation target, const Bitmapset *columns);

} // namespace movielens_ingest::pg
