#include "pg/incarnation.hpp"

namespace movielens_ingest::pg {

namespace {

/*
 * Where the server's files are: a hash, for the path itself is not everybody's to see (data_directory is
 * GUC_SUPERUSER_ONLY). The control file is written in place for as long as the server lives (update_controlfile), and
 * whatever restores or copies a data directory makes a new one. Its device is left out: it may have another number when
 * the machine has started again.
 */
uint64 hash_directory() {
    char path[MAXPGPATH];
    struct stat status;

    if (stat(XLOG_CONTROL_FILE, &status) != 0) {
        ereport(ERROR, (errcode_for_file_access(), errmsg("could not stat file \"%s\": %m", XLOG_CONTROL_FILE)));
    }
    if (getcwd(path, sizeof(path)) == nullptr) { /* DataDir, without symbolic links */
        ereport(ERROR, (errcode_for_file_access(), errmsg("could not identify current directory: %m")));
    }
    return hash_bytes_extended(reinterpret_cast<const unsigned char *>(path), static_cast<int>(strlen(path)),
                               static_cast<uint64>(status.st_ino));
}

} // namespace

const char *describe_incarnation() {
    return psprintf("{\"system\": \"" UINT64_FORMAT
                    "\", \"database\": %u, \"timeline\": %u, \"directory\": \"%016" PRIx64 "\"}",
                    GetSystemIdentifier(), MyDatabaseId, GetWALInsertionTimeLine(), hash_directory());
}

} // namespace movielens_ingest::pg
