#include "pg/tuple_layout.hpp"

#include "core/number.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

namespace {

using Verdict = core::NumberVerdict;

/* A longer text goes the general way; its size would not fit into what is counted here. */
constexpr Size kLongestText = 1024 * 1024;

bool has_rules(Relation target) {
    const TupleConstr *constraints = RelationGetDescr(target)->constr;

    return target->rd_rel->relispartition ||
           (constraints != nullptr && (constraints->num_check > 0 || constraints->has_generated_stored));
}

bool is_any_set(const bool *flags, int count) {
    return flags != nullptr && std::find(flags, flags + count, true) != flags + count;
}

/* The field of the file that goes into a column, or -1. */
int field_of(const Import *import, const Form_pg_attribute attribute) {
    for (int i = 0; i < import->column_count; i++) {
        if (strcmp(import->columns[i], NameStr(attribute->attname)) == 0) {
            return i;
        }
    }
    return -1;
}

uint8 alignment_of(const Form_pg_attribute attribute) {
    return static_cast<uint8>(att_align_nominal(1, attribute->attalign));
}

/* False: the column needs more than a layout. */
bool lay_out(LayoutColumn *column, const Import *import, Relation target, int index) {
    const Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(target), index);

    column->field = attribute->attisdropped ? -1 : field_of(import, attribute);
    column->not_null = attribute->attnotnull;
    if (column->field < 0) {
        return attribute->attisdropped ||
               (!attribute->attnotnull &&
                (is_virtual(attribute) || build_column_default(target, index + 1) == nullptr));
    }
    column->conversion = conversion_of(attribute->atttypid);
    column->alignment = alignment_of(attribute);
    column->can_be_short = attribute->attstorage != TYPSTORAGE_PLAIN;
    column->most_bytes = kLongestText;
    if (column->conversion == Conversion::Varchar && attribute->atttypmod >= VARHDRSZ) {
        column->most_bytes = Min(static_cast<Size>(attribute->atttypmod - VARHDRSZ), kLongestText);
    }
    return column->conversion != Conversion::Input;
}

char *align(char *at, const char *data, uint8 alignment) {
    const auto misaligned = static_cast<Size>(at - data) & (alignment - 1U);

    if (misaligned == 0) {
        return at;
    }
    memset(at, 0, alignment - misaligned);
    return at + (alignment - misaligned);
}

/* Null: it does not know. */
template <typename Number>
char *put_number(Verdict (*parse)(const char *, size_t, Number *), core::Field field, char *at) {
    Number number;

    if (parse(field.data, field.size, &number) != Verdict::Value) {
        return nullptr;
    }
    memcpy(at, &number, sizeof(number));
    return at + sizeof(number);
}

/* data: where the values of the tuple begin, which is MAXALIGNed. */
char *put_text(const LayoutColumn *column, core::Field field, const char *data, char *at) {
    const Size size = field.size;

    if (size > column->most_bytes) {
        return nullptr;
    }
    if (column->can_be_short && size + VARHDRSZ_SHORT <= VARATT_SHORT_MAX) {
        SET_VARSIZE_SHORT(at, size + VARHDRSZ_SHORT);
        at += VARHDRSZ_SHORT;
    } else {
        at = align(at, data, column->alignment);
        SET_VARSIZE(at, size + VARHDRSZ);
        at += VARHDRSZ;
    }
    memcpy(at, field.data, size);
    return at + size;
}

bool is_text(const LayoutColumn *column) {
    return column->conversion == Conversion::Text || column->conversion == Conversion::Varchar;
}

char *put_value(const LayoutColumn *column, core::Field field, const char *data, char *at) {
    if (is_text(column)) {
        return put_text(column, field, data, at);
    }
    at = align(at, data, column->alignment);
    switch (column->conversion) {
    case Conversion::Int2:
        return put_number(core::parse_int16<kIntegerForms>, field, at);
    case Conversion::Int4:
        return put_number(core::parse_int32<kIntegerForms>, field, at);
    case Conversion::Int8:
        return put_number(core::parse_int64<kIntegerForms>, field, at);
    case Conversion::Float4:
        return put_number(core::parse_float32, field, at);
    case Conversion::Float8:
        return put_number(core::parse_float64, field, at);
    case Conversion::Bool:
        return put_number(core::parse_bool, field, at);
    default:
        return nullptr;
    }
}

/* The fields of one record. */
struct PlainFields {
    const char *bytes;
    size_t start;
    const uint32 *ends;
};

core::Field field_at(const PlainFields *fields, int field) {
    const size_t start = field == 0 ? fields->start : fields->ends[field - 1] + size_t{1};

    return {fields->bytes + start, fields->ends[field] - start};
}

bool is_null(const TupleLayout *layout, const PlainFields *fields, int column) {
    const LayoutColumn *of = &layout->columns[column];
    if (of->field < 0) {
        return true;
    }
    const core::Field field = field_at(fields, of->field);
    return layout->dialect.is_null(field.data, field.size);
}

bool has_null(const TupleLayout *layout, const PlainFields *fields) {
    for (int i = 0; i < layout->natts; i++) {
        if (is_null(layout, fields, i)) {
            return true;
        }
    }
    return false;
}

/* Sets the null bitmap, and what pads it. False: there is a null where none may be. */
bool put_nulls(const TupleLayout *layout, const PlainFields *fields, HeapTupleHeader out) {
    uint8 *bits = out->t_bits;

    memset(bits, 0, layout->header_size_with_nulls - SizeofHeapTupleHeader);
    for (int i = 0; i < layout->natts; i++) {
        if (!is_null(layout, fields, i)) {
            bits[i >> 3] |= static_cast<uint8>(1U << (static_cast<unsigned>(i) & 7U));
        } else if (layout->columns[i].not_null) {
            return false;
        }
    }
    out->t_infomask |= HEAP_HASNULL;
    out->t_hoff = layout->header_size_with_nulls;
    return true;
}

} // namespace

const TupleLayout *make_tuple_layout(Relation target, const Import *import) {
    const int natts = RelationGetDescr(target)->natts;

    if (has_rules(target) || import->column_count == 0 || is_any_set(import->force_null, import->column_count) ||
        is_any_set(import->force_not_null, import->column_count)) {
        return nullptr;
    }
    auto *layout = static_cast<TupleLayout *>(
        palloc0(offsetof(TupleLayout, columns) + sizeof(LayoutColumn) * static_cast<Size>(natts)));
    for (int i = 0; i < natts; i++) {
        if (!lay_out(&layout->columns[i], import, target, i)) {
            return nullptr;
        }
    }
    layout->dialect = dialect_of(import);
    layout->natts = natts;
    layout->fields = import->column_count;
    layout->header_size = static_cast<uint8>(MAXALIGN(SizeofHeapTupleHeader));
    layout->header_size_with_nulls = static_cast<uint8>(MAXALIGN(SizeofHeapTupleHeader + BITMAPLEN(natts)));
    /* A number takes 8 bytes at most, a header 4, and before either there may be 7 to align it. */
    layout->fixed_size = layout->header_size_with_nulls + static_cast<Size>(natts) * 2 * sizeof(int64);
    return layout;
}

Size form_plain_tuple(const TupleLayout *layout, const char *bytes, size_t start, const uint32 *ends,
                      HeapTupleHeader out) {
    const PlainFields fields = {bytes, start, ends};

    memset(static_cast<void *>(out), 0, SizeofHeapTupleHeader);
    ItemPointerSetInvalid(&out->t_ctid);
    HeapTupleHeaderSetNatts(out, layout->natts);
    const bool some_null = has_null(layout, &fields);
    if (!some_null) {
        out->t_bits[0] = 0; /* it pads the header */
        out->t_hoff = layout->header_size;
    } else if (!put_nulls(layout, &fields, out)) {
        return 0;
    }
    char *const data = reinterpret_cast<char *>(out) + out->t_hoff;
    char *at = data;
    bool some_text = false;
    for (int i = 0; i < layout->natts; i++) {
        const LayoutColumn *column = &layout->columns[i];

        if (some_null && att_isnull(i, out->t_bits)) {
            continue;
        }
        at = put_value(column, field_at(&fields, column->field), data, at);
        if (at == nullptr) {
            return 0;
        }
        some_text |= is_text(column);
    }
    out->t_infomask |= some_text ? HEAP_HASVARWIDTH : 0;
    return static_cast<Size>(at - reinterpret_cast<char *>(out));
}

} // namespace movielens_ingest::pg
