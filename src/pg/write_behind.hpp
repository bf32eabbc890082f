/*
 * write_behind.hpp - writes pages out while nobody waits for it. Loading goes round in a ring of buffers
 * (BAS_BULKWRITE), so a page is written when the ring comes round to it again; and that is where the heap is extended,
 * under a lock that all who extend it want.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/* This process has filled a block of the heap, in the ring. */
void remember_filled(Relation heap, BlockNumber block);

/* Writes those of the blocks out that were filled some time ago, and whose buffers will be wanted first. */
void write_out_filled(Relation heap, BufferAccessStrategy ring);

} // namespace movielens_ingest::pg
