/*
 * heap_extension.hpp - new pages at the end of a heap: mdzeroextend() and ExtendBufferedRelBy() of PostgreSQL 16, for
 * 15, whose way to a new page writes zeroes to the file for each.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/* So many at most can be asked for: their buffers are all locked. */
constexpr int kMostNewPages = 32;

/*
 * Adds so many empty pages to a heap, on disk too, so that space for them is not lacking later. Their buffers are
 * pinned, and locked exclusively since before anybody could see the pages. Nothing is logged of it: a page is to be
 * filled and logged, or left as it is.
 */
void add_pages(Relation heap, int count, BufferAccessStrategy strategy, Buffer *buffers);

} // namespace movielens_ingest::pg
