/*
 * heap_pages.hpp - appends tuples to a heap, a whole page at a time.
 *
 * It leaves what heap_multi_insert() leaves, in pages, WAL and statistics, and goes by its rules; what it does in
 * another way is how it comes by pages. These are always new ones at the end of the table, many of them made under one
 * extension lock, and each is filled and logged once. Free space inside the
 * table, and the last page that does not become full, are left to heap_multi_insert().
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/* Whether append_pages() may be used for a heap: not for one that logical decoding reads as a catalog. */
bool takes_whole_pages(Relation heap);

/*
 * Appends the tuples, in their order, as long as they make full pages, and returns how many it has appended. Each of
 * them then has its place in t_self. None may need TOAST (see needs_toast).
 */
int append_pages(Relation heap, HeapTuple *tuples, int count, CommandId command_id, BufferAccessStrategy strategy);

/* heap_prepare_insert() would have the tuple compressed or moved out of line. */
inline bool needs_toast(HeapTuple tuple) { return HeapTupleHasExternal(tuple) || tuple->t_len > TOAST_TUPLE_THRESHOLD; }

} // namespace movielens_ingest::pg
