/*
 * reject.hpp - a record that was refused, and who is told of it.
 */
#pragma once

#include "pg/ledger.hpp"
#include "pg/pg.hpp"
#include "pg/record_reader.hpp"
#include "pg/refusal.hpp"

namespace movielens_ingest::pg {

/* In the current memory context. encoding: of the file. */
Reject make_reject(const Piece *piece, int index, const Refusal *why, int encoding);

/* For one chunk. */
class RejectSink {
  public:
    /* A record of a piece is refused. Not to be called in a subtransaction that may yet be rolled back. */
    virtual void refuse(const Piece *piece, int index, const Refusal *why) = 0;

    /* The same for one that is to be tried again when all chunks are in; until then it counts for nothing. */
    virtual void put_off(const Piece *piece, int index, const Refusal *why) { refuse(piece, index, why); }

    /* Behind the last record of the chunk. */
    virtual void finish() = 0;

  protected:
    ~RejectSink() = default;
};

} // namespace movielens_ingest::pg
