#include "pg/data_set.hpp"

#include "pg/error_text.hpp"
#include "pg/ledger.hpp"
#include "pg/movielens_tables.hpp"
#include "pg/register_import.hpp"
#include "pg/source_file.hpp"
#include "pg/target.hpp"

namespace movielens_ingest::pg {

namespace {

/* The names of the files, by table; null: missing. */
void find_files(const char *directory, const char **names) {
    DIR *dir = AllocateDir(directory);
    const dirent *entry;

    if (dir == nullptr) {
        ereport(ERROR, (errcode_for_file_access(), errmsg("could not open directory \"%s\": %m", show_name(directory)),
                        errhint("%s", kServerReadsHint)));
    }
    while ((entry = ReadDir(dir, directory)) != nullptr) {
        const size_t length = strlen(entry->d_name);
        const DataTable *table = length > 4 && pg_strcasecmp(entry->d_name + length - 4, ".csv") == 0
                                     ? data_table_of_file(entry->d_name)
                                     : nullptr;
        const auto index = table != nullptr ? table - kDataTables : -1;

        if (index >= 0 && names[index] != nullptr) {
            const bool sorted = strcmp(names[index], entry->d_name) < 0;
            ereport(ERROR,
                    (errcode(ERRCODE_AMBIGUOUS_PARAMETER),
                     errmsg("directory \"%s\" has two files for table \"%s\"", show_name(directory), table->name),
                     errdetail("They are \"%s\" and \"%s\".", show_name(sorted ? names[index] : entry->d_name),
                               show_name(sorted ? entry->d_name : names[index])),
                     errhint("Import them one by one with ml_import().")));
        }
        if (index >= 0) {
            names[index] = pstrdup(entry->d_name);
        }
    }
    FreeDir(dir);
}

void report_missing(const char *directory, const char *const *names, bool strict) {
    StringInfoData missing;
    int count = 0;

    initStringInfo(&missing);
    for (int i = 0; i < kDataTableCount; i++) {
        if (names[i] == nullptr) {
            appendStringInfo(&missing, "%s%s", count > 0 ? ", " : "", kDataTables[i].usual_file);
            count++;
        }
    }
    if (count == kDataTableCount) {
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FILE),
                        errmsg("directory \"%s\" has no file of MovieLens", show_name(directory)),
                        errdetail("It was searched for %s.", missing.data)));
    }
    if (count > 0) {
        ereport(strict ? ERROR : NOTICE,
                (errcode(strict ? ERRCODE_UNDEFINED_FILE : ERRCODE_SUCCESSFUL_COMPLETION),
                 errmsg("directory \"%s\" does not have %s", show_name(directory), missing.data)));
    }
}

} // namespace

DataSetImport *register_data_set(Oid schema, const char *path, bool strict, const ImportOptions *options, int *count) {
    const char *directory = check_path(path);
    const char *names[kDataTableCount] = {};
    auto *imports = static_cast<DataSetImport *>(palloc(sizeof(DataSetImport) * kDataTableCount));
    int64 batch_id = 0;

    if (!is_directory(directory)) {
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is not a directory", show_name(directory)),
                        errhint("Import a single file with ml_import().")));
    }
    find_files(directory, names);
    report_missing(directory, names, strict);
    *count = 0;
    for (const char *name : names) {
        if (name != nullptr) {
            const Import import =
                register_import(schema, psprintf("%s/%s", directory, name), InvalidOid, options, batch_id);

            batch_id = import.batch_id;
            imports[(*count)++] = {import.id, name, import.target_oid};
        }
    }
    return imports;
}

} // namespace movielens_ingest::pg
