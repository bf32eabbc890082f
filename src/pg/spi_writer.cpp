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

namespace movielens_ingest::pg {

namespace {

class SpiWriter : public Writer {
  public:
    SpiWriter(Relation target, TupleDesc desc) : Writer(TupleShape::Fields), target_(target), desc_(desc) {}
    void prepare(const Import *import, Oid schema);
    void write(RecordRange *range) override;
    void finish() override;

  private:
    Tuplestorestate *store(const RecordRange *range) const;
    int run(RecordRange *range);
    StatementBinding binding() const { return bind_text(statement_, objects_, object_count_); }

    Relation target_;
    TupleDesc desc_;
    SPIPlanPtr plan_ = nullptr;
    const char *statement_ = nullptr;
    ObjectAddress *objects_ = nullptr; /* that the statement is made of */
    int object_count_ = 0;
    EphemeralNamedRelationData records_ = {};
};

/* COPY writes identity columns whatever they say, and so OVERRIDING SYSTEM VALUE. */
const char *insert_statement(Relation target, const Import *import, Oid schema) {
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
    appendStringInfo(&statement, " FROM %s r WHERE %s._inserting(r.record)", kRecords,
                     quote_identifier(get_namespace_name(schema)));
    return statement.data;
}

/* One connection for the chunk: the statement is planned once, and survives the subtransactions. */
void SpiWriter::prepare(const Import *import, Oid schema) {
    const MemoryContext context = CurrentMemoryContext;
    constexpr Oid types[] = {INT4OID};
    StatementBinding bound;

    statement_ = insert_statement(target_, import, schema);
    objects_ = static_cast<ObjectAddress *>(
        palloc(sizeof(ObjectAddress) * static_cast<Size>(2 + kMostTypes * RelationGetNumberOfAttributes(target_))));
    ObjectAddressSet(objects_[0], RelationRelationId, RelationGetRelid(target_));
    ObjectAddressSet(objects_[1], ProcedureRelationId, internal_function(schema, "_inserting", types, 1));
    object_count_ = 2;
    for (int i = 0; i < RelationGetNumberOfAttributes(target_); i++) {
        object_count_ = add_types(objects_, object_count_, TupleDescAttr(RelationGetDescr(target_), i)->atttypid);
    }
    records_.md.name = pstrdup(kRecords);
    records_.md.tupdesc = desc_;
    records_.md.enrtype = ENR_NAMED_TUPLESTORE;
    records_.md.enrtuples = import->options.chunk_size;
    if (SPI_connect() != SPI_OK_CONNECT || SPI_register_relation(&records_) != SPI_OK_REL_REGISTER) {
        elog(ERROR, "SPI_connect failed");
    }
    bound = binding();
    while_bound(&bound, [&] { plan_ = SPI_prepare(statement_, 0, nullptr); });
    if (plan_ == nullptr) {
        elog(ERROR, "could not prepare \"%s\": %s", statement_, SPI_result_code_string(SPI_result));
    }
    require_checked(&bound);
    MemoryContextSwitchTo(context);
}

/* The records of the range, and one that says that there are no more. */
Tuplestorestate *SpiWriter::store(const RecordRange *range) const {
    Tuplestorestate *store = tuplestore_begin_heap(false, false, work_mem);
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

int SpiWriter::run(RecordRange *range) {
    StatementBinding bound = binding();
    int code = 0;

    PG_TRY();
    {
        current_range = range;
        while_bound(&bound, [&] { code = SPI_execute_plan(plan_, nullptr, nullptr, false, 0); });
    }
    PG_FINALLY();
    { current_range = nullptr; }
    PG_END_TRY();
    return code;
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
    const int code = run(range);
    if (code != SPI_OK_INSERT) {
        elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(code));
    }
    range->inserted = static_cast<int64>(SPI_processed);
    range->skipped = count - range->inserted;
    tuplestore_end(static_cast<Tuplestorestate *>(records_.reldata));
    report_tuples(range->inserted_before + range->inserted, range->excluded_before + range->skipped);
}

void SpiWriter::finish() {
    if (SPI_finish() != SPI_OK_FINISH) {
        elog(ERROR, "SPI_finish failed");
    }
}

} // namespace

Writer *make_spi_writer(Relation target, const Import *import, TupleDesc desc, Oid schema) {
    auto *writer = new (palloc(sizeof(SpiWriter))) SpiWriter(target, desc);

    writer->prepare(import, schema);
    return writer;
}

} // namespace movielens_ingest::pg
