#include "pg/scattered_records.hpp"

#include "core/record_scanner.hpp"
#include "pg/error_text.hpp"
#include "pg/pg.hpp"
#include "pg/source_file.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr size_t kFirstRead = 1024; /* most records are shorter */

struct Buffer {
    char *bytes;
    size_t size;
    size_t capacity;
};

/* Room for so many bytes behind those that are there. */
char *make_room(Buffer *buffer, size_t size) {
    if (buffer->size + size > buffer->capacity) {
        buffer->capacity = Max(buffer->capacity * 2, buffer->size + size);
        buffer->bytes = static_cast<char *>(repalloc_huge(buffer->bytes, buffer->capacity));
    }
    return buffer->bytes + buffer->size;
}

void raise_file_changed(const Import *import, const PendingRecord *record) {
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("file \"%s\" has changed since its import began", show_name(import->path)),
                    errdetail("The record at line " INT64_FORMAT " is not there any more.", record->line_number)));
}

/* Reads it behind the bytes that are there. At the end of its chunk a record ends too: see record_reader.cpp. */
core::Record read_record(const Import *import, int fd, const PendingRecord *record, Buffer *buffer) {
    const auto most = static_cast<size_t>(record->chunk_end - record->start_byte);

    for (size_t size = Min(kFirstRead, most);; size = Min(size * 2, most)) {
        core::RecordScanner scanner(dialect_of(import));
        core::Record found;
        size_t pos = 0;
        char *bytes = make_room(buffer, size);

        if (read_source_file(fd, import->path, bytes, size, static_cast<uint64>(record->start_byte)) != size) {
            raise_file_changed(import, record);
        }
        if (scanner.next(bytes, size, &pos, &found) || (size == most && scanner.finish(&found))) {
            return found;
        }
        if (size == most) {
            raise_file_changed(import, record);
        }
    }
}

} // namespace

Piece read_scattered_records(const Import *import, const PendingRecord *records, int count, size_t most_bytes) {
    Buffer buffer = {static_cast<char *>(palloc(kFirstRead)), 0, kFirstRead};
    auto *places = static_cast<RecordPlace *>(
        MemoryContextAllocHuge(CurrentMemoryContext, sizeof(RecordPlace) * static_cast<Size>(count)));
    Piece piece;

    memset(&piece, 0, sizeof(piece));
    piece.fields = 1;
    piece.records = places;
    const int fd = open_planned_file(import);
    while (piece.count < count && (piece.count == 0 || buffer.size < most_bytes)) {
        const PendingRecord *record = &records[piece.count];

        CHECK_FOR_INTERRUPTS();
        const core::Record found = read_record(import, fd, record, &buffer);
        places[piece.count++] = {buffer.size, static_cast<size_t>(found.content),
                                 static_cast<uint64>(record->line_number), found.fault, false};
        buffer.size += static_cast<size_t>(found.content);
    }
    close_source_file(fd);
    piece.bytes = buffer.bytes;
    return piece;
}

} // namespace movielens_ingest::pg
