/*
 * heap_pages.hpp - appends tuples to a heap, a whole page at a time.
 *
 * It leaves what heap_multi_insert() leaves, in pages, WAL and statistics, and goes by its rules; what it does in
 * another way is how it comes by pages. These are always new ones at the end of the table, many of them made under one
 * extension lock, and each is filled and logged once. Free space inside the table, and what the last one of those pages
 * has left, are for heap_multi_insert().
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/* Whether append_pages() may be used for a heap: not for one that logical decoding reads as a catalog. */
bool takes_whole_pages(Relation heap);

/*
 * How many of the tuples have room on the heap's target block, where heap_multi_insert() puts them if it comes next:
 * append_pages() leaves its last page there. 0: none, or there is no such block.
 */
int count_for_target_page(Relation heap, const HeapTuple *tuples, int count, BufferAccessStrategy ring);

/*
 * Appends the tuples, in their order. Each of them then has its place in t_self. None may need TOAST (see needs_toast).
 * ring: the buffers it goes round in when the cache has no free ones.
 */
void append_pages(Relation heap, HeapTuple *tuples, int count, CommandId command_id, BufferAccessStrategy ring);

/* heap_prepare_insert() would have the tuple compressed or moved out of line. */
inline bool needs_toast(HeapTuple tuple) { return HeapTupleHasExternal(tuple) || tuple->t_len > TOAST_TUPLE_THRESHOLD; }

} // namespace movielens_ingest::pg
