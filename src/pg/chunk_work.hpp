/*
 * chunk_work.hpp - the work on one attempt at a chunk, as the files chunk_writer, piece_former and piece_writer share
 * it. Not for others.
 */
#pragma once

#include "pg/chunk_loader.hpp"
#include "pg/ledger.hpp"
#include "pg/pg.hpp"
#include "pg/record_reader.hpp"
#include "pg/reject.hpp"
#include "pg/tuple_former.hpp"
#include "pg/writer.hpp"
#include "pg/writer_choice.hpp"

namespace movielens_ingest::pg {

struct ChunkWork {
    const LedgerChunk *chunk;
    Relation target;
    TupleFormer *former;
    Writer *writer;
    List *foreign_keys;    /* to be checked as a set */
    List *self_references; /* see writer_choice.hpp */
    RejectSink *rejects;
    Piece piece;
    HeapTuple *tuples;           /* of the piece; null where a record was refused */
    Refusal *refusals;           /* of the piece; sqlerrcode 0 where a record is not refused, as far as is known */
    MemoryContext piece_context; /* the tuples */
    MemoryContext try_context;   /* what the refusals point to that have not been passed on yet */
    bool references_itself;
    bool orphans_wait; /* in such a table, for records that are not of the piece */
    ChunkCounts counts;
};

/* Refuses a record of the piece. */
void refuse(ChunkWork *work, int record, const Refusal *why);
/* The same, but it is pending: it may go in when all chunks are in. */
void put_off(ChunkWork *work, int record, const Refusal *why);
/* Refuses a record because of an error that it raised when it was tried alone. column: to blame, or null. */
void refuse_for_error(ChunkWork *work, int record, const ErrorData *error, const char *column);

/* Shows how far the chunk is: also when a subtransaction was rolled back, which ends the report. */
void report_work(const ChunkWork *work, uint64 read_bytes);
/* Bytes of the chunk up to the end of a record. */
uint64 bytes_behind(const ChunkWork *work, int record);

/* The memory of a work that has none yet, in the current memory context. */
void make_contexts(ChunkWork *work);
/* chunk_writer.cpp: its former and its writer. */
WriterKind make_writer(ChunkWork *work, const Loader *loader, const Import *import);

/* piece_former.cpp: makes tuples of the piece's records, and refuses those that cannot be made. */
void form_piece(ChunkWork *work);
/* piece_writer.cpp: writes the tuples of the piece, and refuses those that cannot be written. */
void write_piece(ChunkWork *work);

} // namespace movielens_ingest::pg
