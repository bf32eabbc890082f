#include "pg/header.hpp"

#include "core/field_splitter.hpp"
#include "core/record_scanner.hpp"
#include "pg/boundary.hpp"
#include "pg/pg.hpp"
#include "pg/record_text.hpp"
#include "pg/source_file.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr size_t kHeaderLimit = 1024 * 1024; /* 1600 columns with names of 63 bytes take a tenth of it */
constexpr char kByteOrderMark[] = "\xEF\xBB\xBF";
constexpr size_t kByteOrderMarkSize = sizeof(kByteOrderMark) - 1;

const char *comma_list(const char *const *names, int count) {
    StringInfoData list;

    initStringInfo(&list);
    for (int i = 0; i < count; i++) {
        appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", names[i]);
    }
    return list.data;
}

/* Both lists, for an error that says why the header does not fit. */
int errdetail_columns(const char *const *names, int count, Relation target) {
    const TupleDesc desc = RelationGetDescr(target);
    auto *columns = static_cast<const char **>(palloc(sizeof(char *) * Max(desc->natts, 1)));
    int column_count = 0;

    for (int i = 0; i < desc->natts; i++) {
        if (!TupleDescAttr(desc, i)->attisdropped) {
            columns[column_count++] = NameStr(TupleDescAttr(desc, i)->attname);
        }
    }
    return errdetail("The header has the columns (%s); the table has (%s).", comma_list(names, count),
                     comma_list(columns, column_count));
}

/* The column of that very name, else the only one of that name in another letter case. Null: none. */
const char *find_column(Relation target, const char *name, bool *ambiguous, bool *generated) {
    const TupleDesc desc = RelationGetDescr(target);
    const char *found = nullptr;

    *ambiguous = false;
    *generated = false;
    for (int i = 0; i < desc->natts; i++) {
        const Form_pg_attribute attribute = TupleDescAttr(desc, i);
        const char *column = NameStr(attribute->attname);

        if (attribute->attisdropped || pg_strcasecmp(column, name) != 0) {
            continue;
        }
        const bool exact = strcmp(column, name) == 0;
        if (exact || found == nullptr) {
            found = column;
            *generated = attribute->attgenerated != '\0';
            *ambiguous = false;
        } else {
            *ambiguous = true;
        }
        if (exact) {
            break;
        }
    }
    return found;
}

void match_columns(Import *import, Relation target, const char *const *names, int count) {
    import->column_count = count;
    import->columns = static_cast<const char **>(palloc(sizeof(char *) * Max(count, 1)));

    for (int i = 0; i < count; i++) {
        bool ambiguous;
        bool generated;
        const char *column = find_column(target, names[i], &ambiguous, &generated);

        if (column == nullptr) {
            ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
                            errmsg("the header of file \"%s\" does not fit table \"%s\": there is no column \"%s\"",
                                   import->path, RelationGetRelationName(target), names[i]),
                            errdetail_columns(names, count, target)));
        }
        if (ambiguous) {
            ereport(ERROR, (errcode(ERRCODE_AMBIGUOUS_COLUMN),
                            errmsg("column \"%s\" in the header of file \"%s\" is ambiguous", names[i], import->path),
                            errdetail_columns(names, count, target)));
        }
        if (generated) {
            /* As COPY words it (CopyGetAttnums). */
            ereport(ERROR,
                    (errcode(ERRCODE_INVALID_COLUMN_REFERENCE), errmsg("column \"%s\" is a generated column", column),
                     errdetail("Generated columns cannot be loaded.")));
        }
        for (int j = 0; j < i; j++) {
            if (strcmp(import->columns[j], column) == 0) {
                ereport(ERROR, (errcode(ERRCODE_DUPLICATE_COLUMN),
                                errmsg("column \"%s\" is named more than once in the header of file \"%s\"", column,
                                       import->path),
                                errdetail_columns(names, count, target)));
            }
        }
        import->columns[i] = pstrdup(column);
    }
}

} // namespace

void read_header(Import *import, Relation target) {
    if (import->file.size == 0) {
        ereport(ERROR, (errcode(ERRCODE_BAD_COPY_FILE_FORMAT), errmsg("file \"%s\" is empty", import->path),
                        errhint("The first line of a file names its columns.")));
    }

    auto *buffer = static_cast<char *>(palloc(kHeaderLimit));
    const int fd = open_planned_file(import);
    const size_t size = read_source_file(fd, import->path, buffer, kHeaderLimit, 0);
    close_source_file(fd);

    const bool marked = import->encoding == PG_UTF8 && size >= kByteOrderMarkSize &&
                        memcmp(buffer, kByteOrderMark, kByteOrderMarkSize) == 0;
    const size_t start = marked ? kByteOrderMarkSize : 0;
    size_t pos = start;
    core::Dialect dialect;
    core::RecordScanner scanner(dialect);
    core::Record record;

    bool found = scanner.next(buffer, size, &pos, &record);
    if (!found && size < kHeaderLimit) {
        found = scanner.finish(&record); /* a header without a line end, and nothing behind it */
    }
    if (!found || record.fault != core::RecordFault::None) {
        ereport(ERROR, (errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
                        errmsg("file \"%s\" has no header that could be read", import->path),
                        errdetail("Its first record is malformed, or longer than %zu bytes.", kHeaderLimit)));
    }

    /* Only a file without data records can have an unknown line end here. */
    dialect.line_end = scanner.line_end() == core::LineEnd::Unknown ? core::LineEnd::Lf : scanner.line_end();
    import->line_end = dialect.line_end;
    import->data_start = static_cast<int64>(start + record.size);
    import->data_line = 1 + static_cast<int64>(record.lines);

    size_t content = record.content;
    const char *text = convert_text(buffer + start, &content, import->encoding);
    auto *splitter = construct<core::FieldSplitter>(CurrentMemoryContext, dialect);
    if (splitter->split(text, content) != core::SplitResult::Ok) {
        ereport(ERROR, (errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
                        errmsg("the header of file \"%s\" cannot be split into columns", import->path)));
    }
    const int count = static_cast<int>(splitter->count());
    auto **names = static_cast<char **>(palloc(sizeof(char *) * Max(count, 1)));
    for (int i = 0; i < count; i++) {
        const core::Field field = splitter->fields()[i];
        names[i] = field.data == nullptr ? pstrdup("") : pnstrdup(field.data, field.size);
    }
    match_columns(import, target, names, count);
}

} // namespace movielens_ingest::pg
