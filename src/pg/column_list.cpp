#include "pg/column_list.hpp"

#include "pg/error_text.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr int kListLimit = 2048; /* bytes; behind them the list is cut, after a name */

const char *comma_list(const char *const *names, int count) {
    StringInfoData list;

    initStringInfo(&list);
    for (int i = 0; i < count; i++) {
        if (list.len > kListLimit) {
            appendStringInfoString(&list, ", ...");
            break;
        }
        appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", show_name(names[i]));
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

/* The column that the names already found have, too. */
bool is_named_before(const char *const *columns, int count, const char *column) {
    for (int i = 0; i < count; i++) {
        if (strcmp(columns[i], column) == 0) {
            return true;
        }
    }
    return false;
}

/* As COPY words it (CopyGetAttnums). */
void raise_generated(const char *column) {
    ereport(ERROR, (errcode(ERRCODE_INVALID_COLUMN_REFERENCE), errmsg("column \"%s\" is a generated column", column),
                    errdetail("Generated columns cannot be loaded.")));
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

/* The columns of these names, in CopyGetAttnums' order of errors and its words. */
const char **find_columns(Relation target, List *names) {
    auto **columns = static_cast<const char **>(palloc(sizeof(char *) * static_cast<Size>(Max(list_length(names), 1))));
    ListCell *cell;

    foreach (cell, names) {
        const auto *name = static_cast<const char *>(lfirst(cell));
        const int i = foreach_current_index(cell);
        bool ambiguous;
        bool generated;
        const char *column = find_column(target, name, &ambiguous, &generated);

        if (column == nullptr) {
            ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
                            errmsg("column \"%s\" of relation \"%s\" does not exist", show_name(name),
                                   RelationGetRelationName(target)),
                            strcmp(name, "*") == 0
                                ? errhint("Name each column: there is no * for all of them, as COPY has it.")
                                : 0));
        }
        if (ambiguous) {
            ereport(ERROR,
                    (errcode(ERRCODE_AMBIGUOUS_COLUMN), errmsg("column \"%s\" of relation \"%s\" is ambiguous",
                                                               show_name(name), RelationGetRelationName(target))));
        }
        if (generated) {
            raise_generated(column);
        }
        if (is_named_before(columns, i, column)) {
            ereport(ERROR,
                    (errcode(ERRCODE_DUPLICATE_COLUMN), errmsg("column \"%s\" specified more than once", column)));
        }
        columns[i] = pstrdup(column);
    }
    return columns;
}

/* By column of the import, whether it is among the names. */
bool *find_forced(const Import *import, Relation target, const char *option, List *names) {
    auto *forced = static_cast<bool *>(palloc0(sizeof(bool) * static_cast<Size>(Max(import->column_count, 1))));
    const char **columns = find_columns(target, names);

    for (int i = 0; i < list_length(names); i++) {
        int at = 0;

        while (at < import->column_count && strcmp(import->columns[at], columns[i]) != 0) {
            at++;
        }
        if (at == import->column_count) {
            /* As BeginCopyFrom words it. */
            ereport(ERROR, (errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
                            errmsg("%s column \"%s\" not referenced by the import", option, columns[i])));
        }
        forced[at] = true;
    }
    return forced;
}

} // namespace

bool names_some_column(Relation target, const char *const *names, int count) {
    bool ambiguous;
    bool generated;

    for (int i = 0; i < count; i++) {
        if (find_column(target, names[i], &ambiguous, &generated) != nullptr) {
            return true;
        }
    }
    return false;
}

void set_columns_by_header(Import *import, Relation target, const char *const *names, int count, bool looks_like_data) {
    import->column_count = count;
    import->columns = static_cast<const char **>(palloc(sizeof(char *) * Max(count, 1)));

    for (int i = 0; i < count; i++) {
        bool ambiguous;
        bool generated;
        const char *column = find_column(target, names[i], &ambiguous, &generated);

        if (column == nullptr) {
            ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
                            errmsg("the header of file \"%s\" does not fit table \"%s\": there is no column \"%s\"",
                                   show_name(import->path), RelationGetRelationName(target), show_name(names[i])),
                            errdetail_columns(names, count, target),
                            looks_like_data ? errhint("The first line looks like data. If the file has no header, use "
                                                      "header => false.")
                                            : 0));
        }
        if (ambiguous) {
            ereport(ERROR, (errcode(ERRCODE_AMBIGUOUS_COLUMN),
                            errmsg("column \"%s\" in the header of file \"%s\" is ambiguous", show_name(names[i]),
                                   show_name(import->path)),
                            errdetail_columns(names, count, target)));
        }
        if (generated) {
            raise_generated(column);
        }
        if (is_named_before(import->columns, i, column)) {
            ereport(ERROR, (errcode(ERRCODE_DUPLICATE_COLUMN),
                            errmsg("column \"%s\" is named more than once in the header of file \"%s\"", column,
                                   show_name(import->path)),
                            errdetail_columns(names, count, target)));
        }
        import->columns[i] = pstrdup(column);
    }
}

void set_columns_by_option(Import *import, Relation target) {
    import->column_count = list_length(import->options.columns);
    import->columns = find_columns(target, import->options.columns);
}

void set_all_columns(Import *import, Relation target) {
    const TupleDesc desc = RelationGetDescr(target);

    import->column_count = 0;
    import->columns = static_cast<const char **>(palloc(sizeof(char *) * static_cast<Size>(Max(desc->natts, 1))));
    for (int i = 0; i < desc->natts; i++) {
        const Form_pg_attribute attribute = TupleDescAttr(desc, i);

        if (!attribute->attisdropped && attribute->attgenerated == '\0') {
            import->columns[import->column_count++] = pstrdup(NameStr(attribute->attname));
        }
    }
}

void set_forced_columns(Import *import, Relation target) {
    import->force_not_null = find_forced(import, target, "force_not_null", import->options.force_not_null);
    import->force_null = find_forced(import, target, "force_null", import->options.force_null);
}

} // namespace movielens_ingest::pg
