#include "pg/shared_validation.hpp"

#include "core/chunk_planner.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr uint32 kMagic = 0x6d6c7631; /* "mlv1" */
constexpr Size kChunkQueueSize = 1024;
constexpr Size kRowQueueSize = 256 * 1024;

/* Whoever hands out a chunk never waits: the header of a queue and the lengths of its messages take less than that. */
static_assert(kChunkQueueSize >= 512 + kMostChunksGiven * sizeof(core::Chunk));

char *queues(SharedValidation *shared) { return reinterpret_cast<char *>(shared) + MAXALIGN(sizeof(SharedValidation)); }

void put_text(StringInfo buffer, const char *text) {
    const bool null = text == nullptr;

    appendBinaryStringInfo(buffer, reinterpret_cast<const char *>(&null), sizeof(null));
    if (!null) {
        appendBinaryStringInfo(buffer, text, static_cast<int>(strlen(text)) + 1);
    }
}

void put_flags(StringInfo buffer, const bool *flags, int count) {
    for (int i = 0; i < count; i++) {
        const bool flag = flags != nullptr && flags[i];
        appendBinaryStringInfo(buffer, reinterpret_cast<const char *>(&flag), sizeof(flag));
    }
}

/* The import as bytes; its pointers are replaced when it is read. */
void put_import(StringInfo buffer, const Import *import) {
    appendBinaryStringInfo(buffer, reinterpret_cast<const char *>(import), sizeof(Import));
    put_text(buffer, import->path);
    put_text(buffer, import->target);
    put_text(buffer, import->options.null_string);
    put_text(buffer, import->options.encoding);
    for (int i = 0; i < import->column_count; i++) {
        put_text(buffer, import->columns[i]);
    }
    put_flags(buffer, import->force_null, import->column_count);
    put_flags(buffer, import->force_not_null, import->column_count);
    for (int i = 0; i < import->setting_count; i++) {
        appendBinaryStringInfo(buffer, reinterpret_cast<const char *>(&import->settings[i]), sizeof(Setting));
        put_text(buffer, import->settings[i].name);
        put_text(buffer, import->settings[i].value);
    }
}

void get_bytes(const char **from, void *to, Size size) {
    memcpy(to, *from, size);
    *from += size;
}

const char *get_text(const char **from) {
    bool null;

    get_bytes(from, &null, sizeof(null));
    if (null) {
        return nullptr;
    }
    const char *text = pstrdup(*from);
    *from += strlen(text) + 1;
    return text;
}

bool *get_flags(const char **from, int count) {
    auto *flags = static_cast<bool *>(palloc(Max(count, 1)));

    get_bytes(from, flags, static_cast<Size>(count));
    return flags;
}

} // namespace

dsm_segment *create_shared_validation(const Import *import, Oid row_type, int workers) {
    StringInfoData bytes;

    initStringInfo(&bytes);
    put_import(&bytes, import);
    const Size import_offset =
        MAXALIGN(sizeof(SharedValidation)) + (kChunkQueueSize + kRowQueueSize) * static_cast<Size>(workers);
    dsm_segment *segment = dsm_create(import_offset + static_cast<Size>(bytes.len), DSM_CREATE_NULL_IF_MAXSEGMENTS);
    if (segment == nullptr) {
        return nullptr;
    }

    auto *shared = static_cast<SharedValidation *>(dsm_segment_address(segment));
    shared->magic = kMagic;
    shared->session_pid = MyProcPid;
    shared->session_pgprocno = MyProc->pgprocno;
    shared->identity = current_identity();
    shared->row_type = row_type;
    shared->read_only = XactReadOnly;
    shared->workers = workers;
    shared->import_offset = import_offset;
    memcpy(reinterpret_cast<char *>(shared) + import_offset, bytes.data, static_cast<size_t>(bytes.len));
    for (int worker = 0; worker < workers; worker++) {
        shm_mq_set_sender(shm_mq_create(chunk_queue(shared, worker), kChunkQueueSize), MyProc);
        shm_mq_set_receiver(shm_mq_create(row_queue(shared, worker), kRowQueueSize), MyProc);
    }
    return segment;
}

dsm_segment *attach_shared_validation(dsm_handle handle) {
    Assert(CurrentResourceOwner == nullptr);
    dsm_segment *segment = dsm_attach(handle);

    if (segment != nullptr && shared_validation(segment)->magic != kMagic) {
        elog(ERROR, "shared memory of a validation has bad magic");
    }
    return segment;
}

SharedValidation *shared_validation(dsm_segment *segment) {
    return static_cast<SharedValidation *>(dsm_segment_address(segment));
}

Import *read_shared_import(const SharedValidation *shared) {
    const char *from = reinterpret_cast<const char *>(shared) + shared->import_offset;
    auto *import = static_cast<Import *>(palloc(sizeof(Import)));

    get_bytes(&from, import, sizeof(Import));
    import->path = get_text(&from);
    import->target = get_text(&from);
    import->options.null_string = get_text(&from);
    import->options.encoding = get_text(&from);
    import->options.columns = import->options.force_null = import->options.force_not_null = NIL; /* stand below */
    import->columns =
        static_cast<const char **>(palloc(sizeof(char *) * static_cast<Size>(Max(import->column_count, 1))));
    for (int i = 0; i < import->column_count; i++) {
        import->columns[i] = get_text(&from);
    }
    import->force_null = get_flags(&from, import->column_count);
    import->force_not_null = get_flags(&from, import->column_count);
    import->settings =
        static_cast<Setting *>(palloc(sizeof(Setting) * static_cast<Size>(Max(import->setting_count, 1))));
    for (int i = 0; i < import->setting_count; i++) {
        get_bytes(&from, &import->settings[i], sizeof(Setting));
        import->settings[i].name = get_text(&from);
        import->settings[i].value = get_text(&from);
    }
    return import;
}

shm_mq *chunk_queue(SharedValidation *shared, int worker) {
    return reinterpret_cast<shm_mq *>(queues(shared) + (kChunkQueueSize + kRowQueueSize) * static_cast<Size>(worker));
}

shm_mq *row_queue(SharedValidation *shared, int worker) {
    return reinterpret_cast<shm_mq *>(reinterpret_cast<char *>(chunk_queue(shared, worker)) + kChunkQueueSize);
}

} // namespace movielens_ingest::pg
