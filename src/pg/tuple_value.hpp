/*
 * tuple_value.hpp - a column of a tuple that this process has formed.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/*
 * column: from 1; the tuple has all columns of desc. heap_getattr() would do, but in the headers of 15.20 it calls
 * heap_datum_check(), which older minor releases do not have: a library built with them would not load there.
 */
inline Datum tuple_value(HeapTuple tuple, int column, TupleDesc desc, bool *null) {
    Assert(column > 0 && column <= static_cast<int>(HeapTupleHeaderGetNatts(tuple->t_data)));
    return fastgetattr(tuple, column, desc, null);
}

} // namespace movielens_ingest::pg
