#include "pg/spi_writer.hpp"

#include "pg/boundary.hpp"
#include "pg/internal_function.hpp"
#include "pg/pg.hpp"
#include "pg/progress.hpp"
#include "pg/statement_binding.hpp"
#include "pg/target.hpp"

using namespace movielens_ingest::pg;

namespace {

constexpr char kRecords[] = "movielens_ingest_records"; /* the tuplestore, in the statement */
constexpr int kBehindLast = -1;                         /* as the number of a record: there is none left */

/* What _inserting() reports to. */
RecordRange *current_range = nullptr;

/* What _records() hands over to the executor, once. */
Tuplestorestate *current_store = nullptr;
TupleDesc current_desc = nullptr;

} // namespace

MOVIELENS_INGEST_FUNCTION(_inserting) {
    const int32 record = PG_GETARG_INT32(0);

    const int at = record == kBehindLast && current_range != nullptr ? current_range->to : record;

    /* Only forward: a trigger may call this too, and must not put the blame on a record that is in. */
    if (current_range != nullptr && at > current_range->at && at <= current_range->to) {
        report_tuples(current_range->inserted_before + current_range->inserted, current_range->excluded_before);
        current_range->inserted++;
        current_range->at = at;
    }
    PG_RETURN_BOOL(current_range != nullptr && record != kBehindLast);
}

/* The store becomes the executor's (ExecMakeTableFunctionResult), which ends it behind its scan. */
MOVIELENS_INGEST_FUNCTION(_records) {
    auto *result = reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo);

    if (current_store == nullptr) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("there are no records to insert"),
                        errdetail("Only the INSERT statement of an import has them, once.")));
    }
    if (result == nullptr || !IsA(result, ReturnSetInfo) || (result->allowedModes & SFRM_Materialize) == 0) {
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("set-valued function called in context that cannot accept a set")));
    }
    result->returnMode = SFRM_Materialize;
    result->setResult = current_store;
    result->setDesc = CreateTupleDescCopy(current_desc);
    current_store = nullptr;
    return Datum(0);
}

namespace movielens_ingest::pg {

namespace {

/*
 * The statement. Where others than the server's executor insert, it is one that any planner knows what to do with, and
 * they say more of an error when it returns rows.
 */
enum class Form : uint8_t { Tuplestore, Function, FunctionReturning };

/* Tables, functions and types that a statement may be made of. */
struct Objects {
    ObjectAddress *list;
    int count;
};

struct Statement {
    const char *text;
    SPIPlanPtr plan;
};

class SpiWriter : public Writer {
  public:
    SpiWriter(Relation target, TupleDesc desc, Form form)
        : Writer(TupleShape::Fields), target_(target), desc_(desc), form_(form) {}
    void prepare(const Import *import, Oid schema);
    void write(RecordRange *range) override;
    bool will_tell_more(const ErrorData *error) override;
    void finish() override;

  private:
    Tuplestorestate *store(const RecordRange *range) const;
    int64 run(RecordRange *range);

    Relation target_;
    TupleDesc desc_;
    Form form_;
    Objects objects_ = {nullptr, 0};
    Statement statement_ = {nullptr, nullptr};
    Statement returning_ = {nullptr, nullptr}; /* of form FunctionReturning */
    EphemeralNamedRelationData records_ = {};
};

Objects objects_of(Relation target, Oid schema) {
    constexpr Oid types[] = {INT4OID};
    const int columns = RelationGetNumberOfAttributes(target);
    Objects objects;

    objects.list =
        static_cast<ObjectAddress *>(palloc(sizeof(ObjectAddress) * static_cast<Size>(3 + kMostTypes * columns)));
    ObjectAddressSet(objects.list[0], RelationRelationId, RelationGetRelid(target));
    ObjectAddressSet(objects.list[1], ProcedureRelationId, internal_function(schema, "_inserting", types, 1));
    ObjectAddressSet(objects.list[2], ProcedureRelationId, internal_function(schema, "_records", nullptr, 0));
    objects.count = 3;
    for (int i = 0; i < columns; i++) {
        objects.count = add_types(objects.list, objects.count, TupleDescAttr(RelationGetDescr(target), i)->atttypid);
    }
    return objects;
}

/* What is in FROM, with its columns f1, f2, ... and record. */
void append_source(StringInfo statement, Relation target, const Import *import, Oid schema) {
    appendStringInfo(statement, "%s._records() AS r (", quote_identifier(get_namespace_name(schema)));
    for (int i = 0; i < import->column_count; i++) {
        const AttrNumber attnum = get_attnum(RelationGetRelid(target), import->columns[i]);
        const Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(target), attnum - 1);

        appendStringInfo(statement, "f%d %s, ", i + 1,
                         format_type_extended(attribute->atttypid, attribute->atttypmod,
                                              FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
    }
    appendStringInfoString(statement, "record pg_catalog.int4)");
}

/* COPY writes identity columns whatever they say, and so OVERRIDING SYSTEM VALUE. */
const char *insert_statement(Relation target, const Import *import, Oid schema, Form form) {
    StringInfoData statement;

    initStringInfo(&statement);
    appendStringInfo(&statement, "INSERT INTO %s (", qualified_name(target));
    for (int i = 0; i < import->column_count; i++) {
        appendStringInfo(&statement, "%s%s", i > 0 ? ", " : "", quote_identifier(import->columns[i]));
    }
    appendStringInfoString(&statement, ") OVERRIDING SYSTEM VALUE SELECT ");
    for (int i = 0; i < import->column_count; i++) {
        appendStringInfo(&statement, "%sr.f%d", i > 0 ? ", " : "", i + 1);
    }
    appendStringInfoString(&statement, " FROM ");
    if (form == Form::Tuplestore) {
        appendStringInfo(&statement, "%s r", kRecords);
    } else {
        append_source(&statement, target, import, schema);
    }
    appendStringInfo(&statement, " WHERE %s._inserting(r.record)", quote_identifier(get_namespace_name(schema)));
    if (form == Form::FunctionReturning) {
        appendStringInfoString(&statement, " RETURNING 1");
    }
    return statement.data;
}

Statement prepare_statement(const char *text, const Objects *objects) {
    Statement statement = {text, nullptr};
    StatementBinding bound = bind_text(text, objects->list, objects->count);

    while_bound(&bound, [&] { statement.plan = SPI_prepare(text, 0, nullptr); });
    if (statement.plan == nullptr) {
        elog(ERROR, "could not prepare \"%s\": %s", text, SPI_result_code_string(SPI_result));
    }
    require_checked(&bound);
    return statement;
}

/* Counts the rows of RETURNING: who returns them need not say how many went in (es_processed). */
struct RowCounter {
    DestReceiver receiver;
    int64 count;
};

bool count_row(TupleTableSlot *, DestReceiver *self) {
    reinterpret_cast<RowCounter *>(self)->count++;
    return true;
}

void begin_rows(DestReceiver *, int, TupleDesc) {}
void end_rows(DestReceiver *) {}

/* One connection for the chunk: the statement is planned once, and survives the subtransactions. */
void SpiWriter::prepare(const Import *import, Oid schema) {
    const MemoryContext context = CurrentMemoryContext;

    objects_ = objects_of(target_, schema);
    records_.md.name = pstrdup(kRecords);
    records_.md.tupdesc = desc_;
    records_.md.enrtype = ENR_NAMED_TUPLESTORE;
    records_.md.enrtuples = import->options.chunk_size;
    const char *text = insert_statement(target_, import, schema, form_);
    const char *returning = insert_statement(target_, import, schema, Form::FunctionReturning);
    if (SPI_connect() != SPI_OK_CONNECT || SPI_register_relation(&records_) != SPI_OK_REL_REGISTER) {
        elog(ERROR, "SPI_connect failed");
    }
    statement_ = prepare_statement(text, &objects_);
    if (form_ == Form::Function) {
        returning_ = prepare_statement(returning, &objects_);
    }
    MemoryContextSwitchTo(context);
}

/* The records of the range, and one that says that there are no more. */
Tuplestorestate *SpiWriter::store(const RecordRange *range) const {
    Tuplestorestate *store = tuplestore_begin_heap(form_ != Form::Tuplestore, false, work_mem);
    auto *values = static_cast<Datum *>(palloc0(sizeof(Datum) * static_cast<Size>(desc_->natts)));
    auto *nulls = static_cast<bool *>(palloc(sizeof(bool) * static_cast<Size>(desc_->natts)));

    for (int i = range->from; i < range->to; i++) {
        if (range->tuples[i] != nullptr) {
            tuplestore_puttuple(store, range->tuples[i]);
        }
    }
    memset(nulls, true, sizeof(bool) * static_cast<size_t>(desc_->natts));
    values[desc_->natts - 1] = Int32GetDatum(kBehindLast);
    nulls[desc_->natts - 1] = false;
    tuplestore_putvalues(store, desc_, values, nulls);
    return store;
}

/* Returns how many records went in. */
int64 SpiWriter::run(RecordRange *range) {
    const bool returning = form_ == Form::FunctionReturning;
    const Statement *statement = returning ? &returning_ : &statement_;
    StatementBinding bound = bind_text(statement->text, objects_.list, objects_.count);
    RowCounter counter = {{count_row, begin_rows, end_rows, end_rows, DestNone}, 0};
    SPIExecuteOptions options;
    int code = 0;

    memset(&options, 0, sizeof(options));
    options.dest = returning ? &counter.receiver : nullptr;
    PG_TRY();
    {
        current_range = range;
        if (form_ != Form::Tuplestore) {
            current_store = static_cast<Tuplestorestate *>(records_.reldata);
            current_desc = desc_;
        }
        while_bound(&bound, [&] { code = SPI_execute_plan_extended(statement->plan, &options); });
    }
    PG_FINALLY();
    {
        current_range = nullptr;
        current_store = nullptr; /* of an error's, whose memory goes with it */
    }
    PG_END_TRY();
    if (code != (returning ? SPI_OK_INSERT_RETURNING : SPI_OK_INSERT)) {
        elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(code));
    }
    if (range->at != range->to) {
        elog(ERROR, "the INSERT statement into %s did not read all records", qualified_name(target_));
    }
    return returning ? counter.count : static_cast<int64>(SPI_processed);
}

void SpiWriter::write(RecordRange *range) {
    int64 count = 0;

    range->inserted = 0;
    range->skipped = 0;
    range->at = kBeforeFirst;
    for (int i = range->from; i < range->to; i++) {
        count += range->tuples[i] != nullptr ? 1 : 0;
    }
    if (count == 0) {
        return;
    }
    records_.reldata = store(range);
    range->inserted = run(range);
    range->skipped = count - range->inserted;
    if (form_ == Form::Tuplestore) {
        tuplestore_end(static_cast<Tuplestorestate *>(records_.reldata));
    }
    report_tuples(range->inserted_before + range->inserted, range->excluded_before + range->skipped);
}

/*
 * Citus streams rows by COPY, of whose errors it keeps no SQLSTATE (ReportCopyError). Of a statement that returns rows
 * it does, but this one takes the rows through files on the other servers, and costs more. Either way it settles on a
 * commit in two phases (CitusCopyDestReceiverStartup), with which our chunk is there once.
 */
bool SpiWriter::will_tell_more(const ErrorData *error) {
    const bool more = form_ == Form::Function && ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_INTERNAL_ERROR;

    if (more) {
        form_ = Form::FunctionReturning;
    }
    return more;
}

void SpiWriter::finish() {
    if (SPI_finish() != SPI_OK_FINISH) {
        elog(ERROR, "SPI_finish failed");
    }
}

} // namespace

Writer *make_spi_writer(Relation target, const Import *import, TupleDesc desc, bool elsewhere, Oid schema) {
    auto *writer =
        new (palloc(sizeof(SpiWriter))) SpiWriter(target, desc, elsewhere ? Form::Function : Form::Tuplestore);

    writer->prepare(import, schema);
    return writer;
}

void require_plannable(Relation target, const Import *import, Oid schema) {
    const char *text = insert_statement(target, import, schema, Form::Function);
    const Objects objects = objects_of(target, schema);
    StatementBinding bound = bind_text(text, objects.list, objects.count);
    CachedPlan *plan = nullptr;

    if (SPI_connect() != SPI_OK_CONNECT) {
        elog(ERROR, "SPI_connect failed");
    }
    PushActiveSnapshot(GetTransactionSnapshot());
    const Statement statement = prepare_statement(text, &objects);
    while_bound(&bound, [&] { plan = SPI_plan_get_cached_plan(statement.plan); });
    PopActiveSnapshot();
    if (plan == nullptr) {
        elog(ERROR, "\"%s\" has no plan", text);
    }
    ReleaseCachedPlan(plan, nullptr);
    if (SPI_finish() != SPI_OK_FINISH) {
        elog(ERROR, "SPI_finish failed");
    }
}

} // namespace movielens_ingest::pg
