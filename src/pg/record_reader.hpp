/*
 * record_reader.hpp - reads the records of one chunk, a piece of whole records at a time.
 */
#pragma once

#include "core/checksum.hpp"
#include "core/chunk_planner.hpp"
#include "core/record_scanner.hpp"
#include "pg/ledger.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/* Where a record stands. */
struct RecordPlace {
    size_t offset;      /* in the piece's bytes */
    size_t size;        /* without its line end */
    uint64 line_number; /* in the file, where it starts */
    core::RecordFault fault;
    bool plain; /* as core/plain_records.hpp has it: its fields are known */
};

/* Consecutive records, valid until the next piece is read. */
struct Piece {
    const char *bytes;
    uint64 start_byte; /* in the file */
    uint64 first_row;  /* number of its first record among the data records of the file */
    const RecordPlace *records;
    int count;
    int fields;         /* of a plain record */
    const uint32 *ends; /* see ends_of() */
    bool is_text;       /* all of the bytes are valid in the encoding of the database as they stand */
};

/* The offsets in the piece's bytes of the ends of a plain record's fields. */
inline const uint32 *ends_of(const Piece *piece, int index) {
    return piece->ends + static_cast<size_t>(index) * static_cast<size_t>(piece->fields);
}

/* A piece that is one record, which need not be plain. */
inline Piece piece_of_record(const char *bytes, const RecordPlace *record) {
    return {bytes, 0, 1, record, 1, 0, nullptr, false};
}

struct RecordReader;

/*
 * How large pieces are. Each is up to 16 MB, a million fields and 250,000 records. InCache: and 4,096 records (more of
 * a chunk that would take more than 32), so that what is made of them stays in the processor's cache.
 */
enum class PieceSize : uint8_t { InCache, Whole };

/* Opens the file, in the current transaction; memory comes from the current context. Raises 55000 if it has changed. */
RecordReader *open_record_reader(const Import *import, const core::Chunk *chunk, PieceSize size);

/* The next piece. False: there is no more. */
bool read_piece(RecordReader *reader, Piece *piece);

/* Bytes of the chunk that have been read. */
uint64 bytes_read(const RecordReader *reader);

/* Closes the file. Raises 55000 if the chunk did not have the bytes and the records that were planned. */
void close_record_reader(RecordReader *reader);

} // namespace movielens_ingest::pg
