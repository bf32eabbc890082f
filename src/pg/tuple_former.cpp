#include "pg/tuple_former.hpp"

#include "core/field_splitter.hpp"
#include "pg/boundary.hpp"
#include "pg/field_conversion.hpp"
#include "pg/pg.hpp"
#include "pg/record_rules.hpp"
#include "pg/record_text.hpp"
#include "pg/target.hpp"
#include "pg/tuple_layout.hpp"
#include "pg/type_code.hpp"

namespace movielens_ingest::pg {

namespace {

struct Column {
    const char *name;
    AttrNumber attnum; /* in the target */
    int index;         /* in the tuple */
    bool force_null;
    bool force_not_null;
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

} // namespace

struct TupleFormer {
    Relation target;
    TupleDesc desc;
    int encoding;
    core::Dialect dialect;
    core::FieldSplitter *splitter;
    core::Field *plain_fields;    /* of a record that the splitter need not see */
    const core::Field *fields;    /* of the record, */
    int field_count;              /* and how many */
    const TupleLayout *layout;    /* or null */
    MemoryContext record_context; /* reset for each record */
    EState *estate;               /* of the defaults and the rules */
    Datum *values;
    bool *nulls;
    Column *columns;
    int column_count;
    Default *defaults;
    int default_count;
    Bitmapset *left_out; /* columns with a default that is not evaluated, as in column_numbers() */
    RecordRules *rules;
    bool runs_code;     /* a record always runs code that may raise an error */
    bool can_refuse;    /* input functions need not raise an error */
    const char *column; /* being converted */
    bool in_input;      /* its input function runs */
};

namespace {

void add_column(TupleFormer *former, const Import *import, int index, TupleShape shape) {
    const char *name = import->columns[index];
    const AttrNumber attnum = get_attnum(RelationGetRelid(former->target), name);
    Oid input;

    if (attnum <= 0) {
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN), errmsg("column \"%s\" of relation \"%s\" does not exist",
                                                                  name, RelationGetRelationName(former->target))));
    }
    const Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(former->target), attnum - 1);
    Column *column = &former->columns[former->column_count++];
    column->name = name;
    column->attnum = attnum;
    column->index = shape == TupleShape::Fields ? index : attnum - 1;
    column->force_null = import->force_null != nullptr && import->force_null[index];
    column->force_not_null = import->force_not_null != nullptr && import->force_not_null[index];
    column->typmod = attribute->atttypmod;
    column->conversion = conversion_of(attribute->atttypid);
    getTypeInputInfo(attribute->atttypid, &input, &column->ioparam);
    fmgr_info(input, &column->input);
    /* What volatile code has done for a record that is refused must not stay: only an error rolls it back. */
    former->can_refuse = former->can_refuse && !reading_is_volatile(attribute->atttypid);
    former->runs_code |= column->conversion == Conversion::Input;
    if (shape == TupleShape::Fields) {
        TupleDescInitEntry(former->desc, static_cast<AttrNumber>(index + 1), psprintf("f%d", index + 1),
                           attribute->atttypid, attribute->atttypmod, attribute->attndims);
        TupleDescInitEntryCollation(former->desc, static_cast<AttrNumber>(index + 1), attribute->attcollation);
    }
}

bool is_loaded(const TupleFormer *former, int index) {
    for (int i = 0; i < former->column_count; i++) {
        if (former->columns[i].index == index) {
            return true;
        }
    }
    return false;
}

void add_default(TupleFormer *former, int index, TupleShape shape) {
    const Form_pg_attribute attribute = TupleDescAttr(former->desc, index);

    if (attribute->attisdropped || attribute->attgenerated != '\0' || is_loaded(former, index)) {
        return;
    }
    auto *expression = reinterpret_cast<Expr *>(build_column_default(former->target, index + 1));
    if (expression == nullptr) {
        return;
    }
    expression = expression_planner(expression);
    if (shape == TupleShape::Known && contain_volatile_functions(reinterpret_cast<Node *>(expression))) {
        former->left_out = bms_add_member(former->left_out, index + 1 - FirstLowInvalidHeapAttributeNumber);
        return;
    }
    former->defaults[former->default_count++] = {NameStr(attribute->attname), index,
                                                 ExecPrepareExpr(expression, former->estate)};
    former->runs_code = true;
}

/* What is wrong with a record before its fields are looked at, or null. */
const char *fault_message(core::RecordFault fault) {
    switch (fault) {
    case core::RecordFault::None:
        break;
    case core::RecordFault::UnquotedCarriageReturn:
        return _("unquoted carriage return found in data");
    case core::RecordFault::UnquotedNewline:
        return _("unquoted newline found in data");
    case core::RecordFault::UnterminatedQuote:
        return _("unterminated CSV quoted field");
    case core::RecordFault::MismatchedMarker:
        return _("end-of-copy marker does not match previous newline style");
    case core::RecordFault::EndOfCopyMarker:
        return _("end-of-copy marker found in data");
    }
    return nullptr;
}

bool refuse_form(Refusal *why, const char *message) {
    *why = {ERRCODE_BAD_COPY_FILE_FORMAT, message, nullptr, nullptr};
    return false;
}

/* The fields of a plain record are where the reader has found their ends. */
void take_plain_fields(TupleFormer *former, const Piece *piece, int index) {
    const uint32 *ends = ends_of(piece, index);
    size_t start = piece->records[index].offset;

    for (int i = 0; i < piece->fields; i++) {
        const core::Field field = {piece->bytes + start, ends[i] - start};
        former->plain_fields[i] = former->dialect.is_null(field.data, field.size) ? core::Field{nullptr, 0} : field;
        start = ends[i] + size_t{1};
    }
    former->fields = former->plain_fields;
    former->field_count = piece->fields;
}

/* Splits the record's text into as many fields as there are columns. False: it cannot be done. */
bool split_record(TupleFormer *former, const char *text, size_t size, Refusal *why) {
    switch (former->splitter->split(text, size)) {
    case core::SplitResult::Ok:
        break;
    case core::SplitResult::UnterminatedQuote:
        return refuse_form(why, fault_message(core::RecordFault::UnterminatedQuote));
    case core::SplitResult::OutOfMemory:
        ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
    }
    former->fields = former->splitter->fields();
    former->field_count = static_cast<int>(former->splitter->count());
    return former->field_count <= former->column_count || refuse_form(why, _("extra data after last expected column"));
}

/* What force_null and force_not_null make of a field (NextCopyFrom). */
core::Field force(const TupleFormer *former, const Column *column, core::Field field) {
    const core::Dialect *dialect = &former->dialect;

    if (column->force_not_null && field.data == nullptr) {
        return {dialect->null_string, dialect->null_size};
    }
    if (column->force_null && field.data != nullptr && dialect->is_null(field.data, field.size)) {
        return {nullptr, 0};
    }
    return field;
}

/* False: the text, null for NULL, is refused without an error. One that ends more than the record is raised anyway. */
bool call_input_function(const TupleFormer *former, Column *column, char *text, Datum *value, Refusal *why) {
    if (former->can_refuse) {
        const ErrorData *error = try_input_function(&column->input, text, column->ioparam, column->typmod, value);
        if (error == nullptr) {
            return true;
        }
        if (is_values_own(error)) {
            *why = {error->sqlerrcode, error->message, error->detail, column->name};
            return false;
        }
    }
    *value = InputFunctionCall(&column->input, text, column->ioparam, column->typmod);
    return true;
}

Formed set_value(TupleFormer *former, Column *column, core::Field field, bool may_raise, Refusal *why) {
    Datum *value = &former->values[column->index];
    const bool null = field.data == nullptr;

    former->nulls[column->index] = null;
    if (column->conversion != Conversion::Input) {
        const Converted converted =
            null ? Converted::Value : convert_field(column->conversion, column->typmod, field, value, why);
        if (converted == Converted::Value) {
            return Formed::Tuple;
        }
        if (converted == Converted::Refused) {
            why->column = column->name;
            return Formed::Refused;
        }
    }
    if (!may_raise) {
        return Formed::NotTried;
    }
    /* For NULL too, as COPY does: the input function of a domain checks it. */
    former->column = column->name;
    former->in_input = true;
    const bool taken =
        call_input_function(former, column, null ? nullptr : pnstrdup(field.data, field.size), value, why);
    former->in_input = false;
    former->column = nullptr;
    return taken ? Formed::Tuple : Formed::Refused;
}

Formed set_values(TupleFormer *former, bool may_raise, Refusal *why) {
    memset(former->nulls, true, sizeof(bool) * static_cast<size_t>(former->desc->natts));
    for (int i = 0; i < former->column_count; i++) {
        Column *column = &former->columns[i];

        if (i >= former->field_count) {
            refuse_form(why, psprintf(_("missing data for column \"%s\""), column->name));
            why->column = column->name;
            return Formed::Refused;
        }
        const Formed formed = set_value(former, column, force(former, column, former->fields[i]), may_raise, why);
        if (formed != Formed::Tuple) {
            return formed;
        }
    }
    return Formed::Tuple;
}

void set_defaults(TupleFormer *former) {
    ExprContext *econtext = GetPerTupleExprContext(former->estate);

    for (int i = 0; i < former->default_count; i++) {
        const Default *with = &former->defaults[i];

        former->column = with->name;
        former->values[with->index] =
            ExecEvalExprSwitchContext(with->expression, econtext, &former->nulls[with->index]);
    }
    former->column = nullptr;
}

/* In the record's memory context, which is the current one. */
Formed set_row(TupleFormer *former, const Piece *piece, int index, bool may_raise, Refusal *why) {
    const RecordPlace *record = &piece->records[index];
    const char *text = piece->bytes + record->offset;
    size_t size = record->size;

    if (record->fault != core::RecordFault::None) {
        refuse_form(why, fault_message(record->fault));
        return Formed::Refused;
    }
    const bool valid = piece->is_text || is_valid_text(text, size, former->encoding);
    if (!valid) {
        if (!may_raise) {
            return Formed::NotTried;
        }
        text = convert_text(text, &size, former->encoding);
    }
    if (valid && record->plain) {
        take_plain_fields(former, piece, index);
    } else if (!split_record(former, text, size, why)) {
        return Formed::Refused;
    }
    const Formed formed = set_values(former, may_raise, why);
    if (formed != Formed::Tuple || former->rules == nullptr) {
        return formed;
    }
    ResetPerTupleExprContext(former->estate);
    set_defaults(former);
    return apply_rules(former->rules, former->values, former->nulls, why) ? Formed::Tuple : Formed::Refused;
}

} // namespace

TupleFormer *make_tuple_former(const Import *import, Relation target, TupleShape shape) {
    auto *former = static_cast<TupleFormer *>(palloc0(sizeof(TupleFormer)));
    const int columns = import->column_count;

    former->target = target;
    former->desc = shape == TupleShape::Fields ? CreateTemplateTupleDesc(columns + 1) : RelationGetDescr(target);
    const auto natts = static_cast<Size>(former->desc->natts);
    former->encoding = import->encoding;
    former->dialect = dialect_of(import);
    former->splitter = construct<core::FieldSplitter>(CurrentMemoryContext, former->dialect);
    former->plain_fields = static_cast<core::Field *>(palloc(sizeof(core::Field) * static_cast<Size>(Max(columns, 1))));
    former->record_context =
        AllocSetContextCreate(CurrentMemoryContext, "movielens_ingest record", ALLOCSET_DEFAULT_SIZES);
    former->values = static_cast<Datum *>(palloc0(sizeof(Datum) * Max(natts, 1)));
    former->nulls = static_cast<bool *>(palloc0(sizeof(bool) * Max(natts, 1)));
    former->can_refuse = kInputCanRefuse;
    former->columns = static_cast<Column *>(palloc0(sizeof(Column) * static_cast<Size>(Max(columns, 1))));
    former->defaults = static_cast<Default *>(palloc0(sizeof(Default) * Max(natts, 1)));
    for (int i = 0; i < columns; i++) {
        add_column(former, import, i, shape);
    }
    if (shape == TupleShape::Fields) {
        TupleDescInitEntry(former->desc, static_cast<AttrNumber>(natts), "record", INT4OID, -1, 0);
        finalize_description(former->desc);
        return former;
    }
    former->estate = CreateExecutorState();
    for (int i = 0; i < former->desc->natts; i++) {
        add_default(former, i, shape);
    }
    former->rules = make_record_rules(target, column_numbers(target, import->columns, import->column_count),
                                      former->left_out, former->estate);
    former->runs_code |= rules_may_raise(former->rules);
    former->layout = make_tuple_layout(target, import);
    return former;
}

TupleDesc formed_desc(const TupleFormer *former) { return former->desc; }

int column_in_tuple(const TupleFormer *former, AttrNumber attnum) {
    for (int i = 0; i < former->column_count; i++) {
        if (former->columns[i].attnum == attnum) {
            return former->columns[i].index;
        }
    }
    return -1;
}

Formed form_tuple(TupleFormer *former, const Piece *piece, int index, bool may_raise, HeapTuple *tuple, Refusal *why) {
    former->column = nullptr;
    former->in_input = false;
    if (!may_raise && former->runs_code) {
        return Formed::NotTried;
    }
    MemoryContextReset(former->record_context);
    const MemoryContext tuple_context = MemoryContextSwitchTo(former->record_context);
    const Formed formed = set_row(former, piece, index, may_raise, why);
    MemoryContextSwitchTo(tuple_context);

    if (formed == Formed::Tuple) {
        if (former->rules == nullptr) {
            former->values[former->column_count] = Int32GetDatum(index);
            former->nulls[former->column_count] = false;
        }
        *tuple = heap_form_tuple(former->desc, former->values, former->nulls);
    }
    return formed;
}

int form_plain_tuples(const TupleFormer *former, const Piece *piece, int from, int to, TupleRoom *room,
                      HeapTuple *tuples) {
    constexpr Size kRoomSize = 256 * 1024;

    if (former->layout == nullptr || !piece->is_text) {
        return from;
    }
    for (int i = from; i < to; i++) {
        const RecordPlace *record = &piece->records[i];
        if (!record->plain) {
            return i;
        }
        /* MAXALIGN: the next one's too. */
        const Size most = HEAPTUPLESIZE + MAXALIGN(former->layout->fixed_size + record->size);
        if (room->left < most) {
            room->left = Max(kRoomSize, most);
            room->next = static_cast<char *>(palloc(room->left));
        }
        auto *tuple = reinterpret_cast<HeapTuple>(room->next);
        tuple->t_data = reinterpret_cast<HeapTupleHeader>(room->next + HEAPTUPLESIZE);
        const Size size =
            form_plain_tuple(former->layout, piece->bytes, record->offset, ends_of(piece, i), tuple->t_data);
        if (size == 0) {
            return i;
        }
        tuple->t_len = static_cast<uint32>(size);
        ItemPointerSetInvalid(&tuple->t_self);
        tuple->t_tableOid = InvalidOid;
        tuples[i] = tuple;
        room->next += HEAPTUPLESIZE + MAXALIGN(size);
        room->left -= HEAPTUPLESIZE + MAXALIGN(size);
    }
    return to;
}

const char *column_at_fault(const TupleFormer *former) { return former->column; }

bool value_was_refused(const TupleFormer *former) { return former->in_input; }

} // namespace movielens_ingest::pg
