#include "core/record_scanner.hpp"

#include <algorithm>
#include <cstring>

namespace movielens_ingest::core {

namespace {

/* The end-of-copy marker, with the CR that may follow it. */
constexpr char kMarker[] = "\\.\r";

} // namespace

RecordScanner::RecordScanner(const Dialect &dialect) noexcept : dialect_(dialect) {
    memset(classes_, Ordinary, sizeof(classes_));
    classes_[static_cast<unsigned char>(dialect.escape)] = Escape;
    classes_[static_cast<unsigned char>('\n')] = Newline;
    classes_[static_cast<unsigned char>('\r')] = CarriageReturn;
    classes_[static_cast<unsigned char>(dialect.quote)] = Quote;
    start_record();
}

void RecordScanner::start_record() noexcept {
    size_ = 0;
    marker_ = 0;
    in_quote_ = false;
    escaped_end_ = 0;
    pending_cr_ = false;
    last_byte_ = '\0';
    fault_ = RecordFault::None;
    newlines_.count = 0;
    carriage_returns_.count = 0;
}

void RecordScanner::note_fault(RecordFault fault) noexcept {
    if (fault_ == RecordFault::None)
        fault_ = fault;
}

/* A line break in quotes. True: the record is to be cut there. */
bool RecordScanner::note_break(Breaks *breaks, uint64_t end, uint64_t content) noexcept {
    if (breaks->count++ == 0) {
        breaks->end = end;
        breaks->content = content;
        breaks->fault = fault_;
    }
    return behind_cut_ && breaks == &this->breaks();
}

/* An escape in quotes. One that is itself escaped means nothing. */
void RecordScanner::note_escape(uint64_t end) noexcept {
    if (end != escaped_end_)
        escaped_end_ = end + 1;
}

bool RecordScanner::may_be_carriage_return_newline() const noexcept {
    return dialect_.line_end == LineEnd::CrLf || dialect_.line_end == LineEnd::Unknown;
}

/* While the line end is not known, a CR counts as a line break only if the record has no LF. */
const RecordScanner::Breaks &RecordScanner::breaks() const noexcept {
    const bool by_cr =
        dialect_.line_end == LineEnd::Cr || (dialect_.line_end == LineEnd::Unknown && newlines_.count == 0);
    return by_cr ? carriage_returns_ : newlines_;
}

/* size: of the record, line_end_size of it for the line end (0 at the end of the input). */
void RecordScanner::end_record(uint64_t size, uint64_t line_end_size, Record *record) noexcept {
    record->size = size;
    record->content = size - line_end_size;
    record->lines = breaks().count;
    record->fault = fault_;
    start_record();
}

/*
 * Of a record whose quote is open. Why every line behind such a cut is a record, if the quote stays open up to the end
 * of the input:
 *
 * Let A be the scan that began at the cut record, and B the one that begins behind the cut. A is in quotes at every
 * line break, or it would have ended its record there. B starts outside quotes. A quote turns both round, unless A has
 * just met an escape in quotes, which B does not see, or B one that A does not see. So either one of them is in quotes
 * and the other is not, or they have come together and stay so. As long as they are apart, B is outside quotes at a
 * line break, and ends its record. Once they are together, B is in quotes at each line break up to the end, like A: it
 * will never end its record, which is therefore cut at its first line break. Either way B's next record begins behind
 * the line break, where A is in quotes and B is not, as at the start. (With escape and quote the same, they never come
 * together. An end-of-copy marker too ends a record of B at a line break.)
 *
 * While the line end is Unknown, it takes the whole rest of the input to say what a line break is. The break at which
 * the record is cut is then the first line end, and decides for the rest. A is in quotes at every CR and LF of that, so
 * what is said above holds whatever it decides.
 */
void RecordScanner::cut_record(Record *record) noexcept {
    const Breaks &first = breaks();
    if (dialect_.line_end == LineEnd::Unknown) {
        if (&first == &carriage_returns_)
            dialect_.line_end = LineEnd::Cr;
        else
            dialect_.line_end = first.end - first.content == 2 ? LineEnd::CrLf : LineEnd::Lf;
    }
    record->size = first.end;
    record->content = first.content;
    record->lines = 1;
    record->fault = first.fault == RecordFault::None ? RecordFault::UnterminatedQuote : first.fault;
    restart(true);
}

void RecordScanner::restart(bool behind_cut) noexcept {
    behind_cut_ = behind_cut;
    start_record();
}

bool RecordScanner::next(const char *data, size_t size, size_t *pos, Record *record) noexcept {
    if (marker_ > 0 || (dialect_.end_marker && size_ == 0 && *pos < size && data[*pos] == kMarker[0]))
        return scan_marker(data, size, pos, record);
    return scan(data, size, pos, record);
}

/*
 * Each quote toggles, as in CopyReadLineText, but for one that an escape in quotes stands before. When quote and escape
 * are the same, two in a row just toggle twice.
 */
bool RecordScanner::scan(const char *data, size_t size, size_t *pos, Record *record) noexcept {
    const size_t start = *pos;
    size_t at = start;

    if (pending_cr_ && at < size) {
        pending_cr_ = false;
        if (data[at] == '\n') {
            *pos = at + 1;
            dialect_.line_end = LineEnd::CrLf;
            ++newlines_.count;
            end_record(size_ + 1, 2, record);
            return true;
        }
        if (dialect_.line_end == LineEnd::Unknown) {
            dialect_.line_end = LineEnd::Cr;
            ++carriage_returns_.count;
            end_record(size_, 1, record);
            return true;
        }
        note_fault(RecordFault::UnquotedCarriageReturn);
    }

    for (;;) {
        while (at < size && classes_[static_cast<unsigned char>(data[at])] == Ordinary)
            ++at;
        if (at == size)
            break;

        const char c = data[at++];
        const uint64_t end = size_ + (at - start);
        uint64_t line_end_size = 0;
        bool cut = false;
        switch (classes_[static_cast<unsigned char>(c)]) {
        case Quote:
            if (end != escaped_end_)
                in_quote_ = !in_quote_;
            break;

        case Escape:
            if (in_quote_)
                note_escape(end);
            break;

        case Newline:
            if (in_quote_) {
                /* A quote came before it, so there is a byte before it in the record. */
                const char before = at - 1 > start ? data[at - 2] : last_byte_;
                cut = note_break(&newlines_, end, end - (before == '\r' && may_be_carriage_return_newline() ? 2 : 1));
                if (c == dialect_.escape)
                    note_escape(end);
                break;
            }
            if (dialect_.line_end == LineEnd::Unknown)
                dialect_.line_end = LineEnd::Lf;
            if (dialect_.line_end != LineEnd::Lf)
                note_fault(RecordFault::UnquotedNewline);
            ++newlines_.count; /* which no one asks for in a CR file: there it is no line break */
            line_end_size = 1;
            break;

        case CarriageReturn:
            if (in_quote_) {
                cut = note_break(&carriage_returns_, end, end - 1);
                if (c == dialect_.escape)
                    note_escape(end);
            } else if (dialect_.line_end == LineEnd::Cr) {
                ++carriage_returns_.count;
                line_end_size = 1;
            } else if (dialect_.line_end == LineEnd::Lf) {
                note_fault(RecordFault::UnquotedCarriageReturn);
            } else if (at == size) {
                pending_cr_ = true;
            } else if (data[at] == '\n') {
                ++at;
                dialect_.line_end = LineEnd::CrLf;
                ++newlines_.count;
                line_end_size = 2;
            } else if (dialect_.line_end == LineEnd::Unknown) {
                dialect_.line_end = LineEnd::Cr;
                ++carriage_returns_.count;
                line_end_size = 1;
            } else {
                note_fault(RecordFault::UnquotedCarriageReturn);
            }
            break;

        default:
            break;
        }

        if (line_end_size > 0) {
            *pos = at;
            end_record(size_ + (at - start), line_end_size, record);
            return true;
        }
        if (cut) {
            *pos = at;
            cut_record(record);
            return true;
        }
    }

    if (size > start) {
        size_ += size - start;
        last_byte_ = data[size - 1];
    }
    *pos = size;
    return false;
}

RecordCount RecordScanner::pass_unquoted(const char *data, size_t size, size_t *pos, uint64_t most) const noexcept {
    if (size_ > 0 || marker_ > 0 || dialect_.line_end == LineEnd::Unknown)
        return {0, 0};
    return count_unquoted_records(dialect_, data, size, pos, most);
}

/*
 * Up to PostgreSQL 17 COPY looks for its end-of-copy marker before it minds quotes (so it would find one even if the
 * quote character is the backslash or the point), and judges by the line end. The bytes of a marker that turns out to
 * be none are scanned afterwards. They are known, so it does not matter in how many pieces they came.
 */
bool RecordScanner::scan_marker(const char *data, size_t size, size_t *pos, Record *record) noexcept {
    for (; *pos < size; ++*pos) {
        const char c = data[*pos];
        if (marker_ < 2) {
            if (c != kMarker[marker_])
                break;
            ++marker_;
        } else if (marker_ == 2) {
            if (c == '\n' && (dialect_.line_end == LineEnd::Lf || dialect_.line_end == LineEnd::Unknown)) {
                ++*pos;
                dialect_.line_end = LineEnd::Lf;
                end_marker(1, record);
                return true;
            }
            if (c == '\r' && dialect_.line_end == LineEnd::Cr) {
                ++*pos;
                end_marker(1, record);
                return true;
            }
            if (c == '\r' && may_be_carriage_return_newline()) {
                ++marker_;
                continue;
            }
            if (c == '\r' || (c == '\n' && dialect_.line_end == LineEnd::Cr))
                note_fault(RecordFault::MismatchedMarker);
            break;
        } else {
            if (c == '\n') {
                ++*pos;
                dialect_.line_end = LineEnd::CrLf;
                end_marker(2, record);
                return true;
            }
            if (dialect_.line_end == LineEnd::Unknown) {
                dialect_.line_end = LineEnd::Cr;
                end_marker(1, record);
                return true;
            }
            if (c == '\r')
                note_fault(RecordFault::MismatchedMarker);
            break;
        }
    }
    if (*pos == size)
        return false;
    resume_from_marker();
    return scan(data, size, pos, record);
}

/* No record can end in these bytes: a CR is among them only if the byte behind it decides. */
void RecordScanner::resume_from_marker() noexcept {
    const size_t size = std::min<size_t>(marker_, sizeof(kMarker) - 1);
    size_t pos = 0;
    Record none;
    marker_ = 0;
    scan(kMarker, size, &pos, &none);
}

void RecordScanner::end_marker(uint64_t line_end_size, Record *record) noexcept {
    fault_ = RecordFault::EndOfCopyMarker;
    ++(dialect_.line_end == LineEnd::Cr ? carriage_returns_ : newlines_).count;
    end_record(2 + line_end_size, line_end_size, record);
}

bool RecordScanner::finish(Record *record) noexcept {
    if (marker_ == 3 && dialect_.line_end == LineEnd::Unknown) {
        dialect_.line_end = LineEnd::Cr;
        end_marker(1, record);
        return true;
    }
    if (marker_ > 0)
        resume_from_marker();
    if (size_ == 0)
        return false;

    if (pending_cr_ && dialect_.line_end == LineEnd::Unknown) {
        dialect_.line_end = LineEnd::Cr;
        ++carriage_returns_.count;
        end_record(size_, 1, record);
        return true;
    }
    if (pending_cr_)
        note_fault(RecordFault::UnquotedCarriageReturn);

    if (!in_quote_) {
        end_record(size_, 0, record);
        return true;
    }

    if (breaks().count == 0) {
        note_fault(RecordFault::UnterminatedQuote);
        end_record(size_, 0, record);
        return true;
    }
    cut_record(record);
    return true;
}

} // namespace movielens_ingest::core
