#include "pg/insertion.hpp"

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

namespace {

/* One index of the target, and what its access method is told. */
struct Index {
    Relation relation;
    IndexInfo *info;
    IndexUniqueCheck unique;
};

/* The entry of the tuple in the slot. False: the index is partial, and has none. */
bool form_entry(Insertion *insertion, const Index *index, Datum *values, bool *nulls) {
    ExprContext *econtext = GetPerTupleExprContext(insertion->estate);
    IndexInfo *info = index->info;

    econtext->ecxt_scantuple = insertion->slot;
    if (info->ii_Predicate != NIL) {
        if (info->ii_PredicateState == nullptr) {
            info->ii_PredicateState = ExecPrepareQual(info->ii_Predicate, insertion->estate);
        }
        if (!ExecQual(info->ii_PredicateState, econtext)) {
            return false;
        }
    }
    FormIndexDatum(info, insertion->slot, insertion->estate, values, nulls);
    return true;
}

void insert_entry(const Insertion *insertion, const Index *index, Datum *values, bool *nulls, ItemPointer place) {
    (void)index_insert(index->relation, values, nulls, place, insertion->relinfo->ri_RelationDesc, index->unique, false,
                       index->info);
}

/* Calls visit(values, nulls, place) for the entry of each tuple of the range. */
template <typename Visit> void for_each_entry(Insertion *insertion, const Index *index, Visit visit) {
    RecordRange *range = insertion->range;
    Datum values[INDEX_MAX_KEYS];
    bool nulls[INDEX_MAX_KEYS];

    for (int i = range->from; i < range->to; i++) {
        if (range->tuples[i] == nullptr) {
            continue;
        }
        CHECK_FOR_INTERRUPTS();
        ResetPerTupleExprContext(insertion->estate);
        range->at = i;
        show_tuple(insertion, range->tuples[i]);
        const MemoryContext context = MemoryContextSwitchTo(GetPerTupleMemoryContext(insertion->estate));
        if (form_entry(insertion, index, values, nulls)) {
            visit(values, nulls, &range->tuples[i]->t_self);
        }
        MemoryContextSwitchTo(context);
    }
}

int record_at(const RecordRange *range, ItemPointer place) {
    for (int i = range->from; i < range->to; i++) {
        if (range->tuples[i] != nullptr && ItemPointerEquals(&range->tuples[i]->t_self, place)) {
            return i;
        }
    }
    return kUnknown;
}

/* In the order of the index: neighbours go to the same leaf while it is in the cache, and each leaf is logged less. */
void insert_sorted(Insertion *insertion, const Index *index, Tuplesortstate *sort) {
    Datum values[INDEX_MAX_KEYS];
    bool nulls[INDEX_MAX_KEYS];

    ItemPointerSetInvalid(&insertion->entry);
    PG_TRY();
    {
        for (IndexTuple entry; (entry = tuplesort_getindextuple(sort, true)) != nullptr;) {
            CHECK_FOR_INTERRUPTS();
            ResetPerTupleExprContext(insertion->estate);
            insertion->entry = entry->t_tid;
            index_deform_tuple(entry, RelationGetDescr(index->relation), values, nulls);
            const MemoryContext context = MemoryContextSwitchTo(GetPerTupleMemoryContext(insertion->estate));
            insert_entry(insertion, index, values, nulls, &insertion->entry);
            MemoryContextSwitchTo(context);
        }
    }
    PG_CATCH();
    {
        insertion->range->at = record_at(insertion->range, &insertion->entry);
        PG_RE_THROW();
    }
    PG_END_TRY();
}

void insert_entries(Insertion *insertion, const Index *index) {
    constexpr int kWorthSorting = 64;

    if (index->relation->rd_rel->relam != BTREE_AM_OID ||
        insertion->range->to - insertion->range->from < kWorthSorting) {
        for_each_entry(insertion, index, [&](Datum *values, bool *nulls, ItemPointer place) {
            insert_entry(insertion, index, values, nulls, place);
        });
        return;
    }
    /* What is there twice, the index finds out. */
    Tuplesortstate *sort = tuplesort_begin_index_btree(insertion->relinfo->ri_RelationDesc, index->relation, false,
                                                       false, work_mem, nullptr, TUPLESORT_NONE);
    for_each_entry(insertion, index, [&](Datum *values, bool *nulls, ItemPointer place) {
        tuplesort_putindextuplevalues(sort, index->relation, place, values, nulls);
    });
    insertion->range->at = kUnknown; /* a comparison is of two */
    tuplesort_performsort(sort);
    insert_sorted(insertion, index, sort);
    tuplesort_end(sort);
}

} // namespace

/* As ExecInsertIndexTuples, for a table without exclusion constraints and deferrable keys. */
void insert_index_entries(Insertion *insertion) {
    const ResultRelInfo *relinfo = insertion->relinfo;

    for (int i = 0; i < relinfo->ri_NumIndices; i++) {
        const Index index = {relinfo->ri_IndexRelationDescs[i], relinfo->ri_IndexRelationInfo[i],
                             relinfo->ri_IndexRelationDescs[i]->rd_index->indisunique ? UNIQUE_CHECK_YES
                                                                                      : UNIQUE_CHECK_NO};
        if (index.info->ii_ReadyForInserts) {
            insert_entries(insertion, &index);
        }
    }
}

} // namespace movielens_ingest::pg
