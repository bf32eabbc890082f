#include "pg/tuple_former.hpp"

#include "core/field_splitter.hpp"
#include "core/number.hpp"
#include "pg/boundary.hpp"
#include "pg/pg.hpp"
#include "pg/record_text.hpp"

namespace movielens_ingest::pg {

namespace {

/* How a field becomes a value. All but Input fall back to the type's input function where core has no answer. */
enum class Conversion : uint8_t { Int4, Int8, Float8, Text, Varchar, Input };

struct Column {
    const char *name;
    int index; /* in the tuple descriptor */
    Conversion conversion;
    FmgrInfo input;
    Oid ioparam;
    int32 typmod;
};

struct Default {
    const char *name;
    int index;
    ExprState *expression;
};

Conversion conversion_of(Oid type) {
    switch (type) {
    case INT4OID:
        return Conversion::Int4;
    case INT8OID:
        return Conversion::Int8;
    case FLOAT8OID:
        return Conversion::Float8;
    case TEXTOID:
        return Conversion::Text;
    case VARCHAROID:
        return Conversion::Varchar;
    default:
        return Conversion::Input;
    }
}

} // namespace

struct TupleFormer {
    Relation target;
    int encoding;
    core::FieldSplitter *splitter;
    MemoryContext record_context; /* reset for each record */
    ExprContext *econtext;        /* for the defaults */
    Datum *values;
    bool *nulls;
    Column *columns;
    int column_count;
    Default *defaults;
    int default_count;
    bool needs_input;           /* some column has no other way, or there are defaults */
    bool has_volatile_defaults; /* nextval aside, as in BeginCopyFrom */
    const char *column;         /* being converted */
    bool in_input;              /* its input function runs */
};

namespace {

void add_column(TupleFormer *former, const char *name) {
    const TupleDesc desc = RelationGetDescr(former->target);
    Oid input;

    for (int i = 0; i < desc->natts; i++) {
        const Form_pg_attribute attribute = TupleDescAttr(desc, i);

        if (!attribute->attisdropped && strcmp(NameStr(attribute->attname), name) == 0) {
            Column *column = &former->columns[former->column_count++];
            column->name = name;
            column->index = i;
            column->typmod = attribute->atttypmod;
            column->conversion = conversion_of(attribute->atttypid);
            getTypeInputInfo(attribute->atttypid, &input, &column->ioparam);
            fmgr_info(input, &column->input);
            former->needs_input |= column->conversion == Conversion::Input;
            return;
        }
    }
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN), errmsg("column \"%s\" of relation \"%s\" does not exist", name,
                                                              RelationGetRelationName(former->target))));
}

bool is_loaded(const TupleFormer *former, int index) {
    for (int i = 0; i < former->column_count; i++) {
        if (former->columns[i].index == index) {
            return true;
        }
    }
    return false;
}

void add_default(TupleFormer *former, EState *estate, int index) {
    const Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(former->target), index);

    if (attribute->attisdropped || attribute->attgenerated != '\0' || is_loaded(former, index)) {
        return;
    }
    auto *expression = reinterpret_cast<Expr *>(build_column_default(former->target, index + 1));
    if (expression == nullptr) {
        return;
    }
    expression = expression_planner(expression);
    former->defaults[former->default_count++] = {NameStr(attribute->attname), index,
                                                 ExecPrepareExpr(expression, estate)};
    former->needs_input = true;
    former->has_volatile_defaults |= contain_volatile_functions_not_nextval(reinterpret_cast<Node *>(expression));
}

void raise_fault(core::RecordFault fault) {
    switch (fault) {
    case core::RecordFault::None:
        break;
    case core::RecordFault::UnquotedCarriageReturn:
        ereport(ERROR, (errcode(ERRCODE_BAD_COPY_FILE_FORMAT), errmsg("unquoted carriage return found in data")));
        break;
    case core::RecordFault::UnquotedNewline:
        ereport(ERROR, (errcode(ERRCODE_BAD_COPY_FILE_FORMAT), errmsg("unquoted newline found in data")));
        break;
    case core::RecordFault::UnterminatedQuote:
        ereport(ERROR, (errcode(ERRCODE_BAD_COPY_FILE_FORMAT), errmsg("unterminated CSV quoted field")));
        break;
    case core::RecordFault::EndOfCopyMarker:
        ereport(ERROR, (errcode(ERRCODE_BAD_COPY_FILE_FORMAT), errmsg("end-of-copy marker found in data")));
        break;
    }
}

/* The value of a field by core's own means. False: the input function has to be asked. */
bool convert_quickly(const Column *column, core::Field field, Datum *value) {
    switch (column->conversion) {
    case Conversion::Int4: {
        int32_t number;
        if (core::parse_int32(field.data, field.size, &number) != core::NumberVerdict::Value) {
            return false;
        }
        *value = Int32GetDatum(number);
        return true;
    }
    case Conversion::Int8: {
        int64_t number;
        if (core::parse_int64(field.data, field.size, &number) != core::NumberVerdict::Value) {
            return false;
        }
        *value = Int64GetDatum(number);
        return true;
    }
    case Conversion::Float8: {
        double number;
        if (core::parse_float64(field.data, field.size, &number) != core::NumberVerdict::Value) {
            return false;
        }
        *value = Float8GetDatum(number);
        return true;
    }
    case Conversion::Varchar:
        /* typmod counts characters: so many bytes always fit. */
        if (column->typmod >= 0 && field.size > static_cast<size_t>(column->typmod - VARHDRSZ)) {
            return false;
        }
        [[fallthrough]];
    case Conversion::Text:
        *value = PointerGetDatum(cstring_to_text_with_len(field.data, static_cast<int>(field.size)));
        return true;
    case Conversion::Input:
        break;
    }
    return false;
}

} // namespace

TupleFormer *make_tuple_former(const Import *import, Relation target) {
    auto *former = static_cast<TupleFormer *>(palloc0(sizeof(TupleFormer)));
    const int natts = RelationGetDescr(target)->natts;
    EState *estate = CreateExecutorState();

    former->target = target;
    former->encoding = import->encoding;
    former->splitter = construct<core::FieldSplitter>(CurrentMemoryContext, dialect_of(import));
    former->record_context =
        AllocSetContextCreate(CurrentMemoryContext, "movielens_ingest record", ALLOCSET_DEFAULT_SIZES);
    former->econtext = GetPerTupleExprContext(estate);
    former->values = static_cast<Datum *>(palloc0(sizeof(Datum) * static_cast<Size>(Max(natts, 1))));
    former->nulls = static_cast<bool *>(palloc0(sizeof(bool) * static_cast<Size>(Max(natts, 1))));
    former->columns = static_cast<Column *>(palloc0(sizeof(Column) * static_cast<Size>(Max(import->column_count, 1))));
    former->defaults = static_cast<Default *>(palloc0(sizeof(Default) * static_cast<Size>(Max(natts, 1))));
    for (int i = 0; i < import->column_count; i++) {
        add_column(former, import->columns[i]);
    }
    for (int i = 0; i < natts; i++) {
        add_default(former, estate, i);
    }
    return former;
}

HeapTuple form_tuple(TupleFormer *former, const char *bytes, const RecordPlace *record, bool may_raise) {
    const char *text = bytes + record->offset;
    size_t size = record->size;
    const TupleDesc desc = RelationGetDescr(former->target);

    former->column = nullptr;
    former->in_input = false;
    if (!may_raise && former->needs_input) {
        return nullptr;
    }
    MemoryContextReset(former->record_context);
    const MemoryContext tuple_context = MemoryContextSwitchTo(former->record_context);
    auto give_up = [tuple_context]() -> HeapTuple {
        MemoryContextSwitchTo(tuple_context);
        return nullptr;
    };

    if (record->fault != core::RecordFault::None) {
        if (!may_raise) {
            return give_up();
        }
        raise_fault(record->fault);
    }
    if (!is_valid_text(text, size, former->encoding)) {
        if (!may_raise) {
            return give_up();
        }
        text = convert_text(text, &size, former->encoding);
    }

    switch (former->splitter->split(text, size)) {
    case core::SplitResult::Ok:
        break;
    case core::SplitResult::UnterminatedQuote:
        if (!may_raise) {
            return give_up();
        }
        raise_fault(core::RecordFault::UnterminatedQuote);
        break;
    case core::SplitResult::OutOfMemory:
        ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
    }

    const int field_count = static_cast<int>(former->splitter->count());
    const core::Field *fields = former->splitter->fields();
    if (field_count != former->column_count && !may_raise) {
        return give_up();
    }
    if (field_count > former->column_count) {
        ereport(ERROR, (errcode(ERRCODE_BAD_COPY_FILE_FORMAT), errmsg("extra data after last expected column")));
    }

    memset(former->nulls, true, sizeof(bool) * static_cast<size_t>(desc->natts));
    for (int i = 0; i < former->column_count; i++) {
        Column *column = &former->columns[i];
        Datum *value = &former->values[column->index];

        former->column = column->name;
        if (i >= field_count) {
            ereport(ERROR,
                    (errcode(ERRCODE_BAD_COPY_FILE_FORMAT), errmsg("missing data for column \"%s\"", column->name)));
        }
        const core::Field field = fields[i];
        const bool null = field.data == nullptr;
        former->nulls[column->index] = null;
        if (null && column->conversion != Conversion::Input) {
            continue;
        }
        if (!null && convert_quickly(column, field, value)) {
            continue;
        }
        if (!may_raise) {
            return give_up();
        }
        /* For NULL too, as COPY does: the input function of a domain checks it. */
        former->in_input = true;
        *value = InputFunctionCall(&column->input, null ? nullptr : pnstrdup(field.data, field.size), column->ioparam,
                                   column->typmod);
        former->in_input = false;
    }

    if (former->default_count > 0) {
        ResetExprContext(former->econtext);
    }
    for (int i = 0; i < former->default_count; i++) {
        const Default *with = &former->defaults[i];

        former->column = with->name;
        former->values[with->index] =
            ExecEvalExprSwitchContext(with->expression, former->econtext, &former->nulls[with->index]);
    }
    former->column = nullptr;

    MemoryContextSwitchTo(tuple_context);
    return heap_form_tuple(desc, former->values, former->nulls);
}

const char *column_at_fault(const TupleFormer *former) { return former->column; }

bool value_was_refused(const TupleFormer *former) { return former->in_input; }

bool forming_has_effects(const TupleFormer *former) { return former->has_volatile_defaults; }

} // namespace movielens_ingest::pg
