#include "pg/register_import.hpp"

#include "pg/error_text.hpp"
#include "pg/foreign_keys.hpp"
#include "pg/header.hpp"
#include "pg/identity.hpp"
#include "pg/launch.hpp"
#include "pg/pg.hpp"
#include "pg/settings.hpp"
#include "pg/record_text.hpp"
#include "pg/source_file.hpp"
#include "pg/spi_writer.hpp"
#include "pg/target.hpp"
#include "pg/target_storage.hpp"
#include "pg/writer_choice.hpp"

namespace movielens_ingest::pg {

namespace {

void require_target_outside_ledger(const Ledger *ledger, Relation target) {
    if (getExtensionOfObject(RelationRelationId, RelationGetRelid(target)) ==
        getExtensionOfObject(RelationRelationId, ledger->files)) {
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                        errmsg("cannot import into table \"%s\" of extension \"movielens_ingest\"",
                               RelationGetRelationName(target))));
    }
}

void require_new_file(const Ledger *ledger, const Import *import) {
    const int64 earlier = import->options.force ? 0 : find_import_of_file(ledger, import);
    VisibleImport seen;

    if (earlier != 0) {
        /* That there is such an import, and whose, is not for everybody. */
        const bool may_see = read_visible_import(ledger, earlier, false, &seen);

        if (may_see && is_open(&seen)) {
            /* With force => true what it has loaded, or will, would be there twice. */
            ereport(
                ERROR,
                (errcode(ERRCODE_DUPLICATE_OBJECT),
                 errmsg("file \"%s\" is already being imported into %s", show_name(import->path), import->target),
                 errdetail("It has not changed since import " INT64_FORMAT ", which has not ended.", earlier),
                 errhint("Wait for that import with ml_wait(" INT64_FORMAT "), which says so if it was interrupted.",
                         earlier)));
        }
        ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT),
                        errmsg("file \"%s\" was already imported into %s", show_name(import->path), import->target),
                        may_see ? errdetail("It has not changed since import " INT64_FORMAT ".", earlier)
                                : errdetail("It has not changed since then."),
                        errhint("To load it again, use force => true.")));
    }
}

/*
 * Can this byte be a part of another character? In the encodings that only clients may have (SJIS, BIG5, GBK, ...) the
 * bytes behind the first one of a character may be ASCII, but never below 0x30: so line ends and the usual quotes are
 * what they seem to be.
 */
bool may_be_part_of_character(char c, int encoding) {
    return IS_HIGHBIT_SET(c) || (PG_ENCODING_IS_CLIENT_ONLY(encoding) && c >= 0x30);
}

/* Quotes are looked for in the file, before it is converted as COPY does it first. */
void require_characters_of_file(const Import *import) {
    if (needs_conversion(import->encoding) && (may_be_part_of_character(import->options.quote, import->encoding) ||
                                               may_be_part_of_character(import->options.escape, import->encoding))) {
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("quote and escape must not be bytes that can be part of another character in a file of "
                               "encoding \"%s\"",
                               pg_encoding_to_char(import->encoding)),
                        errdetail("The encoding of the database is \"%s\".", GetDatabaseEncodingName())));
    }
}

} // namespace

void require_start_possible(const char *function) {
    PreventCommandDuringRecovery(function);
    PreventCommandIfReadOnly(function);
    if (IsBinaryUpgrade) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("cannot execute %s while the server is in binary upgrade mode", function)));
    }
    require_unrestricted(function);
}

void require_unrestricted(const char *function) {
    PreventCommandIfParallelMode(function);
    if (InSecurityRestrictedOperation()) {
        ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                        errmsg("cannot execute %s within security-restricted operation", function)));
    }
}

Import describe_import(const Ledger *ledger, const char *path, Oid target_oid, Missing missing,
                       const ImportOptions *options) {
    Import import;

    memset(&import, 0, sizeof(import));
    import.options = *options;
    import.path = check_path(path);
    import.file = identify_file(import.path);
    import.encoding =
        options->encoding != nullptr ? pg_char_to_encoding(options->encoding) : pg_get_client_encoding(); /* as COPY */
    check_file_encoding(import.encoding);
    require_characters_of_file(&import);

    import.target_oid = OidIsValid(target_oid) ? target_oid : find_target(import.path, missing);
    Relation target = open_target(import.target_oid, nullptr, nullptr, 0);
    require_target_outside_ledger(ledger, target);
    import.target = qualified_name(target);
    read_header(&import, target);
    table_close(target, NoLock);
    /* Once more, now that the columns are known. */
    table_close(open_target(import.target_oid, nullptr, import.columns, import.column_count), NoLock);
    return import;
}

Import register_import(Oid schema, const char *path, Oid target_oid, const ImportOptions *options, int64 batch_id) {
    const Ledger ledger = open_ledger(schema);
    const Identity identity = current_identity();
    Import import = describe_import(&ledger, path, target_oid, Missing::Create, options);

    Relation target = table_open(import.target_oid, NoLock);
    import.unlogged = require_storage(target, options);
    import.elsewhere = choose_writer(target, &import).elsewhere;
    if (import.elsewhere) {
        require_plannable(target, &import, schema);
    }
    if (self_reference_keys(target) != NIL) {
        import.options.min_chunks = 1; /* in one chunk, records may reference each other in any order */
    }
    table_close(target, NoLock);
    require_new_file(&ledger, &import);
    import.batch_id = batch_id;
    if (can_be_analyzed(import.target_oid) && !may_analyze(import.target_oid)) {
        ereport(NOTICE, (errmsg("table %s will not be analyzed after the import", import.target),
                         errdetail("Only roles that may maintain it, as its owner, the owner of the database, and "
                                   "superusers may analyze it.")));
    }
    import.id = add_import(&ledger, &import);
    if (import.batch_id == 0) {
        import.batch_id = import.id;
    }
    launch_at_commit(ledger.files, import.batch_id, import.id, &identity);
    return import;
}

} // namespace movielens_ingest::pg
