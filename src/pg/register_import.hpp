/*
 * register_import.hpp - a file becomes an import: everything that can be checked at the call is.
 */
#pragma once

#include "pg/ledger.hpp"
#include "pg/pg.hpp"
#include "pg/target.hpp"

namespace movielens_ingest::pg {

/* Raises an error where no import can be started. function: whose call it is, with its parentheses. */
void require_start_possible(const char *function);
/* The same where not even a file can be read for one. */
void require_unrestricted(const char *function);

/*
 * What an import of the file into the target would be: all that is known before it is planned. Raises an error where
 * the file or the table cannot be imported. target InvalidOid: by the file's name.
 */
Import describe_import(const Ledger *ledger, const char *path, Oid target, Missing missing,
                       const ImportOptions *options);

/*
 * Registers the file for loading into the target when the transaction commits. schema: that of the extension. target
 * InvalidOid: by the file's name. batch_id 0: it is the first of its batch. Returns it as it stands in the ledger.
 */
Import register_import(Oid schema, const char *path, Oid target, const ImportOptions *options, int64 batch_id);

} // namespace movielens_ingest::pg
