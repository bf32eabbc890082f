#include "pg/chunk_work.hpp"

#include "pg/cancel_watch.hpp"
#include "pg/foreign_keys.hpp"
#include "pg/missing_parents.hpp"
#include "pg/pg.hpp"
#include "pg/self_references.hpp"
#include "pg/subtransaction.hpp"

namespace movielens_ingest::pg {

namespace {

/* So many records' foreign keys are checked together: what it needs in memory stays small. */
constexpr int kKeysTogether = 8192;

/*
 * Finding the records that cannot be written. Ranges of records are tried. When one fails and its writer knows at which
 * record, those before it are tried again and the search goes on from it; when it does not (a trigger behind the
 * statement has raised the error), the range is halved. Once there has been a bad record, ranges are of the size at
 * which the work that the next one will undo costs about what the subtransactions cost: the root of the distance
 * between bad records, times a constant. So a bad record costs the same however many there are.
 */
struct Search {
    ChunkWork *work;
    RecordRange range;
    int last_fault;    /* the last bad record, or -1 */
    int distance;      /* between bad records, as far as is known */
    int end;           /* of a range of which is known that it fails, or what stands before it is fine; 0: none */
    bool before_fault; /* end is the record that failed */
    int singly_to;     /* records up to this one are written one by one */
    int *orphans;      /* of a target that references itself: records whose referenced row may come later */
    int orphan_count;
};

/* How many records are tried together. */
int size_of_range(const Search *search, int next) {
    if (search->last_fault < 0) {
        return search->work->piece.count;
    }
    const int distance = Max(search->distance, next - search->last_fault - 1);
    return Max(4 * static_cast<int>(std::sqrt(distance)) - 3, 1);
}

void note_fault(Search *search, int record) {
    const int distance = record - search->last_fault;

    /* Of records that are tried out of order, nothing is learnt. */
    if (distance > 0) {
        search->distance = search->last_fault < 0 ? distance : (search->distance + distance + 1) / 2;
        search->last_fault = record;
    }
}

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

/* Passes on what has been refused without an error; returns how many. */
int refuse_found(ChunkWork *work, int from, int to) {
    int count = 0;

    for (int i = from; i < to; i++) {
        if (work->refusals[i].sqlerrcode != 0 && work->tuples[i] != nullptr) {
            refuse(work, i, &work->refusals[i]);
            count++;
        }
    }
    MemoryContextReset(work->try_context);
    return count;
}

/* The range went in one by one; so does what comes next, if there are many more records like those that were refused.
 */
void go_on_singly(Search *search, int from, int to, int refused) {
    constexpr int kMany = 16; /* one in so many */
    constexpr int kMost = 4096;

    if (refused * kMany >= to - from && to >= search->singly_to) {
        search->singly_to = to + Min(2 * (to - from), kMost);
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
    obey_watch(); /* what comes of a cancel that user code has caught is no record's error */
    ErrorData *error = try_in_subtransaction(write_range, search);

    if (error != nullptr && work->writer->will_tell_more(error)) {
        free_error(error);
        report_work(work, bytes_behind(work, to - 1)); /* it ended with the subtransaction */
        error = try_in_subtransaction(write_range, search);
    }
    if (error == nullptr) {
        work->counts.loaded += range->inserted;
        work->counts.skipped += range->skipped;
        for (int i = from; i < to; i++) {
            if (work->refusals[i].sqlerrcode != 0 && work->tuples[i] != nullptr) {
                note_fault(search, i);
            }
        }
        const int refused = refuse_found(work, from, to);
        if (range->singly) {
            go_on_singly(search, from, to, refused);
        }
    } else {
        if (range->at == kBeforeFirst || !is_records_own(error)) {
            ReThrowError(error);
        }
        report_work(work, bytes_behind(work, to - 1)); /* it ended with the subtransaction */
        for (int i = from; i < to; i++) {
            work->refusals[i].sqlerrcode = 0;
            if (work->tuples[i] != nullptr) {
                ItemPointerSetInvalid(&work->tuples[i]->t_self); /* it is not there any more */
            }
        }
        MemoryContextReset(work->try_context);
    }
    return error;
}

/* The target, or a table that it is a partition of. */
bool has_rows_of(Relation target, Oid table) {
    const Oid own = RelationGetRelid(target);

    return table == own || (target->rd_rel->relispartition && list_member_oid(get_partition_ancestors(own), table));
}

/* The error is that of a foreign key of the target, or of one of its partitions, to the target. */
bool is_orphan_of_itself(Relation target, const ErrorData *error) {
    if (error->sqlerrcode != ERRCODE_FOREIGN_KEY_VIOLATION || error->schema_name == nullptr ||
        error->table_name == nullptr || error->constraint_name == nullptr) {
        return false;
    }
    const Oid table = get_relname_relid(error->table_name, get_namespace_oid(error->schema_name, true));
    const Oid own = RelationGetRelid(target);
    if (!OidIsValid(table) ||
        (table != own && !(get_rel_relispartition(table) && list_member_oid(get_partition_ancestors(table), own)))) {
        return false;
    }
    const HeapTuple tuple =
        SearchSysCache1(CONSTROID, ObjectIdGetDatum(get_relation_constraint_oid(table, error->constraint_name, true)));
    if (!HeapTupleIsValid(tuple)) {
        return false;
    }
    auto *constraint = reinterpret_cast<Form_pg_constraint>(GETSTRUCT(tuple));
    const bool itself = constraint->contype == CONSTRAINT_FOREIGN && has_rows_of(target, constraint->confrelid);
    ReleaseSysCache(tuple);
    return itself;
}

void refuse_alone(Search *search, int record, const ErrorData *error) {
    ChunkWork *work = search->work;

    if (search->orphans != nullptr && error->sqlerrcode == ERRCODE_FOREIGN_KEY_VIOLATION) {
        search->orphans[search->orphan_count++] = record;
    } else if (work->orphans_wait && is_orphan_of_itself(work->target, error)) {
        const Refusal why = {error->sqlerrcode, error->message, error->detail, column_of(work->target, error)};
        put_off(work, record, &why);
    } else {
        refuse_for_error(work, record, error, column_of(work->target, error));
    }
}

/* The range [from, to) has failed: what is tried next. Returns from where. */
int go_on_after(Search *search, int from, int to, const ErrorData *error) {
    constexpr int kFew = 64;
    const int at = search->range.at;
    const bool located = at >= from && at < to;

    /* A duplicate, which the writer finds without an error when it writes one by one. */
    if (error->sqlerrcode == ERRCODE_UNIQUE_VIOLATION && !search->range.singly && located && at - from <= kFew &&
        search->work->writer->shape == TupleShape::Row) {
        search->singly_to = Min(to, from + 2 * kFew);
        search->end = 0;
        return from;
    }
    if (to - from == 1 || at == from) {
        refuse_alone(search, from, error);
        note_fault(search, from);
        search->end = 0;
        return from + 1;
    }
    search->end = located ? at : to;
    search->before_fault = located;
    return from;
}

void search_range(Search *search, int from, int to) {
    for (int next = from; next < to;) {
        int end = Min(next + size_of_range(search, next), to);

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
            }
        }
    }
}

/* The records of a table that references itself which may have been tried too early; places are among them. */
struct Orphans {
    Search *search;
    SelfReferences *references;
    const int *records;
    int count;
    bool *done; /* by place: in, or refused */
};

HeapTuple *room_for_tuples(const ChunkWork *work) {
    return static_cast<HeapTuple *>(MemoryContextAllocExtended(work->piece_context,
                                                               sizeof(HeapTuple) * static_cast<Size>(work->piece.count),
                                                               MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO));
}

/* They often fail only because too few of them were tried together. */
void try_at_once(Orphans *orphans) {
    ChunkWork *work = orphans->search->work;
    HeapTuple *all = work->tuples;

    work->tuples = room_for_tuples(work);
    for (int i = 0; i < orphans->count; i++) {
        work->tuples[orphans->records[i]] = all[orphans->records[i]];
    }
    ErrorData *error = try_range(orphans->search, 0, work->piece.count);
    work->tuples = all;
    std::fill(orphans->done, orphans->done + orphans->count, error == nullptr);
    if (error != nullptr) {
        free_error(error);
    }
}

/*
 * Each is tried when all else is in, and once more whenever a record goes in that it may reference. Returns how many
 * went in.
 */
int try_each(Orphans *orphans) {
    ChunkWork *work = orphans->search->work;
    /* To be tried, the last one first: where a record references one before it, one pass puts them all in. */
    List *places = NIL;
    int count = 0;

    for (int i = 0; i < orphans->count; i++) {
        places = lappend_int(places, i);
    }
    while (places != NIL) {
        const int place = llast_int(places);
        const int record = orphans->records[place];

        places = list_delete_last(places);
        if (orphans->done[place]) {
            continue;
        }
        HeapTuple tuple = work->tuples[record];
        ErrorData *error = try_range(orphans->search, record, record + 1);
        if (error != nullptr) {
            free_error(error);
            continue;
        }
        orphans->done[place] = true;
        places = add_waiting(orphans->references, tuple, places);
        count++;
    }
    return count;
}

void try_one_by_one(Orphans *orphans) {
    while (try_each(orphans) > 0 && !knows_all_waiting(orphans->references)) {
    }
}

/*
 * The records that reference each other in a circle, and what depends on them: none of them goes in alone. A record
 * that cannot go in for another reason, such as a key that one of the others has, is refused, and the rest is tried
 * again without what depends on it.
 */
void try_together(Orphans *orphans) {
    Search *search = orphans->search;
    ChunkWork *work = search->work;
    HeapTuple *all = work->tuples;
    auto *linked = static_cast<bool *>(palloc(sizeof(bool) * static_cast<Size>(orphans->count)));
    HeapTuple *tuples = room_for_tuples(work);

    while (find_linked(orphans->references, orphans->done, linked) > 0) {
        memset(static_cast<void *>(tuples), 0, sizeof(HeapTuple) * static_cast<size_t>(work->piece.count));
        for (int i = 0; i < orphans->count; i++) {
            if (linked[i]) {
                tuples[orphans->records[i]] = all[orphans->records[i]];
            }
        }
        work->tuples = tuples;
        ErrorData *error = try_range(search, 0, work->piece.count);
        work->tuples = all;
        int fault = -1; /* place of the record at fault */
        for (int i = 0; i < orphans->count; i++) {
            if (error == nullptr) {
                orphans->done[i] = orphans->done[i] || linked[i];
            } else if (linked[i] && orphans->records[i] == search->range.at) {
                fault = i;
            }
        }
        if (fault < 0) {
            break; /* they are in; or a trigger has changed what they reference, and nobody knows who is at fault */
        }
        refuse_for_error(work, orphans->records[fault], error, column_of(work->target, error));
        orphans->done[fault] = true;
        free_error(error);
    }
}

/* Of these records, those that cannot go in for want of a row of their own table are not tried. */
void give_up_parentless(ChunkWork *work, HeapTuple const *tuples) {
    const MemoryContext context = MemoryContextSwitchTo(work->piece_context);
    const MissingParent **missing =
        find_missing_parents(work->target, work->self_references, work->former, tuples, work->piece.count);

    MemoryContextSwitchTo(work->try_context);
    for (int i = 0; i < work->piece.count; i++) {
        if (missing[i] == nullptr) {
            continue;
        }
        const Refusal why = orphan(work->target, missing[i]->key, &missing[i]->places, tuples[i]);
        if (work->orphans_wait) {
            put_off(work, i, &why);
        } else {
            refuse(work, i, &why);
        }
        MemoryContextReset(work->try_context);
    }
    MemoryContextSwitchTo(context);
}

/* What the records that are in, or refused, leave of the orphans. */
void give_up_parentless_orphans(Search *search) {
    ChunkWork *work = search->work;
    const int count = search->orphan_count;
    HeapTuple *tuples = room_for_tuples(work);

    for (int i = 0; i < count; i++) {
        tuples[search->orphans[i]] = work->tuples[search->orphans[i]];
    }
    give_up_parentless(work, tuples);
    search->orphan_count = 0;
    for (int i = 0; i < count; i++) {
        if (work->tuples[search->orphans[i]] != nullptr) {
            search->orphans[search->orphan_count++] = search->orphans[i];
        }
    }
}

/*
 * COPY checks foreign keys behind the last record, so a record may reference one that comes after it, and records each
 * other. Trying fewer of them because of some other record must not make them orphans.
 */
void search_orphans(Search *search) {
    ChunkWork *work = search->work;
    const MemoryContext context = MemoryContextSwitchTo(work->piece_context);

    if (work->self_references != NIL) {
        give_up_parentless_orphans(search);
    }
    const int count = search->orphan_count;
    if (count <= 0 || search->orphans == nullptr) {
        MemoryContextSwitchTo(context);
        return;
    }
    Orphans orphans = {search, nullptr, search->orphans, count, nullptr};
    orphans.references = find_self_references(work->target, work->former, work->tuples, search->orphans, count);
    orphans.done = static_cast<bool *>(palloc0(sizeof(bool) * static_cast<Size>(count)));
    search->orphans = nullptr;
    try_at_once(&orphans);
    try_one_by_one(&orphans);
    try_together(&orphans);
    MemoryContextSwitchTo(context);
    for (int i = 0; i < count; i++) {
        if (!orphans.done[i]) {
            search_range(search, orphans.records[i], orphans.records[i] + 1);
        }
    }
}

} // namespace

void write_piece(ChunkWork *work) {
    const int count = work->piece.count;
    Search search;

    for (int from = 0; from < count && work->foreign_keys != NIL; from += kKeysTogether) {
        const int to = Min(from + kKeysTogether, count);
        const MemoryContext context = MemoryContextSwitchTo(work->try_context);
        check_foreign_keys(work->target, work->foreign_keys, work->tuples + from, to - from, work->refusals + from);
        MemoryContextSwitchTo(context);
        (void)refuse_found(work, from, to);
    }
    if (work->self_references != NIL) {
        give_up_parentless(work, work->tuples);
    }
    memset(&search, 0, sizeof(search));
    search.work = work;
    search.last_fault = -1;
    if (work->references_itself) {
        search.orphans =
            static_cast<int *>(MemoryContextAllocHuge(work->piece_context, sizeof(int) * static_cast<Size>(count)));
    }
    search_range(&search, 0, count);
    if (search.orphan_count > 0) {
        search_orphans(&search);
    }
}

} // namespace movielens_ingest::pg
