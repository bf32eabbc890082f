#include "pg/chunk_work.hpp"

#include "pg/foreign_keys.hpp"
#include "pg/pg.hpp"
#include "pg/self_references.hpp"
#include "pg/subtransaction.hpp"

namespace movielens_ingest::pg {

namespace {

/*
 * Finding the records that cannot be written. Ranges of records are tried; their size follows how far the bad ones have
 * been apart, so that a bad record costs the same however many there are. When a range fails and its writer knows at
 * which record, those before it are tried again and the search goes on from it; when it does not (a trigger behind the
 * statement has raised the error), the range is halved.
 */
struct Search {
    ChunkWork *work;
    RecordRange range;
    int size;          /* of the next range */
    int end;           /* of a range of which is known that it fails, or what stands before it is fine; 0: none */
    bool before_fault; /* end is the record that failed */
    int singly_to;     /* records up to this one are written one by one */
    int *orphans;      /* of a target that references itself: records whose referenced row may come later */
    int orphan_count;
};

void write_range(void *argument) {
    auto *search = static_cast<Search *>(argument);

    search->work->writer->write(&search->range);
}

/* The column that an error names, unless it is one of another table, which a trigger has met. */
const char *column_of(Relation target, const ErrorData *error) {
    if (error->column_name == nullptr || error->schema_name == nullptr || error->table_name == nullptr) {
        return error->column_name;
    }
    const Oid table = get_relname_relid(error->table_name, get_namespace_oid(error->schema_name, true));
    const bool own =
        table == RelationGetRelid(target) ||
        (get_rel_relispartition(table) && list_member_oid(get_partition_ancestors(table), RelationGetRelid(target)));
    return own ? error->column_name : nullptr;
}

/* Passes on what the writer has refused without an error. */
void refuse_found(Search *search) {
    for (int i = search->range.from; i < search->range.to; i++) {
        if (search->work->refusals[i].sqlerrcode != 0 && search->work->tuples[i] != nullptr) {
            refuse(search->work, i, &search->work->refusals[i]);
        }
    }
}

/* Null: the records [from, to) are in, or refused. Else the error, which is a record's own. */
ErrorData *try_range(Search *search, int from, int to) {
    ChunkWork *work = search->work;
    RecordRange *range = &search->range;

    range->tuples = work->tuples;
    range->from = from;
    range->to = to;
    range->singly = from < search->singly_to;
    range->refusals = work->refusals;
    range->context = work->try_context;
    range->inserted_before = work->counts.loaded;
    range->excluded_before = work->counts.rejected + work->counts.skipped;
    ErrorData *error = try_in_subtransaction(write_range, search);

    if (error == nullptr) {
        work->counts.loaded += range->inserted;
        work->counts.skipped += range->skipped;
        refuse_found(search);
    } else {
        if (range->at == kBeforeFirst || !is_records_own(error)) {
            ReThrowError(error);
        }
        report_work(work, bytes_behind(work, to - 1)); /* it ended with the subtransaction */
        for (int i = from; i < to; i++) {
            work->refusals[i].sqlerrcode = 0;
        }
    }
    MemoryContextReset(work->try_context);
    return error;
}

void refuse_alone(Search *search, int record, const ErrorData *error) {
    ChunkWork *work = search->work;

    if (search->orphans != nullptr && error->sqlerrcode == ERRCODE_FOREIGN_KEY_VIOLATION) {
        search->orphans[search->orphan_count++] = record;
    } else {
        refuse_for_error(work, record, error, column_of(work->target, error));
    }
}

/* The range [from, to) has failed: what is tried next. Returns from where. */
int go_on_after(Search *search, int from, int to, const ErrorData *error) {
    const int at = search->range.at;
    const bool located = at >= from && at < to;

    if (error->sqlerrcode == ERRCODE_UNIQUE_VIOLATION && !search->range.singly && located &&
        search->work->writer->shape == TupleShape::Row) {
        /* One by one from here to as far behind the duplicate as it was before it. */
        search->size = Max(at - from + 1, 16);
        search->singly_to = from + 2 * search->size;
        search->end = 0;
        return from;
    }
    if (to - from == 1 || at == from) {
        refuse_alone(search, from, error);
        search->end = 0;
        search->size = Max(search->size / 2, 1); /* what a try costs grows with its range */
        return from + 1;
    }
    search->end = located ? at : to;
    search->before_fault = located;
    search->size = located ? at - from : (to - from) / 2;
    return from;
}

void search_range(Search *search, int from, int to) {
    for (int next = from; next < to;) {
        int end = Min(next + search->size, to);

        if (search->end > next) {
            end = search->before_fault ? search->end : next + Max((search->end - next) / 2, 1);
        } else if (next < search->singly_to) {
            end = Min(search->singly_to, to);
        }
        ErrorData *error = try_range(search, next, end);
        if (error != nullptr) {
            next = go_on_after(search, next, end, error);
            free_error(error);
        } else {
            next = end;
            if (next >= search->end) {
                search->end = 0;
                search->size = Min(search->size, to) * 2;
            }
        }
    }
}

/*
 * COPY checks foreign keys behind the last record, so a record may reference one that comes after it. Trying fewer of
 * them because of some other record must not make it an orphan: each is tried when all else is in, and once more
 * whenever a record goes in that it may reference.
 */
void search_orphans(Search *search) {
    ChunkWork *work = search->work;
    const int count = search->orphan_count;
    const int *orphans = search->orphans;
    auto *in = static_cast<bool *>(palloc0(sizeof(bool) * static_cast<Size>(count)));
    /* To be tried, the last one first: where a record references one before it, one pass puts them all in. */
    List *places = NIL;
    const SelfReferences *references = find_self_references(work->target, work->former, work->tuples, orphans, count);
    search->orphans = nullptr;
    for (int i = 0; i < count; i++) {
        places = lappend_int(places, i);
    }
    while (places != NIL) {
        const int place = llast_int(places);

        places = list_delete_last(places);
        if (in[place]) {
            continue;
        }
        HeapTuple tuple = work->tuples[orphans[place]];
        ErrorData *error = try_range(search, orphans[place], orphans[place] + 1);
        if (error != nullptr) {
            free_error(error);
            continue;
        }
        in[place] = true;
        places = add_waiting(references, tuple, places);
    }
    for (int i = 0; i < count; i++) {
        if (!in[i]) {
            search_range(search, orphans[i], orphans[i] + 1);
        }
    }
}

} // namespace

void write_piece(ChunkWork *work) {
    Search search;

    const MemoryContext context = MemoryContextSwitchTo(work->try_context);
    check_foreign_keys(work->target, work->foreign_keys, work->tuples, work->piece.count, work->refusals);
    MemoryContextSwitchTo(context);
    memset(&search, 0, sizeof(search));
    search.work = work;
    search.size = work->piece.count;
    search.range.from = 0;
    search.range.to = work->piece.count;
    refuse_found(&search);
    MemoryContextReset(work->try_context);
    if (work->references_itself) {
        search.orphans = static_cast<int *>(
            MemoryContextAllocHuge(work->piece_context, sizeof(int) * static_cast<Size>(work->piece.count)));
    }
    search_range(&search, 0, work->piece.count);
    if (search.orphan_count > 0) {
        search_orphans(&search);
    }
}

} // namespace movielens_ingest::pg
