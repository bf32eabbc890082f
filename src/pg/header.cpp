#include "pg/header.hpp"

#include "core/field_splitter.hpp"
#include "core/file_kind.hpp"
#include "core/record_scanner.hpp"
#include "pg/boundary.hpp"
#include "pg/column_list.hpp"
#include "pg/error_text.hpp"
#include "pg/pg.hpp"
#include "pg/record_text.hpp"
#include "pg/source_file.hpp"
#include "pg/subtransaction.hpp"
#include "pg/tuple_former.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr size_t kHeaderLimit = 1024 * 1024; /* 1600 columns with names of 63 bytes take a tenth of it */
constexpr char kByteOrderMark[] = "\xEF\xBB\xBF";
constexpr size_t kByteOrderMarkSize = sizeof(kByteOrderMark) - 1;

/* The beginning of a file. */
struct FileHead {
    int fd;
    char *bytes;
    size_t size;  /* of the bytes, kHeaderLimit at most */
    size_t start; /* behind a byte order mark */
};

FileHead read_head(const Import *import) {
    FileHead head;

    head.fd = open_planned_file(import);
    head.bytes = static_cast<char *>(palloc(kHeaderLimit));
    head.size = read_source_file(head.fd, import->path, head.bytes, kHeaderLimit, 0);
    const bool marked = import->encoding == PG_UTF8 && head.size >= kByteOrderMarkSize &&
                        memcmp(head.bytes, kByteOrderMark, kByteOrderMarkSize) == 0;
    head.start = marked ? kByteOrderMarkSize : 0;
    return head;
}

/* Only a file without a line end has an unknown one. */
core::LineEnd known(core::LineEnd line_end) {
    return line_end == core::LineEnd::Unknown ? core::LineEnd::Lf : line_end;
}

/*
 * The line end of the first record, which decides for the whole file. The head has nearly always got it; else its bytes
 * make room for those that follow. If the record's quote never closes, it is cut at its first line as by the planner.
 */
core::LineEnd find_line_end(const Import *import, const FileHead *head) {
    core::RecordScanner scanner(dialect_of(import));
    core::Record record;
    uint64 position = head->size; /* in the file, behind the bytes */
    size_t size = head->size;
    size_t pos = head->start;

    while (!scanner.next(head->bytes, size, &pos, &record)) {
        CHECK_FOR_INTERRUPTS();
        size = read_source_file(head->fd, import->path, head->bytes, kHeaderLimit, position);
        if (size == 0) {
            (void)scanner.finish(&record);
            break;
        }
        position += size;
        pos = 0;
    }
    return known(scanner.line_end());
}

struct Trial {
    Import import;
    Relation target;
    Piece piece;
    Formed formed;
};

void form_trial(void *argument) {
    auto *trial = static_cast<Trial *>(argument);
    HeapTuple tuple;
    Refusal why;

    set_all_columns(&trial->import, trial->target);
    set_forced_columns(&trial->import, trial->target);
    TupleFormer *former = make_tuple_former(&trial->import, trial->target, TupleShape::Fields);
    trial->formed = form_tuple(former, &trial->piece, 0, true, &tuple, &why);
}

/* A record that would load, were all columns of the table in the file. */
bool looks_like_data(const Import *import, Relation target, const char *bytes, size_t size) {
    const RecordPlace record = {0, size, 1, core::RecordFault::None, false};
    Trial trial = {*import, target, piece_of_record(bytes, &record), Formed::NotTried};
    ErrorData *error = try_in_subtransaction(form_trial, &trial);

    if (error != nullptr && is_cancel(error)) {
        ReThrowError(error);
    }
    return error == nullptr && trial.formed == Formed::Tuple;
}

void match_header(Import *import, Relation target, const char *bytes, size_t size) {
    core::Dialect dialect = dialect_of(import);
    size_t text_size = size;
    const char *text = convert_text(bytes, &text_size, import->encoding);

    dialect.null_size = 0; /* a column may have the name that stands for NULL */
    auto *splitter = construct<core::FieldSplitter>(CurrentMemoryContext, dialect);
    if (splitter->split(text, text_size) != core::SplitResult::Ok) {
        ereport(ERROR, (errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
                        errmsg("the header of file \"%s\" cannot be split into columns", show_name(import->path))));
    }
    const int count = static_cast<int>(splitter->count());
    auto **names = static_cast<char **>(palloc(sizeof(char *) * static_cast<Size>(Max(count, 1))));
    for (int i = 0; i < count; i++) {
        const core::Field field = splitter->fields()[i];
        names[i] = field.data == nullptr ? pstrdup("") : pnstrdup(field.data, field.size);
    }
    const bool data = !names_some_column(target, names, count) && looks_like_data(import, target, bytes, size);
    set_columns_by_header(import, target, names, count, data);
}

/* Skips the header, and matches it with the target unless the columns are known. */
void skip_header(Import *import, Relation target, const FileHead *head) {
    core::RecordScanner scanner(dialect_of(import));
    core::Record record;
    size_t pos = head->start;

    bool found = scanner.next(head->bytes, head->size, &pos, &record);
    if (!found && head->size < kHeaderLimit) {
        found = scanner.finish(&record); /* a header without a line end, and nothing behind it */
    }
    if (!found || record.fault != core::RecordFault::None) {
        ereport(ERROR, (errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
                        errmsg("file \"%s\" has no header that could be read", show_name(import->path)),
                        errdetail("Its first record is malformed, or longer than %zu bytes.", kHeaderLimit)));
    }
    import->line_end = known(scanner.line_end());
    import->data_start += static_cast<int64>(record.size);
    import->data_line += static_cast<int64>(record.lines);
    if (import->columns == nullptr) {
        match_header(import, target, head->bytes + head->start, record.content);
    } else {
        size_t size = record.content; /* COPY verifies what it skips */
        (void)convert_text(head->bytes + head->start, &size, import->encoding);
    }
}

bool is_matched_by_name(const Import *import) { return import->options.header && import->options.columns == NIL; }

/* Sets line_end, data_start and data_line, and matches the header. */
void find_data(Import *import, Relation target) {
    const FileHead head = read_head(import);

    import->data_start = static_cast<int64>(head.start);
    import->data_line = 1;
    if (is_matched_by_name(import) && head.size == head.start) { /* no bytes, or none but a byte order mark */
        ereport(ERROR, (errcode(ERRCODE_BAD_COPY_FILE_FORMAT), errmsg("file \"%s\" is empty", show_name(import->path)),
                        errhint("The first line of a file names its columns.")));
    }
    if (import->options.header && (is_matched_by_name(import) || head.size > head.start)) {
        skip_header(import, target, &head);
    } else {
        import->line_end = find_line_end(import, &head);
    }
    close_source_file(head.fd);
    set_forced_columns(import, target);
}

/* Raises an error if the first record cannot be loaded. */
void require_first_record(const Import *import, Relation target) {
    const FileHead head = read_head(import);
    core::RecordScanner scanner(dialect_of(import));
    core::Record record;
    const auto start = static_cast<size_t>(import->data_start);
    size_t pos = start;
    HeapTuple tuple;
    Refusal why;

    close_source_file(head.fd);
    if (pos > head.size || (!scanner.next(head.bytes, head.size, &pos, &record) && !scanner.finish(&record))) {
        return;
    }
    const RecordPlace place = {start, static_cast<size_t>(record.content), 1, record.fault, false};
    const Piece piece = piece_of_record(head.bytes, &place);
    TupleFormer *former = make_tuple_former(import, target, TupleShape::Fields);
    if (form_tuple(former, &piece, 0, true, &tuple, &why) == Formed::Refused) {
        ereport(ERROR, (errcode(why.sqlerrcode), errmsg_internal("%s", why.message)));
    }
}

struct Opening {
    Import import;
    Relation target;
};

void try_as_csv(void *argument) {
    auto *opening = static_cast<Opening *>(argument);

    find_data(&opening->import, opening->target);
    if (!is_matched_by_name(&opening->import)) {
        require_first_record(&opening->import, opening->target);
    }
}

/* A file that looks like another kind of file may be CSV all the same: if it fits the table. */
void require_csv(const Import *import, Relation target) {
    const FileHead head = read_head(import);
    const core::FileKind *kind = core::file_kind(head.bytes, head.size);

    close_source_file(head.fd);
    pfree(head.bytes);
    if (kind == nullptr) {
        return;
    }
    Opening opening = {*import, target};
    ErrorData *error = try_in_subtransaction(try_as_csv, &opening);
    if (error != nullptr && is_cancel(error)) {
        ReThrowError(error);
    }
    if (error != nullptr) {
        ereport(ERROR, (errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
                        errmsg("file \"%s\" looks like %s", show_name(import->path), kind->name),
                        errdetail("Read as CSV, it gives the error: %s", show_message(error->message)),
                        errhint("%s", kind->remedy)));
    }
}

} // namespace

void read_header(Import *import, Relation target) {
    if (import->options.columns != NIL) {
        set_columns_by_option(import, target);
    } else if (!import->options.header) {
        set_all_columns(import, target);
    }
    require_csv(import, target);
    find_data(import, target);
}

} // namespace movielens_ingest::pg
