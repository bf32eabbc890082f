/*
 * ml_load.cpp - the SQL procedure ml_load(): imports a file or a directory, waits, tells how far it is, and sums up.
 */
#include "pg/boundary.hpp"
#include "pg/cancel_hold.hpp"
#include "pg/cancel_import.hpp"
#include "pg/data_set.hpp"
#include "pg/error_text.hpp"
#include "pg/import_options.hpp"
#include "pg/import_wait.hpp"
#include "pg/internal_function.hpp"
#include "pg/ledger.hpp"
#include "pg/pg.hpp"
#include "pg/register_import.hpp"
#include "pg/script_version.hpp"
#include "pg/source_file.hpp"
#include "pg/subtransaction.hpp"

using namespace movielens_ingest::pg;

namespace {

constexpr long kReportInterval = 1000; /* milliseconds between two lines of progress */

struct Load {
    Oid schema;
    Ledger ledger;
    int64 ids[kMostImports];
    int count;
};

/* The lines that one of the extension's SQL functions makes of the imports. */
void report(const Load *load, const char *function) {
    Datum ids[kMostImports];
    /* A function of SQL keeps its plans, a megabyte, as long as the context that it was looked up in. */
    const MemoryContext context =
        AllocSetContextCreate(CurrentMemoryContext, "movielens_ingest report", ALLOCSET_DEFAULT_SIZES);
    const MemoryContext caller = MemoryContextSwitchTo(context);

    for (int i = 0; i < load->count; i++) {
        ids[i] = Int64GetDatum(load->ids[i]);
    }
    const Oid types[] = {INT8ARRAYOID};
    const NullableDatum arguments[] = {
        {PointerGetDatum(construct_array(ids, load->count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE)),
         false}};

    PushActiveSnapshot(GetLatestSnapshot());
    const Datum made = call_internal(load->schema, function, arguments, types, 1);
    Datum *lines = nullptr;
    int count = 0;
    if (made != Datum(0)) {
        deconstruct_array(DatumGetArrayTypeP(made), TEXTOID, -1, false, TYPALIGN_INT, &lines, nullptr, &count);
    }
    PopActiveSnapshot();
    for (int i = 0; i < count; i++) {
        /* They quote the file, and are made for a terminal. */
        ereport(INFO, (errmsg_internal("%s", show_message(TextDatumGetCString(lines[i])))));
    }
    MemoryContextSwitchTo(caller);
    MemoryContextDelete(context);
}

struct WaitStep {
    const Load *load;
    TimestampTz until;
    bool ended; /* all of them */
    int64 interrupted;
};

void wait_for_all(void *argument) {
    auto *step = static_cast<WaitStep *>(argument);
    const Load *load = step->load;

    const CancelHold hold = allow_cancels();
    step->ended = true;
    for (int i = 0; i < load->count && step->ended && step->interrupted == 0; i++) {
        VisibleImport import;

        if (!read_visible_import(&load->ledger, load->ids[i], false, &import)) {
            raise_unknown_import(load->ids[i]);
        }
        const WaitEnd end = wait_for_import(&load->ledger, &import, step->until);
        step->ended = end == WaitEnd::Ended;
        step->interrupted = end == WaitEnd::Interrupted ? import.id : 0;
    }
    put_back(hold);
}

/*
 * The next transaction is READ COMMITTED whatever the default is: in another one the first snapshot would stay until
 * its end, and CREATE INDEX CONCURRENTLY would wait for it (WaitForOlderSnapshots), and VACUUM spare what it sees.
 */
void commit_and_go_on() {
    SPI_commit();
    XactIsoLevel = XACT_READ_COMMITTED;
}

/* After the call was cancelled: its imports too. */
void cancel_all(const Load *load) {
    for (int i = 0; i < load->count; i++) {
        VisibleImport import;

        if (read_visible_import(&load->ledger, load->ids[i], false, &import) && is_open(&import)) {
            (void)cancel_by_id(&load->ledger, load->ids[i]);
        }
    }
}

/* Cancelling the call is noticed only while it sleeps, where the error can be caught. */
void wait_and_report(const Load *load) {
    WaitStep step = {load, GetCurrentTimestamp(), false, 0};

    const CancelHold hold = hold_cancels();
    while (!step.ended) {
        step.until = TimestampTzPlusMilliseconds(step.until, kReportInterval);
        ErrorData *error = try_in_subtransaction(wait_for_all, &step);
        if (error != nullptr) {
            if (is_cancel(error)) {
                cancel_all(load);
                SPI_commit(); /* what became of imports without a leader */
                ereport(NOTICE, (errmsg("the imports of this call are being cancelled"),
                                 errdetail("What they have loaded stays.")));
            }
            put_back(hold); /* ReThrowError() leaves it as it is */
            ReThrowError(error);
        }
        if (step.interrupted != 0) {
            ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                            errmsg("import " INT64_FORMAT " was interrupted", step.interrupted),
                            errhint("To load the rest, call ml_resume(" INT64_FORMAT ").", step.interrupted)));
        }
        report(load, "_progress_lines");
        commit_and_go_on(); /* an idle transaction would hold up VACUUM */
        step.until = Max(step.until, GetCurrentTimestamp() - USECS_PER_SEC);
    }
    put_back(hold);
}

/* After the summary, so that ON_ERROR_STOP and scripts notice. */
void require_completed(const Load *load) {
    int failed = 0;
    VisibleImport first = {};

    for (int i = 0; i < load->count; i++) {
        VisibleImport import;

        if (!read_visible_import(&load->ledger, load->ids[i], false, &import)) {
            raise_unknown_import(load->ids[i]);
        }
        if (!is_complete(import.status) && failed++ == 0) {
            first = import;
        }
    }
    if (failed > 0) {
        const ImportFailure failure = read_failure(&load->ledger, first.id);
        const char *file_name = show_name(failure.file_name);

        ereport(ERROR, (errcode(failure.sqlerrcode),
                        load->count == 1 ? errmsg("import " INT64_FORMAT " of file \"%s\" ended %s", first.id,
                                                  file_name, first.status)
                                         : errmsg("%d of %d imports did not complete", failed, load->count),
                        errdetail("%s: %s", file_name, show_message(failure.message)),
                        errhint("When the cause is gone, load the rest with ml_resume(" INT64_FORMAT ").", first.id)));
    }
}

void require_outside_transaction_block(FunctionCallInfo fcinfo) {
    const auto *context = fcinfo->context;

    if (context == nullptr || !IsA(context, CallContext) || reinterpret_cast<const CallContext *>(context)->atomic) {
        ereport(ERROR, (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
                        errmsg("%s cannot run inside a transaction block", "ml_load()"),
                        errdetail("The import begins when its transaction commits."),
                        errhint("Call ml_import() in the transaction, and ml_wait() after its end.")));
    }
}

/* What only a single file can have. */
void require_options_of_data_set(bool has_target, const ImportOptions *options) {
    if (has_target) {
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("a directory cannot be imported into one table"),
                 errhint("Leave the parameter \"target\" out: the names of the files tell their tables.")));
    }
    if (options->columns != NIL || options->force_null != NIL || options->force_not_null != NIL) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("columns cannot be named for a directory"),
                        errhint("Leave the parameters \"columns\", \"force_null\" and \"force_not_null\" out, or "
                                "import the files one by one.")));
    }
}

} // namespace

MOVIELENS_INGEST_FUNCTION(ml_load) {
    const Oid schema = schema_of_call(fcinfo);
    Load load;

    require_outside_transaction_block(fcinfo);
    require_start_possible("ml_load()");
    if (PG_ARGISNULL(0)) {
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("path must not be null")));
    }
    load.schema = schema;
    load.ledger = open_ledger(load.schema);
    const char *path = check_path(text_to_cstring(PG_GETARG_TEXT_PP(0)));
    const bool strict = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
    const ImportOptions options = options_of_call(fcinfo);

    if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT) {
        elog(ERROR, "SPI_connect_ext failed");
    }
    if (!is_directory(path)) {
        const Import import =
            register_import(load.schema, path, PG_ARGISNULL(1) ? InvalidOid : PG_GETARG_OID(1), &options, 0);
        load.count = 1;
        load.ids[0] = import.id;
    } else {
        require_options_of_data_set(!PG_ARGISNULL(1), &options);
        const DataSetImport *imports = register_data_set(load.schema, path, strict, &options, &load.count);
        for (int i = 0; i < load.count; i++) {
            load.ids[i] = imports[i].id;
        }
    }
    commit_and_go_on();
    wait_and_report(&load);
    report(&load, "_summary_lines");
    require_completed(&load);
    SPI_finish();
    return Datum(0);
}
