#include "pg/progress.hpp"

namespace movielens_ingest::pg {

namespace {

SharedSlot *live = nullptr;

void note_live(int64 rows) {
    if (live != nullptr) {
        pg_atomic_write_u64(&live->rows, static_cast<uint64>(rows));
    }
}

} // namespace

void report_live(SharedSlot *slot, const core::Chunk *chunk) {
    live = slot;
    if (live != nullptr) {
        pg_atomic_write_u64(&live->rows, 0);
        pg_atomic_write_u64(&live->all_rows, chunk->end_row - chunk->start_row + 1);
        pg_atomic_write_u64(&live->all_bytes, chunk->end_byte - chunk->start_byte);
        pg_write_barrier(); /* pairs with the one in sample_now(): note_live() comes after this */
    }
}

void report_activity(const char *format, ...) {
    char text[1024];
    va_list arguments;

    va_start(arguments, format);
    const int length = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (length >= static_cast<int>(sizeof(text))) {
        /* Not in the middle of a character: pg_stat_activity would fail for everyone. */
        text[pg_mbcliplen(text, sizeof(text) - 1, sizeof(text) - MAX_MULTIBYTE_CHAR_LEN)] = '\0';
    }
    pgstat_report_activity(STATE_RUNNING, text);
}

void report_idle() { pgstat_report_activity(STATE_IDLE, nullptr); }

void report_chunk(Oid target, uint64 total_bytes, uint64 read_bytes, const ChunkCounts *counts) {
    const int parameters[] = {PROGRESS_COPY_COMMAND,          PROGRESS_COPY_TYPE,
                              PROGRESS_COPY_BYTES_TOTAL,      PROGRESS_COPY_BYTES_PROCESSED,
                              PROGRESS_COPY_TUPLES_PROCESSED, PROGRESS_COPY_TUPLES_EXCLUDED};
    const int64 values[] = {
        PROGRESS_COPY_COMMAND_FROM,     PROGRESS_COPY_TYPE_FILE, static_cast<int64>(total_bytes),
        static_cast<int64>(read_bytes), counts->loaded,          counts->rejected + counts->skipped};

    note_live(counts->loaded + counts->rejected + counts->skipped);
    if (MyBEEntry == nullptr || MyBEEntry->st_progress_command != PROGRESS_COMMAND_COPY) {
        pgstat_progress_start_command(PROGRESS_COMMAND_COPY, target);
    }
    pgstat_progress_update_multi_param(lengthof(parameters), parameters, values);
}

void report_bytes(uint64 read_bytes) {
    pgstat_progress_update_param(PROGRESS_COPY_BYTES_PROCESSED, static_cast<int64>(read_bytes));
}

void report_tuples(int64 tuples, int64 excluded) {
    const int parameters[] = {PROGRESS_COPY_TUPLES_PROCESSED, PROGRESS_COPY_TUPLES_EXCLUDED};
    const int64 values[] = {tuples, excluded};

    note_live(tuples + excluded);
    pgstat_progress_update_multi_param(lengthof(parameters), parameters, values);
}

void report_chunk_ended() { pgstat_progress_end_command(); }

} // namespace movielens_ingest::pg
