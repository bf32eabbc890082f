#include "pg/record_reader.hpp"

#include "pg/boundary.hpp"
#include "core/plain_records.hpp"
#include "pg/error_text.hpp"
#include "pg/pg.hpp"
#include "pg/record_text.hpp"
#include "pg/source_file.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr size_t kPieceSize = 16 * 1024 * 1024;
constexpr int kPieceRecords = 4096; /* in the cache; but each piece takes a subtransaction */
constexpr int kMostPieces = 32;     /* of a chunk, as long as no piece gets more than */
constexpr int kMostPieceRecords = 250000;
constexpr int kPieceFields = 1000000;
/* With its line end: one that is refused has to fit into a row of rejected_rows, beside the reason. */
constexpr size_t kLongestRecord = 1024 * 1024 * 1024 - 64 * 1024;

/* Of a chunk of so many records. */
int most_records(uint64 records, PieceSize size) {
    if (size == PieceSize::InCache) {
        records = Max(records / kMostPieces + 1, static_cast<uint64>(kPieceRecords));
    }
    return static_cast<int>(Min(records, static_cast<uint64>(kMostPieceRecords)));
}

} // namespace

struct RecordReader {
    const Import *import;
    const core::Chunk *chunk;
    core::Checksum *checksum;
    int fd;
    uint64 position; /* in the file, of the piece */
    uint64 row;      /* of its first record */
    uint64 line;     /* of its first record */
    char *buffer;
    size_t buffer_size;
    size_t start;  /* of the piece, in the buffer; */
    size_t taken;  /* so many bytes are those of the piece, */
    size_t filled; /* and so many of the file are there, from start on */
    RecordPlace *records;
    int count;
    int capacity;
    int fields; /* of a plain record */
    size_t line_end_size;
    int most_records; /* in a piece */
    uint32 *ends;     /* room for capacity records */
};

namespace {

void raise_file_changed(const RecordReader *reader) {
    ereport(ERROR,
            (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
             errmsg("file \"%s\" has changed since its import began", show_name(reader->import->path)),
             errdetail("Bytes " UINT64_FORMAT " to " UINT64_FORMAT " are not those that were planned.",
                       static_cast<uint64>(reader->chunk->start_byte), static_cast<uint64>(reader->chunk->end_byte))));
}

Size room_for_ends(const RecordReader *reader) {
    return sizeof(uint32) * static_cast<Size>(reader->capacity) * static_cast<Size>(reader->fields);
}

void make_room(RecordReader *reader) {
    if (reader->count == reader->capacity) {
        reader->capacity = Min(reader->capacity * 2, reader->most_records);
        reader->records = static_cast<RecordPlace *>(
            repalloc_huge(reader->records, sizeof(RecordPlace) * static_cast<Size>(reader->capacity)));
        reader->ends = static_cast<uint32 *>(repalloc_huge(reader->ends, room_for_ends(reader)));
    }
}

/* Adds plain records from pos on, as many as there are and fit, and returns where they end. */
size_t add_plain_records(RecordReader *reader, const core::PlainScanner *scanner, size_t size, size_t pos) {
    const auto fields = static_cast<size_t>(reader->fields);
    uint32 *ends = reader->ends + static_cast<size_t>(reader->count) * fields;
    size_t start = pos;
    const size_t found = scanner->scan(reader->buffer + reader->start, size, &pos,
                                       static_cast<size_t>(reader->capacity - reader->count), ends);

    for (size_t i = 0; i < found; i++) {
        const size_t end = ends[fields - 1];
        reader->records[reader->count++] = {start, end - start, reader->line++, core::RecordFault::None, true};
        start = end + reader->line_end_size;
        ends += fields;
    }
    return pos;
}

void add_record(RecordReader *reader, size_t offset, const core::Record *record) {
    reader->records[reader->count++] = {offset, static_cast<size_t>(record->content), reader->line, record->fault,
                                        false};
    reader->line += record->lines;
}

void fill_buffer(RecordReader *reader) {
    const uint64 from = reader->position + reader->filled;
    const size_t behind = reader->start + reader->filled;
    const size_t wanted =
        static_cast<size_t>(Min(static_cast<uint64>(reader->buffer_size - behind), reader->chunk->end_byte - from));

    if (read_source_file(reader->fd, reader->import->path, reader->buffer + behind, wanted, from) != wanted) {
        raise_file_changed(reader);
    }
    reader->filled += wanted;
}

void enlarge_buffer(RecordReader *reader) {
    if (reader->buffer_size >= kLongestRecord) {
        ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
                        errmsg("record at line " UINT64_FORMAT " of file \"%s\" is too long", reader->line,
                               show_name(reader->import->path)),
                        errdetail("The limit is %zu bytes.", kLongestRecord)));
    }
    reader->buffer_size = Min(reader->buffer_size * 2, kLongestRecord);
    reader->buffer = static_cast<char *>(repalloc_huge(reader->buffer, reader->buffer_size));
}

/* Makes room behind the bytes that are there: whole records are wanted, and there is none. */
void make_room_for_bytes(RecordReader *reader) {
    if (reader->start == 0) {
        enlarge_buffer(reader);
    }
    memmove(reader->buffer, reader->buffer + reader->start, reader->filled);
    reader->start = 0;
}

/* Finds the records in the next size bytes of the buffer, and returns how many bytes they take. */
size_t scan_records(RecordReader *reader, size_t size, bool ends_chunk) {
    const core::Dialect dialect = dialect_of(reader->import);
    const core::PlainScanner plain(dialect, static_cast<size_t>(reader->fields));
    core::RecordScanner scanner(dialect);
    core::Record record;
    size_t start = 0;

    reader->count = 0;
    while (reader->count < reader->most_records) {
        make_room(reader);
        start = add_plain_records(reader, &plain, size, start);
        if (reader->count == reader->capacity) {
            continue;
        }
        size_t pos = start;
        /*
         * At the end of the chunk, a quote that is still open is one that never closes: the planner, who saw the whole
         * file, cut the chunk at the end of a record.
         */
        if (!scanner.next(reader->buffer + reader->start, size, &pos, &record) &&
            !(ends_chunk && scanner.finish(&record))) {
            return start;
        }
        add_record(reader, start, &record);
        start += record.size;
    }
    return start;
}

} // namespace

RecordReader *open_record_reader(const Import *import, const core::Chunk *chunk, PieceSize size) {
    auto *reader = static_cast<RecordReader *>(palloc0(sizeof(RecordReader)));

    reader->import = import;
    reader->chunk = chunk;
    reader->checksum = construct<core::Checksum>(CurrentMemoryContext);
    reader->position = chunk->start_byte;
    reader->row = chunk->start_row;
    reader->line = chunk->start_line;
    reader->buffer_size = Min(kPieceSize, static_cast<size_t>(chunk->end_byte - chunk->start_byte));
    reader->buffer = static_cast<char *>(palloc(reader->buffer_size));
    reader->fields = Max(import->column_count, 1);
    reader->line_end_size = dialect_of(import).line_end == core::LineEnd::CrLf ? 2 : 1;
    reader->most_records =
        Max(Min(most_records(chunk->end_row - chunk->start_row + 1, size), kPieceFields / reader->fields), 1);
    reader->capacity = Min(1024, reader->most_records);
    reader->records = static_cast<RecordPlace *>(palloc(sizeof(RecordPlace) * static_cast<Size>(reader->capacity)));
    reader->ends = static_cast<uint32 *>(palloc(room_for_ends(reader)));
    reader->fd = open_planned_file(import);
    return reader;
}

bool read_piece(RecordReader *reader, Piece *piece) {
    const uint64 end = reader->chunk->end_byte;

    /* Each byte is read once: what the last piece left over is there. */
    reader->filled -= reader->taken;
    reader->start += reader->taken;
    reader->position += reader->taken;
    reader->taken = 0;
    if (reader->position >= end) {
        return false;
    }

    const uint64 first_line = reader->line;
    for (;;) {
        fill_buffer(reader);
        reader->line = first_line;
        reader->taken = scan_records(reader, reader->filled, reader->position + reader->filled == end);
        if (reader->taken > 0) {
            break;
        }
        make_room_for_bytes(reader);
    }
    const char *bytes = reader->buffer + reader->start;
    reader->checksum->update(bytes, reader->taken);

    piece->bytes = bytes;
    piece->start_byte = reader->position;
    piece->first_row = reader->row;
    piece->records = reader->records;
    piece->count = reader->count;
    piece->fields = reader->fields;
    piece->ends = reader->ends;
    piece->is_text =
        PG_VALID_BE_ENCODING(reader->import->encoding) && is_valid_text(bytes, reader->taken, reader->import->encoding);
    reader->row += static_cast<uint64>(reader->count);
    return true;
}

uint64 bytes_read(const RecordReader *reader) { return reader->position + reader->taken - reader->chunk->start_byte; }

void close_record_reader(RecordReader *reader) {
    close_source_file(reader->fd);
    if (reader->checksum->value() != reader->chunk->checksum || reader->row != reader->chunk->end_row + 1) {
        raise_file_changed(reader);
    }
}

} // namespace movielens_ingest::pg
