/*
 * tuple_layout.hpp - heap tuples straight from the fields of plain records, without a Datum in between, for a table
 * whose rows are what the file has.
 *
 * The bytes are those that heap_form_tuple() would make of the values of the input functions. It has no errors: where
 * there is anything to say about a field it says that it does not know.
 */
#pragma once

#include "core/dialect.hpp"
#include "pg/field_conversion.hpp"
#include "pg/ledger.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/* The value of a column. */
struct LayoutColumn {
    int field; /* in the file, from 0; -1: null */
    Conversion conversion;
    uint8 alignment;
    bool not_null;
    bool can_be_short; /* a varlena with a header of one byte, where it is short enough */
    Size most_bytes;   /* of text; a longer one may still be right */
};

/* Computed once for a relation as it is in a transaction. */
struct TupleLayout {
    int natts;
    int fields;
    uint8 header_size; /* t_hoff without a null, */
    uint8 header_size_with_nulls;
    Size fixed_size; /* no tuple takes more than this and the bytes of its record */
    core::Dialect dialect;
    LayoutColumn columns[FLEXIBLE_ARRAY_MEMBER];
};

/*
 * In the current memory context; null if the table or the import needs more than that: defaults, generated columns,
 * constraints other than NOT NULL, types with an input function of their own, the options force_null and
 * force_not_null.
 */
const TupleLayout *make_tuple_layout(Relation target, const Import *import);

/*
 * Forms the tuple of a record at out, which has room for layout->fixed_size and the record, MAXALIGNed. ends: the
 * offsets in bytes of the ends of its fields, of which the first one begins at start. The header is as
 * heap_form_tuple() leaves it for a heap, no transaction has been set. Returns the size of the tuple, 0: it does not
 * know.
 */
Size form_plain_tuple(const TupleLayout *layout, const char *bytes, size_t start, const uint32 *ends,
                      HeapTupleHeader out);

} // namespace movielens_ingest::pg
