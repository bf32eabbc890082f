#include "pg/shared_validation.hpp"

#include "core/chunk_planner.hpp"
#include "pg/library_build.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr uint32 kMagic = 0x6d6c7631; /* "mlv1" */
constexpr Size kChunkQueueSize = 1024;
constexpr Size kRowQueueSize = 256 * 1024;

/* Whoever hands out a chunk never waits: the header of a queue and the lengths of its messages take less than that. */
static_assert(kChunkQueueSize >= 512 + kMostChunksGiven * sizeof(core::Chunk));

char *queues(SharedValidation *shared) { return reinterpret_cast<char *>(shared) + MAXALIGN(sizeof(SharedValidation)); }

/* What has no pointer in it: a struct goes member by member. */
template <typename Value> void put(StringInfo buffer, Value value) {
    static_assert(std::is_arithmetic_v<Value> || std::is_enum_v<Value>);
    appendBinaryStringInfo(buffer, reinterpret_cast<const char *>(&value), sizeof(value));
}

void put_text(StringInfo buffer, const char *text) {
    const bool null = text == nullptr;

    put(buffer, null);
    if (!null) {
        appendBinaryStringInfo(buffer, text, static_cast<int>(strlen(text)) + 1);
    }
}

void put_flags(StringInfo buffer, const bool *flags, int count) {
    for (int i = 0; i < count; i++) {
        put(buffer, flags != nullptr && flags[i]);
    }
}

void put_file(StringInfo buffer, const FileIdentity *file) {
    put(buffer, file->device);
    put(buffer, file->inode);
    put(buffer, file->size);
    put(buffer, file->modified);
}

/* How the file is written. The other options are for the session, or for what loads; names of columns stand below. */
void put_options(StringInfo buffer, const ImportOptions *options) {
    put(buffer, options->header);
    put(buffer, options->delimiter);
    put(buffer, options->quote);
    put(buffer, options->escape);
    put_text(buffer, options->null_string);
}

/* As much of the import as a worker needs, for get_import(). */
void put_import(StringInfo buffer, const Import *import) {
    put_text(buffer, import->path);
    put_text(buffer, import->target);
    put(buffer, import->target_oid);
    put_file(buffer, &import->file);
    put_options(buffer, &import->options);
    put(buffer, import->encoding);
    put(buffer, import->line_end);
    put(buffer, import->column_count);
    for (int i = 0; i < import->column_count; i++) {
        put_text(buffer, import->columns[i]);
    }
    put_flags(buffer, import->force_null, import->column_count);
    put_flags(buffer, import->force_not_null, import->column_count);
    put(buffer, import->setting_count);
    for (int i = 0; i < import->setting_count; i++) {
        const Setting *setting = &import->settings[i];
        put_text(buffer, setting->name);
        put_text(buffer, setting->value);
        put(buffer, setting->context);
        put(buffer, setting->role);
    }
}

template <typename Value> void get(const char **from, Value *value) {
    static_assert(std::is_arithmetic_v<Value> || std::is_enum_v<Value>);
    memcpy(value, *from, sizeof(Value));
    *from += sizeof(Value);
}

const char *get_text(const char **from) {
    bool null;

    get(from, &null);
    if (null) {
        return nullptr;
    }
    const char *text = pstrdup(*from);
    *from += strlen(text) + 1;
    return text;
}

bool *get_flags(const char **from, int count) {
    auto *flags = static_cast<bool *>(palloc(static_cast<Size>(Max(count, 1))));

    for (int i = 0; i < count; i++) {
        get(from, &flags[i]);
    }
    return flags;
}

void get_file(const char **from, FileIdentity *file) {
    get(from, &file->device);
    get(from, &file->inode);
    get(from, &file->size);
    get(from, &file->modified);
}

void get_options(const char **from, ImportOptions *options) {
    get(from, &options->header);
    get(from, &options->delimiter);
    get(from, &options->quote);
    get(from, &options->escape);
    options->null_string = get_text(from);
}

Import *get_import(const char *from) {
    auto *import = static_cast<Import *>(palloc0(sizeof(Import)));

    import->path = get_text(&from);
    import->target = get_text(&from);
    get(&from, &import->target_oid);
    get_file(&from, &import->file);
    get_options(&from, &import->options);
    get(&from, &import->encoding);
    get(&from, &import->line_end);
    get(&from, &import->column_count);
    import->columns =
        static_cast<const char **>(palloc(sizeof(char *) * static_cast<Size>(Max(import->column_count, 1))));
    for (int i = 0; i < import->column_count; i++) {
        import->columns[i] = get_text(&from);
    }
    import->force_null = get_flags(&from, import->column_count);
    import->force_not_null = get_flags(&from, import->column_count);
    get(&from, &import->setting_count);
    import->settings =
        static_cast<Setting *>(palloc(sizeof(Setting) * static_cast<Size>(Max(import->setting_count, 1))));
    for (int i = 0; i < import->setting_count; i++) {
        Setting *setting = &import->settings[i];
        setting->name = get_text(&from);
        setting->value = get_text(&from);
        get(&from, &setting->context);
        get(&from, &setting->role);
    }
    return import;
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
    shared->magic = 0;
    shared->session_pid = MyProcPid;
    shared->identity = current_identity();
    shared->row_type = row_type;
    shared->workers = workers;
    shared->import_offset = import_offset;
    memcpy(reinterpret_cast<char *>(shared) + import_offset, bytes.data, static_cast<size_t>(bytes.len));
    for (int worker = 0; worker < workers; worker++) {
        shm_mq_set_sender(shm_mq_create(chunk_queue(shared, worker), kChunkQueueSize), MyProc);
        shm_mq_set_receiver(shm_mq_create(row_queue(shared, worker), kRowQueueSize), MyProc);
    }
    pg_write_barrier(); /* pairs with the one in attach_shared_validation() */
    shared->magic = magic_of_build(kMagic);
    return segment;
}

dsm_segment *attach_shared_validation(dsm_handle handle) {
    Assert(CurrentResourceOwner == nullptr);
    dsm_segment *segment = dsm_attach(handle);

    if (segment != nullptr && shared_validation(segment)->magic != magic_of_build(kMagic)) {
        elog(ERROR, "shared memory of a validation has bad magic");
    }
    pg_read_barrier(); /* pairs with the one in create_shared_validation() */
    return segment;
}

SharedValidation *shared_validation(dsm_segment *segment) {
    return static_cast<SharedValidation *>(dsm_segment_address(segment));
}

Import *read_shared_import(const SharedValidation *shared) {
    return get_import(reinterpret_cast<const char *>(shared) + shared->import_offset);
}

shm_mq *chunk_queue(SharedValidation *shared, int worker) {
    return reinterpret_cast<shm_mq *>(queues(shared) + (kChunkQueueSize + kRowQueueSize) * static_cast<Size>(worker));
}

shm_mq *row_queue(SharedValidation *shared, int worker) {
    return reinterpret_cast<shm_mq *>(reinterpret_cast<char *>(chunk_queue(shared, worker)) + kChunkQueueSize);
}

} // namespace movielens_ingest::pg
