#include "pg/chunk_work.hpp"

#include "pg/cancel_watch.hpp"
#include "pg/pg.hpp"
#include "pg/progress.hpp"
#include "pg/subtransaction.hpp"

namespace movielens_ingest::pg {

namespace {

constexpr int kReportInterval = 1000; /* records */
constexpr int kMostRefused = 1000;    /* then they are passed on */

struct Forming {
    ChunkWork *work;
    int next;    /* record to form next */
    int refused; /* records that have not been passed on */
    bool may_raise;
    TupleRoom room; /* in the piece's context */
};

/* Forms tuples, from the next record on, until the server's own code would have to be asked, or raises an error. */
void form_tuples(void *argument) {
    auto *forming = static_cast<Forming *>(argument);
    ChunkWork *work = forming->work;

    while (forming->next < work->piece.count && forming->refused < kMostRefused) {
        const int end = Min(forming->next + kReportInterval, work->piece.count);
        Refusal why;

        CHECK_FOR_INTERRUPTS();
        const MemoryContext context = MemoryContextSwitchTo(work->piece_context);
        const int record =
            form_plain_tuples(work->former, &work->piece, forming->next, end, &forming->room, work->tuples);
        forming->next = record;
        if (record == end) {
            MemoryContextSwitchTo(context);
            report_bytes(bytes_behind(work, record - 1));
            continue;
        }
        const Formed formed =
            form_tuple(work->former, &work->piece, record, forming->may_raise, &work->tuples[record], &why);
        MemoryContextSwitchTo(context);
        if (formed == Formed::NotTried) {
            return;
        }
        if (formed == Formed::Refused) {
            work->tuples[record] = nullptr;
            work->refusals[record] = copy_refusal(&why, work->try_context);
            forming->refused++;
        }
        forming->next++;
        if (record % kReportInterval == 0) {
            report_bytes(bytes_behind(work, record));
        }
    }
}

void pass_on_refused(Forming *forming, int from) {
    ChunkWork *work = forming->work;

    for (int i = from; i < forming->next; i++) {
        if (work->refusals[i].sqlerrcode != 0) {
            refuse(work, i, &work->refusals[i]);
        }
    }
    forming->refused = 0;
    MemoryContextReset(work->try_context);
}

} // namespace

void form_piece(ChunkWork *work) {
    MemoryContextReset(work->piece_context);
    const auto count = static_cast<Size>(work->piece.count);
    work->tuples = static_cast<HeapTuple *>(MemoryContextAllocHuge(work->piece_context, sizeof(HeapTuple) * count));
    work->refusals = static_cast<Refusal *>(
        MemoryContextAllocExtended(work->piece_context, sizeof(Refusal) * count, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO));

    Forming forming = {work, 0, 0, false, {nullptr, 0}};

    while (forming.next < work->piece.count) {
        const int from = forming.next;
        ErrorData *error = nullptr;

        obey_watch();

        if (!forming.may_raise) {
            form_tuples(&forming);
            forming.may_raise = true;
        } else {
            /* What may raise an error runs in a subtransaction, which ends with the first one. */
            error = try_in_subtransaction(form_tuples, &forming);
            forming.may_raise = false;
        }
        pass_on_refused(&forming, from);
        if (error != nullptr) {
            if (!(value_was_refused(work->former) ? is_values_own(error) : is_records_own(error))) {
                ReThrowError(error);
            }
            refuse_for_error(work, forming.next, error, column_at_fault(work->former));
            report_work(work, bytes_behind(work, forming.next)); /* it ended with the subtransaction */
            free_error(error);
            forming.next++;
        }
    }
}

} // namespace movielens_ingest::pg
