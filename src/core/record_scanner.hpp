/*
 * record_scanner.hpp - where a record ends, by the grammar of COPY (CopyReadLineText in copyfromparse.c).
 *
 * The planner and the loaders use this one scanner, so that both see the same records. It is fed a file, or a
 * range of it that starts at a record, in pieces of any size; it keeps what it must remember between them.
 */
#pragma once

#include "core/dialect.hpp"
#include "core/unquoted_records.hpp"

#include <cstddef>
#include <cstdint>

namespace movielens_ingest::core {

/* What is wrong with a record as a whole, before its fields are looked at. The first fault met counts. */
enum class RecordFault : uint8_t {
    None,
    UnquotedCarriageReturn, /* a CR outside quotes that is no part of the file's line end */
    UnquotedNewline,        /* an LF outside quotes that is not the file's line end; it ends the record all the same */
    UnterminatedQuote,      /* a quote that never closes: the record is cut at its first line, see finish() */
    /* Only if the dialect has end-of-copy markers: */
    MismatchedMarker, /* "\." before a CR or LF that is not the file's line end */
    EndOfCopyMarker,  /* "\." alone on a line: COPY would end the input here and lose what follows */
};

/* One record. Sizes are in bytes. */
struct Record {
    uint64_t size;    /* with its line end */
    uint64_t content; /* without its line end */
    uint64_t lines;   /* line breaks in it, quoted ones too: LF, or CR in a file whose line end is CR */
    RecordFault fault;
};

class RecordScanner {
  public:
    explicit RecordScanner(const Dialect &dialect) noexcept;

    /*
     * Reads data[*pos, size) to the end of a record. True: a record ended, *pos is just behind its line end, and
     * *record tells its sizes, counted from where the last one ended, over all pieces. False: the piece is used up
     * (*pos is size) and the record goes on in the next one. Where the byte behind a CR decides, a CR in the last byte
     * of a piece is judged with the next piece. So a record may end at *pos = 0, but only while the line end is
     * Unknown.
     *
     * While the line end is Unknown, the first one that ends a record decides it: one outside quotes, as in COPY, or
     * the one where finish() cuts the first record.
     */
    bool next(const char *data, size_t size, size_t *pos, Record *record) noexcept;

    /*
     * Passes the records in data[*pos, size) that end before the next quote, `most` of them (1 or more) at most,
     * without judging them, and says how many. *pos is then just behind the last one. None, in the middle of a record
     * or while the line end is Unknown.
     */
    RecordCount pass_unquoted(const char *data, size_t size, size_t *pos, uint64_t most) const noexcept;

    /*
     * Call at the end of the input, after next() has used it up. True: the input did not end in a line end (or in a CR
     * that turned out to be one only now), and *record is its last record. The scanner is then as new, but keeps the
     * line end if that is known.
     *
     * A record whose quote is still open is cut behind its first line break: an LF, or a CR in a file whose line end is
     * CR. The bytes from there on have to be scanned again, so the caller feeds next() again from record->size behind
     * the record's start. The fault is UnterminatedQuote, unless the part cut off had one before. The content is
     * without the line break; a CR before the LF belongs to that unless the file's line end is LF, where it is data.
     * While the line end is Unknown, the first LF is the line break, or the first CR if there is no LF.
     *
     * From the cut to the end of the input every line is then a record (the reason is in record_scanner.cpp). So next()
     * cuts open quotes at once from here on, and the bytes behind the cut are scanned once more and not again for each
     * further open quote. Another input needs restart().
     */
    bool finish(Record *record) noexcept;

    /*
     * Starts anew, before a record; keeps the line end. behind_cut: in the bytes that follow an open quote is cut at
     * its first line break, as behind a cut of finish(); the line end must be known.
     */
    void restart(bool behind_cut) noexcept;

    LineEnd line_end() const noexcept { return dialect_.line_end; }

  private:
    enum ByteClass : uint8_t { Ordinary, Quote, Escape, Newline, CarriageReturn };

    /* The line breaks of the record so far, one kind of them. What it says of the first one is for those in quotes. */
    struct Breaks {
        uint64_t count;
        uint64_t end;      /* the first one: the offset in the record just behind it, */
        uint64_t content;  /* the size of what stands before it, */
        RecordFault fault; /* and the record's fault there */
    };

    bool scan(const char *data, size_t size, size_t *pos, Record *record) noexcept;
    bool scan_marker(const char *data, size_t size, size_t *pos, Record *record) noexcept;
    bool may_be_carriage_return_newline() const noexcept;
    const Breaks &breaks() const noexcept;
    void note_fault(RecordFault fault) noexcept;
    bool note_break(Breaks *breaks, uint64_t end, uint64_t content) noexcept;
    void note_escape(uint64_t end) noexcept;
    void resume_from_marker() noexcept;
    void end_record(uint64_t size, uint64_t line_end_size, Record *record) noexcept;
    void end_marker(uint64_t line_end_size, Record *record) noexcept;
    void cut_record(Record *record) noexcept;
    void start_record() noexcept;

    Dialect dialect_;
    uint8_t classes_[256];    /* ByteClass of each byte */
    bool behind_cut_ = false; /* open quotes are cut at their first line break */

    /* The record so far, in the pieces before this one. */
    uint64_t size_;
    unsigned marker_; /* bytes at its start that may become an end-of-copy marker, neither scanned nor in size_ yet */
    bool in_quote_;
    uint64_t escaped_end_; /* offset in the record just behind the byte that an escape stands before; 0: none */
    bool pending_cr_;      /* its last byte is an unquoted CR, to be judged by the next byte */
    char last_byte_;
    RecordFault fault_;
    Breaks newlines_;
    Breaks carriage_returns_;
};

} // namespace movielens_ingest::core
