#include "pg/same_file.hpp"

#include "core/checksum.hpp"
#include "pg/boundary.hpp"
#include "pg/error_text.hpp"
#include "pg/source_file.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr size_t kBufferSize = 1024 * 1024;

bool has_bytes_of(int fd, const char *path, const core::Chunk *chunk, core::Checksum *checksum, char *buffer) {
    checksum->reset();
    for (uint64 at = chunk->start_byte; at < chunk->end_byte;) {
        const size_t wanted = static_cast<size_t>(Min(chunk->end_byte - at, kBufferSize));
        const size_t size = read_source_file(fd, path, buffer, wanted, at);

        if (size == 0) {
            return false;
        }
        checksum->update(buffer, size);
        at += size;
    }
    return checksum->value() == chunk->checksum;
}

void raise_other_file(const Import *import, const char *detail) {
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("file \"%s\" is not the one that import " INT64_FORMAT " was planned for",
                           show_name(import->path), import->id),
                    errdetail("%s", detail),
                    errhint("Put the file back, or a copy of it, or import the new one with ml_import().")));
}

} // namespace

void require_same_file(const Ledger *ledger, const Import *import) {
    const FileIdentity found = identify_file(check_path(import->path));
    int count;

    if (memcmp(&found, &import->file, sizeof(found)) == 0) {
        return;
    }
    if (found.size != import->file.size) {
        raise_other_file(import, psprintf("Its size was " INT64_FORMAT " bytes and is " INT64_FORMAT " bytes.",
                                          import->file.size, found.size));
    }
    if (import->rows < 0) {
        raise_other_file(import, "It was not planned to the end, so nothing tells whether its bytes are the same.");
    }
    const core::Chunk *chunks = unloaded_chunks(ledger, import->id, &count);
    auto *checksum = construct<core::Checksum>(CurrentMemoryContext);
    auto *buffer = static_cast<char *>(palloc(kBufferSize));
    const int fd = open_source_file(import->path);
    for (int i = 0; i < count; i++) {
        if (!has_bytes_of(fd, import->path, &chunks[i], checksum, buffer)) {
            raise_other_file(import, psprintf("Its bytes from " UINT64_FORMAT " to " UINT64_FORMAT
                                              ", which are not loaded yet, are others.",
                                              chunks[i].start_byte, chunks[i].end_byte));
        }
    }
    close_source_file(fd);
    replace_file(ledger, import->id, &found);
}

bool needs_file(const Ledger *ledger, const Import *import) {
    int count = 0;

    if (import->rows >= 0) {
        (void)unloaded_chunks(ledger, import->id, &count);
    }
    return import->rows < 0 || count > 0;
}

const char *why_file_is_missing(const Ledger *ledger, int64 batch_id) {
    int count;
    const BatchMember *members = read_batch(ledger, batch_id, &count);
    const char *why = nullptr;

    for (int i = 0; i < count && why == nullptr; i++) {
        Import import;

        if (is_open_status(members[i].status) && read_import(ledger, members[i].id, &import) &&
            needs_file(ledger, &import)) {
            why = why_not_planned_file(&import);
        }
    }
    return why;
}

} // namespace movielens_ingest::pg
