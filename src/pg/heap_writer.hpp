/*
 * heap_writer.hpp - the fast way into an ordinary table without triggers of its own: tuples into the heap, whole pages
 * of them where that is allowed, then their index entries. Foreign keys are checked by the caller as a set.
 */
#pragma once

#include "pg/pg.hpp"
#include "pg/writer.hpp"

namespace movielens_ingest::pg {

/*
 * In the current memory context. columns: that the file loads, by column_numbers(). whole_pages: where tuples fill
 * pages these are appended to the table; otherwise heap_multi_insert() puts all tuples where there is room.
 */
Writer *make_heap_writer(Relation target, const Bitmapset *columns, bool whole_pages);

} // namespace movielens_ingest::pg
