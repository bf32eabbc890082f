/*
 * table_share.hpp - SHARE on a table, for this session: it outlives the transaction that takes it, unless that aborts.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/*
 * False: it is not to be had within a moment, or the current user could not take it with LOCK TABLE. Each call that
 * returns true needs one of release_share().
 */
bool take_share(Oid table);
void release_share(Oid table);

/* Somebody waits until we release it. */
bool share_is_wanted(Oid table);

/* This transaction has written to the table, or is about to. */
bool written_here(Oid table);

} // namespace movielens_ingest::pg
