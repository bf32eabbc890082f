#include "pg/reject.hpp"

#include "pg/raw_line.hpp"

namespace movielens_ingest::pg {

Reject make_reject(const Piece *piece, int index, const Refusal *why, int encoding) {
    const RecordPlace *record = &piece->records[index];
    Reject reject;

    reject.row_number = static_cast<int64>(piece->first_row) + index;
    reject.line_number = static_cast<int64>(record->line_number);
    reject.byte_offset = static_cast<int64>(piece->start_byte + record->offset);
    reject.why = copy_refusal(why, CurrentMemoryContext);
    reject.pending = false;
    reject.raw = show_raw_line(piece->bytes + record->offset, record->size, encoding);
    return reject;
}

} // namespace movielens_ingest::pg
