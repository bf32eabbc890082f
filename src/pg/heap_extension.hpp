/*
 * heap_extension.hpp - new pages at the end of a heap: by ExtendBufferedRelBy() from PostgreSQL 16 on. 15 would write
 * zeroes to the file for each: there we do as mdzeroextend() of later servers, and wherever write_zeros is asked for.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/* So many at most can be asked for: their buffers are all locked. */
constexpr int kMostNewPages = 32;

/*
 * Adds so many empty pages to a heap, on disk too, so that space for them is not lacking later. Their buffers are
 * pinned and locked exclusively, and nobody else has put anything on them. Nothing is logged of it: a page is to be
 * filled and logged, or left as it is.
 */
void add_pages(Relation heap, int count, BufferAccessStrategy strategy, Buffer *buffers);

} // namespace movielens_ingest::pg
