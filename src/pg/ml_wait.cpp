/*
 * ml_wait.cpp - the SQL function ml_wait(): the row of an import when it has ended, or when the time is over.
 */
#include "pg/boundary.hpp"
#include "pg/import_wait.hpp"
#include "pg/ledger.hpp"
#include "pg/pg.hpp"
#include "pg/script_version.hpp"

using namespace movielens_ingest::pg;

namespace {

int64 milliseconds_of(const Interval *interval) {
    const double milliseconds =
        (static_cast<double>(interval->month) * DAYS_PER_MONTH + interval->day) * (SECS_PER_DAY * 1000.0) +
        static_cast<double>(interval->time) / 1000.0;

    if (milliseconds < 0) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("timeout must not be negative")));
    }
    return milliseconds > INT_MAX ? INT_MAX : static_cast<int64>(milliseconds);
}

} // namespace

MOVIELENS_INGEST_FUNCTION(ml_wait) {
    const Oid schema = schema_of_call(fcinfo);
    if (PG_ARGISNULL(0)) {
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("id of the import must not be null")));
    }
    const int64 id = PG_GETARG_INT64(0);
    const Ledger ledger = open_ledger(schema);
    const TimestampTz until =
        PG_ARGISNULL(1) ? 0
                        : TimestampTzPlusMilliseconds(GetCurrentTimestamp(), milliseconds_of(PG_GETARG_INTERVAL_P(1)));
    VisibleImport import;

    require_committed_import(id);
    if (!read_visible_import(&ledger, id, false, &import)) {
        raise_unknown_import(id);
    }
    if (is_open(&import)) {
        require_other_batch(&ledger, &import);
    }
    if (is_open(&import) && RecoveryInProgress()) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("cannot wait for import " INT64_FORMAT " during recovery", id)));
    }
    if (wait_for_import(&ledger, &import, until) == WaitEnd::Interrupted) {
        const bool may_resume = read_origin(&ledger, import.batch_id).where != Origin::Where::Elsewhere;

        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("import " INT64_FORMAT " was interrupted", id),
                        may_resume ? errdetail("Its processes are gone. Its chunks that are Completed in "
                                               "process_chunks are loaded, the others are not.")
                                   : errdetail("It was not made in this database, but came with a dump or a copy."),
                        may_resume ? errhint("To load the rest, call ml_resume(" INT64_FORMAT ").", id)
                                   : errhint("Import the file again with force => true, into a table without its "
                                             "rows.")));
    }
    PG_RETURN_DATUM(import.row);
}
