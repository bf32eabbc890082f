#include "pg/import_options.hpp"

namespace movielens_ingest::pg {

namespace {

struct Arguments {
    FunctionCallInfo fcinfo;
    char **names; /* of the parameters */
    int count;
};

Arguments named_arguments(FunctionCallInfo fcinfo) {
    Arguments arguments = {fcinfo, nullptr, 0};
    HeapTuple function = SearchSysCache1(PROCOID, ObjectIdGetDatum(fcinfo->flinfo->fn_oid));
    bool null;

    if (!HeapTupleIsValid(function)) {
        elog(ERROR, "cache lookup failed for function %u", fcinfo->flinfo->fn_oid);
    }
    const Datum names = SysCacheGetAttr(PROCOID, function, Anum_pg_proc_proargnames, &null);
    const Datum modes = SysCacheGetAttr(PROCOID, function, Anum_pg_proc_proargmodes, &null);
    arguments.count = get_func_input_arg_names(names, modes, &arguments.names);
    ReleaseSysCache(function);
    return arguments;
}

/* Null: not given. */
const NullableDatum *find_argument(const Arguments *arguments, const char *name) {
    for (int i = 0; i < arguments->count; i++) {
        if (strcmp(arguments->names[i], name) == 0) {
            const NullableDatum *argument = &arguments->fcinfo->args[i];
            return argument->isnull ? nullptr : argument;
        }
    }
    return nullptr;
}

const char *text_argument(const Arguments *arguments, const char *name) {
    const NullableDatum *argument = find_argument(arguments, name);

    return argument != nullptr ? TextDatumGetCString(argument->value) : nullptr;
}

void read_int(const Arguments *arguments, const char *name, int *value) {
    const NullableDatum *argument = find_argument(arguments, name);

    if (argument != nullptr) {
        *value = DatumGetInt32(argument->value);
    }
}

void read_bool(const Arguments *arguments, const char *name, bool *value) {
    const NullableDatum *argument = find_argument(arguments, name);

    if (argument != nullptr) {
        *value = DatumGetBool(argument->value);
    }
}

/* A quote or an escape that ends lines is nonsense that COPY does not refuse. */
void read_character(const Arguments *arguments, const char *name, char *character) {
    const char *text = text_argument(arguments, name);

    if (text == nullptr) {
        return;
    }
    if (strlen(text) != 1) {
        ereport(ERROR,
                (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("%s must be a single one-byte character", name)));
    }
    if (*text == '\r' || *text == '\n') {
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s cannot be newline or carriage return", name)));
    }
    *character = *text;
}

void read_form(const Arguments *arguments, ImportOptions *options) {
    const char *null_string = text_argument(arguments, "null_string");
    const char *encoding = text_argument(arguments, "encoding");

    read_character(arguments, "delimiter", &options->delimiter);
    read_character(arguments, "quote", &options->quote);
    read_character(arguments, "escape", &options->escape);
    read_bool(arguments, "header", &options->header);
    if (null_string != nullptr) {
        options->null_string = null_string;
    }
    if (encoding != nullptr) {
        options->encoding = encoding;
    }
    if (options->escape == '\0') {
        options->escape = options->quote;
    }
}

void check_form(const ImportOptions *options) {
    if (options->encoding != nullptr && pg_char_to_encoding(options->encoding) < 0) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("argument to option \"%s\" must be a valid encoding name", "encoding")));
    }
    if (strpbrk(options->null_string, "\r\n") != nullptr) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("null representation cannot use newline or carriage return")));
    }
    if (options->delimiter == options->quote) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("delimiter and quote must be different")));
    }
    if (strchr(options->null_string, options->delimiter) != nullptr) {
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("delimiter must not appear in the NULL specification")));
    }
    if (strchr(options->null_string, options->quote) != nullptr) {
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("CSV quote character must not appear in the NULL specification")));
    }
}

List *names_argument(const Arguments *arguments, const char *name) {
    const NullableDatum *argument = find_argument(arguments, name);
    List *names = NIL;
    Datum *values;
    bool *nulls;
    int count;

    if (argument == nullptr) {
        return NIL;
    }
    ArrayType *array = DatumGetArrayTypeP(argument->value);
    if (ARR_NDIM(array) > 1) {
        ereport(ERROR, (errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
                        errmsg("option \"%s\" must be a one-dimensional array of column names", name)));
    }
    deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &count);
    if (count == 0) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("option \"%s\" must name at least one column", name)));
    }
    for (int i = 0; i < count; i++) {
        if (nulls[i]) {
            ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                            errmsg("option \"%s\" must not contain null values", name)));
        }
        names = lappend(names, TextDatumGetCString(values[i]));
    }
    return names;
}

/* Which COPY has had since PostgreSQL 17 and 19, for a value that its column's type refuses. */
int errdetail_copy_on_error(const char *on_error) {
    if (pg_strcasecmp(on_error, "ignore") == 0) {
        return errdetail("COPY's \"ignore\" loses the record; \"%s\" keeps it in rejected_rows.",
                         on_error_name(OnError::Reject));
    }
    if (pg_strcasecmp(on_error, "set_null") == 0) {
        return errdetail(
            "COPY's \"set_null\" loads NULL for the value; an import loads a record as it is, or refuses it.");
    }
    return 0;
}

void read_rejects(const Arguments *arguments, ImportOptions *options) {
    const char *on_error = text_argument(arguments, "on_error");

    if (on_error != nullptr && !on_error_of(on_error, &options->on_error)) {
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("on_error \"%s\" not recognized", on_error),
                 errdetail_copy_on_error(on_error),
                 errhint("Available values: %s, %s.", on_error_name(OnError::Reject), on_error_name(OnError::Stop))));
    }
    if (find_argument(arguments, "reject_limit") == nullptr) {
        return;
    }
    read_int(arguments, "reject_limit", &options->reject_limit);
    if (options->reject_limit < 0) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("invalid value for option \"%s\": %d", "reject_limit", options->reject_limit),
                        errdetail("Valid values are between %d and %d.", 0, INT_MAX)));
    }
    if (options->on_error == OnError::Stop) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("reject_limit cannot be used with on_error => 'stop'"),
                        errdetail("The first record that cannot be loaded ends the import.")));
    }
}

} // namespace

ImportOptions options_of_call(FunctionCallInfo fcinfo) {
    const Arguments arguments = named_arguments(fcinfo);
    ImportOptions options = default_options();

    read_form(&arguments, &options);
    check_form(&options);
    options.columns = names_argument(&arguments, "columns");
    options.force_null = names_argument(&arguments, "force_null");
    options.force_not_null = names_argument(&arguments, "force_not_null");
    read_rejects(&arguments, &options);
    read_int(&arguments, "chunk_size", &options.chunk_size);
    read_int(&arguments, "min_chunks", &options.min_chunks);
    read_int(&arguments, "max_workers", &options.max_workers);
    read_int(&arguments, "max_retries", &options.max_retries);
    read_bool(&arguments, "force", &options.force);
    read_bool(&arguments, "at_least_once", &options.at_least_once);
    check_options(&options);
    return options;
}

} // namespace movielens_ingest::pg
