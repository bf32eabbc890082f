#include "pg/source_file.hpp"

#include "pg/error_text.hpp"

namespace movielens_ingest::pg {

namespace {

FileIdentity identity_of(const struct stat *status) {
    FileIdentity identity;

    identity.device = static_cast<int64>(status->st_dev);
    identity.inode = static_cast<int64>(status->st_ino);
    identity.size = status->st_size;
    identity.modified = static_cast<int64>(status->st_mtim.tv_sec) * 1000000000 + status->st_mtim.tv_nsec;
    return identity;
}

bool is_same_file(const FileIdentity *a, const FileIdentity *b) {
    return a->device == b->device && a->inode == b->inode && a->size == b->size && a->modified == b->modified;
}

struct stat status_of(const char *path) {
    struct stat status;

    if (stat(path, &status) != 0) {
        ereport(ERROR, (errcode_for_file_access(), errmsg("could not stat file \"%s\": %m", show_name(path)),
                        errhint("%s", kServerReadsHint)));
    }
    return status;
}

void require_regular_file(const char *path, const struct stat *status) {
    if (S_ISDIR(status->st_mode)) {
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is a directory", show_name(path)),
                        errhint("Name a CSV file in it.")));
    }
    if (!S_ISREG(status->st_mode)) {
        /* A FIFO or a device can be read once only, and by one process. */
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is not a regular file", show_name(path)),
                        errdetail("A file is read in several places at once, so a FIFO, a socket or a device cannot be "
                                  "imported.")));
    }
}

/* The rule of COPY FROM a file (DoCopy). */
void require_file_privilege(const char *path) {
    if (!has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES)) {
        ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                        errmsg("permission denied to read file \"%s\"", show_name(path)),
                        errdetail("Only roles with privileges of the \"%s\" role may import a file of the server.",
                                  "pg_read_server_files")));
    }
}

} // namespace

const char *check_path(const char *path) {
    char *canonical = pstrdup(path);

    require_file_privilege(path);
    if (!is_absolute_path(path)) {
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_NAME), errmsg("relative path not allowed for import: \"%s\"", show_name(path)),
                 errhint("%s", kServerReadsHint)));
    }
    /* It drops ".." with the name before it, and behind a symbolic link that is another directory. */
    if (strstr(canonical, "..") == nullptr) {
        canonicalize_path(canonical);
    }
    return canonical;
}

FileIdentity identify_file(const char *path) {
    /* Before it is opened: opening a device can do something. */
    const struct stat status = status_of(path);

    require_regular_file(path, &status);
    return identity_of(&status);
}

bool is_directory(const char *path) {
    const struct stat status = status_of(path);

    return S_ISDIR(status.st_mode);
}

int open_source_file(const char *path) {
    require_file_privilege(path);

    /* O_NONBLOCK: should the name have become a FIFO's, open() returns all the same. */
    const int fd = OpenTransientFile(path, O_RDONLY | O_NONBLOCK | PG_BINARY);
    if (fd < 0) {
        ereport(ERROR,
                (errcode_for_file_access(), errmsg("could not open file \"%s\" for reading: %m", show_name(path)),
                 errhint("%s", kServerReadsHint)));
    }
    return fd;
}

int open_planned_file(const Import *import) {
    struct stat status;
    const int fd = open_source_file(import->path);

    if (fstat(fd, &status) != 0) {
        ereport(ERROR, (errcode_for_file_access(), errmsg("could not stat file \"%s\": %m", show_name(import->path))));
    }
    require_regular_file(import->path, &status);

    const FileIdentity found = identity_of(&status);
    if (!is_same_file(&found, &import->file)) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("file \"%s\" has changed since its import began", show_name(import->path)),
                        errdetail("Its size was " INT64_FORMAT " bytes and is " INT64_FORMAT
                                  " bytes; its modification time, inode or device may differ too.",
                                  import->file.size, found.size)));
    }
    return fd;
}

const char *why_not_planned_file(const Import *import) {
    struct stat status;

    if (stat(import->path, &status) != 0) {
        const int error = errno;
        return psprintf("could not stat file \"%s\": %s", show_name(import->path), strerror(error));
    }
    const FileIdentity found = identity_of(&status);
    if (!S_ISREG(status.st_mode) || !is_same_file(&found, &import->file)) {
        return psprintf("file \"%s\" has changed since, or is a copy", show_name(import->path));
    }
    return nullptr;
}

void close_source_file(int fd) { CloseTransientFile(fd); }

size_t read_source_file(int fd, const char *path, char *buffer, size_t size, uint64 offset) {
    size_t have = 0;

    while (have < size) {
        CHECK_FOR_INTERRUPTS();
        pgstat_report_wait_start(WAIT_EVENT_COPY_FILE_READ);
        const ssize_t got = pread(fd, buffer + have, size - have, static_cast<off_t>(offset + have));
        pgstat_report_wait_end();
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            ereport(ERROR, (errcode_for_file_access(), errmsg("could not read file \"%s\": %m", show_name(path))));
        }
        if (got == 0) {
            break;
        }
        have += static_cast<size_t>(got);
    }
    return have;
}

} // namespace movielens_ingest::pg
