/*
 * compat.hpp - every difference between the versions of PostgreSQL that we support stands here.
 */
#pragma once

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 200000
#error "movielens_ingest supports PostgreSQL 15 to 19; other versions have not been compiled and tested yet"
#endif

#include "core/number.hpp"

#if PG_VERSION_NUM >= 160000
extern "C" {
#include "nodes/miscnodes.h"
}
#endif

namespace movielens_ingest::pg {

/* All configuration variables of this process, and how many there are. */
inline config_generic **configuration_variables(int *count) {
#if PG_VERSION_NUM >= 160000
    return get_guc_variables(count);
#else
    *count = GetNumConfigOptions();
    return get_guc_variables();
#endif
}

using NodeWalker = bool (*)(Node *node, void *context);

#if PG_VERSION_NUM >= 160000
inline NodeWalker walker_of_core(NodeWalker walker) { return walker; }
#else
/* In C, the empty parentheses of a walker's parameter in nodeFuncs.h stand for any parameters; in C++ for none. */
inline bool (*walker_of_core(NodeWalker walker))() {
    return reinterpret_cast<bool (*)()>(reinterpret_cast<void (*)()>(walker));
}
#endif
inline bool walk_query(Query *query, NodeWalker walker, void *context, int flags) {
    return query_tree_walker(query, walker_of_core(walker), context, flags);
}
inline bool walk_expression(Node *node, NodeWalker walker, void *context) {
    return expression_tree_walker(node, walker_of_core(walker), context);
}

#if PG_VERSION_NUM >= 160000
using MainFile = RelFileLocator;
inline MainFile main_file(Relation relation) { return relation->rd_locator; }
inline bool same_main_file(const MainFile &a, const MainFile &b) { return RelFileLocatorEquals(a, b); }
#else
using MainFile = RelFileNode;
inline MainFile main_file(Relation relation) { return relation->rd_node; }
inline bool same_main_file(const MainFile &a, const MainFile &b) { return RelFileNodeEquals(a, b); }
#endif

inline const char *path_of_main_fork(Relation relation) {
#if PG_VERSION_NUM >= 180000
    return pstrdup(relpathperm(relation->rd_locator, MAIN_FORKNUM).str);
#else
    return relpathperm(main_file(relation), MAIN_FORKNUM);
#endif
}

inline bool owns_table(Oid table) {
#if PG_VERSION_NUM >= 160000
    return object_ownercheck(RelationRelationId, table, GetUserId());
#else
    return pg_class_ownercheck(table, GetUserId());
#endif
}

inline AclResult check_usage_of_schema(Oid schema) {
#if PG_VERSION_NUM >= 160000
    return object_aclcheck(NamespaceRelationId, schema, GetUserId(), ACL_USAGE);
#else
    return pg_namespace_aclcheck(schema, GetUserId(), ACL_USAGE);
#endif
}

inline bool owns_database(Oid database) {
#if PG_VERSION_NUM >= 160000
    return object_ownercheck(DatabaseRelationId, database, GetUserId());
#else
    return pg_database_ownercheck(database, GetUserId());
#endif
}

/* VACUUM, ANALYZE, REINDEX and their like. */
inline bool may_maintain_table(Oid table) {
#if PG_VERSION_NUM >= 170000
    return pg_class_aclcheck(table, GetUserId(), ACL_MAINTAIN) == ACLCHECK_OK;
#else
    return owns_table(table);
#endif
}

/* Any of these privileges on a table permits every mode of LOCK TABLE (LockTableAclCheck). */
#if PG_VERSION_NUM >= 170000
constexpr AclMode kPrivilegesToLock = ACL_MAINTAIN | ACL_UPDATE | ACL_DELETE | ACL_TRUNCATE;
#else
constexpr AclMode kPrivilegesToLock = ACL_UPDATE | ACL_DELETE | ACL_TRUNCATE;
#endif

/* What post_parse_analyze_hook and a callback of CacheRegisterSyscacheCallback() are given. */
#if PG_VERSION_NUM >= 190000
using Jumble = const JumbleState;
using CatalogCache = SysCacheIdentifier;
#else
using Jumble = JumbleState;
using CatalogCache = int;
#endif

/* The target of an INSERT in a range table, and what the INSERT needs. */
struct InsertTarget {
    List *range_table;
    List *permissions; /* from 16 on; before they stand in the entry */
};

inline InsertTarget require_insert_of(RangeTblEntry *entry, Bitmapset *columns) {
#if PG_VERSION_NUM >= 160000
    InsertTarget target = {list_make1(entry), NIL};
    RTEPermissionInfo *info = addRTEPermissionInfo(&target.permissions, entry);
    info->requiredPerms = ACL_INSERT;
    info->insertedCols = columns;
    return target;
#else
    entry->requiredPerms = ACL_INSERT;
    entry->insertedCols = columns;
    return {list_make1(entry), NIL};
#endif
}

/* entry: what the parser's state has of the target of an INSERT, which has given it no permission to ask for. */
inline void set_range_table(Query *query, ParseState *state, [[maybe_unused]] RangeTblEntry *entry,
                            Bitmapset *columns) {
    query->rtable = state->p_rtable;
#if PG_VERSION_NUM >= 160000
    query->rteperminfos = state->p_rteperminfos;
    RTEPermissionInfo *info = getRTEPermissionInfo(query->rteperminfos, entry);
    info->requiredPerms = ACL_INSERT;
    info->insertedCols = columns;
#else
    entry->requiredPerms = ACL_INSERT;
    entry->insertedCols = columns;
#endif
}

inline PlannedStmt *plan_query_of(Query *query, const char *text) {
#if PG_VERSION_NUM >= 190000
    return pg_plan_query(query, text, CURSOR_OPT_PARALLEL_OK, nullptr, nullptr);
#else
    return pg_plan_query(query, text, CURSOR_OPT_PARALLEL_OK, nullptr);
#endif
}

inline void check_insert_permission(const InsertTarget &target) {
#if PG_VERSION_NUM >= 160000
    (void)ExecCheckPermissions(target.range_table, target.permissions, true);
#else
    (void)ExecCheckRTPerms(target.range_table, true);
#endif
}

inline void init_range_table(EState *estate, const InsertTarget &target) {
#if PG_VERSION_NUM >= 180000
    ExecInitRangeTable(estate, target.range_table, target.permissions, bms_make_singleton(1));
#elif PG_VERSION_NUM >= 160000
    ExecInitRangeTable(estate, target.range_table, target.permissions);
#else
    ExecInitRangeTable(estate, target.range_table);
#endif
}

#if PG_VERSION_NUM >= 180000
// The betas of 19 have one more parameter, a node that may be absent, which its release candidate has not, under one
// version number.
template <typename... Nodes>
inline void check_insert_with(void (*check)(ResultRelInfo *, CmdType, OnConflictAction, List *, Nodes...),
                              ResultRelInfo *relinfo) {
    check(relinfo, CMD_INSERT, ONCONFLICT_NONE, NIL, Nodes{}...);
}
#endif

inline void check_insert_into(ResultRelInfo *relinfo) {
#if PG_VERSION_NUM >= 180000
    check_insert_with(CheckValidResultRel, relinfo);
#elif PG_VERSION_NUM >= 170000
    CheckValidResultRel(relinfo, CMD_INSERT, NIL);
#else
    CheckValidResultRel(relinfo, CMD_INSERT);
#endif
}

inline void reindex_one(Oid index, char persistence, const ReindexParams *params) {
#if PG_VERSION_NUM >= 170000
    reindex_index(nullptr, index, false, persistence, params);
#else
    reindex_index(index, false, persistence, const_cast<ReindexParams *>(params));
#endif
}

inline void insert_index_tuples_speculatively(ResultRelInfo *relinfo, TupleTableSlot *slot, EState *estate,
                                              bool *conflict) {
#if PG_VERSION_NUM >= 190000
    list_free(ExecInsertIndexTuples(relinfo, estate, EIIT_NO_DUPE_ERROR, slot, NIL, conflict));
#elif PG_VERSION_NUM >= 160000
    list_free(ExecInsertIndexTuples(relinfo, slot, estate, false, true, conflict, NIL, false));
#else
    list_free(ExecInsertIndexTuples(relinfo, slot, estate, false, true, conflict, NIL));
#endif
}

inline bool check_index_constraints(ResultRelInfo *relinfo, TupleTableSlot *slot, EState *estate, ItemPointer conflict,
                                    List *arbiters) {
#if PG_VERSION_NUM >= 180000
    ItemPointerData invalid;
    ItemPointerSetInvalid(&invalid);
    return ExecCheckIndexConstraints(relinfo, slot, estate, conflict, &invalid, arbiters);
#else
    return ExecCheckIndexConstraints(relinfo, slot, estate, conflict, arbiters);
#endif
}

inline void init_generated(ResultRelInfo *relinfo, EState *estate) {
#if PG_VERSION_NUM >= 180000
    ExecInitGenerated(relinfo, estate, CMD_INSERT);
#else
    ExecInitStoredGenerated(relinfo, estate, CMD_INSERT);
#endif
}

inline ExprState **generated_expressions(ResultRelInfo *relinfo) {
#if PG_VERSION_NUM >= 160000
    return relinfo->ri_GeneratedExprsI;
#else
    return relinfo->ri_GeneratedExprs;
#endif
}

inline TableScanDesc begin_scan(Relation table, Snapshot snapshot) {
#if PG_VERSION_NUM >= 190000
    return table_beginscan(table, snapshot, 0, nullptr, 0);
#else
    return table_beginscan(table, snapshot, 0, nullptr);
#endif
}

/* A line that is \. ends what COPY reads of a CSV file. */
constexpr bool kCsvHasEndMarker = PG_VERSION_NUM < 180000;

/* What int2in, int4in and int8in take. */
constexpr auto kIntegerForms = PG_VERSION_NUM >= 160000 ? core::IntegerForms::Literals : core::IntegerForms::Decimal;

/* Whether input functions can refuse a value without raising an error: most of the server's own do. */
constexpr bool kInputCanRefuse = PG_VERSION_NUM >= 160000;

/* Null: *value is the input function's result. Else why it has refused the text, in the current memory context. */
inline const ErrorData *try_input_function(FmgrInfo *input, char *text, Oid ioparam, int32 typmod, Datum *value) {
#if PG_VERSION_NUM >= 160000
    ErrorSaveContext refused;

    memset(&refused, 0, sizeof(refused));
    refused.type = T_ErrorSaveContext;
    refused.details_wanted = true;
    return InputFunctionCallSafe(input, text, ioparam, typmod, reinterpret_cast<Node *>(&refused), value)
               ? nullptr
               : refused.error_data;
#else
    *value = InputFunctionCall(input, text, ioparam, typmod);
    return nullptr;
#endif
}

/* What a buffer must be locked with to be written out: from 19 on nobody may set hint bits meanwhile. */
#if PG_VERSION_NUM >= 190000
constexpr auto kLockToFlush = BUFFER_LOCK_SHARE_EXCLUSIVE;
#else
constexpr auto kLockToFlush = BUFFER_LOCK_SHARE;
#endif

/* Pages that are given to smgrextend(), which from 16 on asserts that direct I/O could take them (mdextend). */
#if PG_VERSION_NUM >= 160000
using BlockForFile = PGIOAlignedBlock;
#else
using BlockForFile = PGAlignedBlock;
#endif

/* From 19 on heap_multi_insert() and its redo do so with every page that is not frozen. */
inline void mark_prunable([[maybe_unused]] Page page, [[maybe_unused]] TransactionId xid) {
#if PG_VERSION_NUM >= 190000
    PageSetPrunable(page, xid);
#endif
}

inline void finalize_description([[maybe_unused]] TupleDesc desc) {
#if PG_VERSION_NUM >= 190000
    TupleDescFinalize(desc);
#endif
}

#if PG_VERSION_NUM >= 180000
inline bool is_enforced(const ConstrCheck *check) { return check->ccenforced; }
inline Node *with_generated(Node *expression, Relation relation) {
    return expand_generated_columns_in_expr(expression, relation, 1);
}
inline bool is_virtual(const FormData_pg_attribute *attribute) {
    return attribute->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL;
}
inline bool has_period(const FormData_pg_constraint *constraint) { return constraint->conperiod; }
inline bool is_enforced(const ForeignKeyCacheInfo *key) { return key->conenforced; }
/* Of pg_constraint, as the end of a condition. */
constexpr char kAndEnforced[] = " AND conenforced";
#else
inline bool is_enforced(const ConstrCheck *) { return true; }
inline Node *with_generated(Node *expression, Relation) { return expression; }
inline bool is_virtual(const FormData_pg_attribute *) { return false; }
inline bool has_period(const FormData_pg_constraint *) { return false; }
inline bool is_enforced(const ForeignKeyCacheInfo *) { return true; }
constexpr char kAndEnforced[] = "";
#endif

inline bool lock_held(const LOCKTAG *tag, LOCKMODE mode) {
#if PG_VERSION_NUM >= 170000
    return LockHeldByMe(tag, mode, false);
#else
    return LockHeldByMe(tag, mode);
#endif
}

/* A session's lock, without waiting: what the lock table has no room for is not taken, and raises nothing. */
inline void acquire_if_there_is_memory(const LOCKTAG *tag, LOCKMODE mode) {
#if PG_VERSION_NUM >= 180000
    (void)LockAcquireExtended(tag, mode, true, true, false, nullptr, false);
#else
    (void)LockAcquireExtended(tag, mode, true, true, false, nullptr);
#endif
}

/* Of the timeouts that clients have, this is the only one whose timer any process starts (StartTransaction). */
constexpr bool kHasTransactionTimeout = PG_VERSION_NUM >= 170000;

inline LocalTransactionId local_xid(const PGPROC *process) {
#if PG_VERSION_NUM >= 170000
    return process->vxid.lxid;
#else
    return process->lxid;
#endif
}

inline int number_of(const PGPROC *process) {
#if PG_VERSION_NUM >= 170000
    return static_cast<int>(GetNumberFromPGProc(process));
#else
    return process->pgprocno;
#endif
}

inline MinimalTuple form_minimal_tuple(TupleDesc desc, Datum *values, bool *nulls) {
#if PG_VERSION_NUM >= 180000
    return heap_form_minimal_tuple(desc, values, nulls, 0);
#else
    return heap_form_minimal_tuple(desc, values, nulls);
#endif
}

#if PG_VERSION_NUM >= 170000
constexpr uint32 kWaitForQueue = WAIT_EVENT_MESSAGE_QUEUE_RECEIVE;
#else
constexpr uint32 kWaitForQueue = WAIT_EVENT_MQ_RECEIVE;
#endif

/*
 * Is there a buffer left that holds nothing? From 19 on there is no list of them: until the clock sweep has gone round
 * once, it has not come to all that were free when the server started (StrategyGetBuffer).
 */
inline bool has_free_buffer() {
#if PG_VERSION_NUM >= 190000
    uint32 rounds;

    (void)StrategySyncStart(&rounds, nullptr);
    return rounds == 0;
#else
    return have_free_buffer();
#endif
}

/*
 * Pages that heap_multi_insert() has added and not filled yet: from 16 on RelationAddBlocks() adds more than it is
 * asked for, and leaves them to later calls with the same state. first is InvalidBlockNumber if there are none.
 */
struct UnusedPages {
    BlockNumber first;
    BlockNumber last;
};

inline UnusedPages unused_pages([[maybe_unused]] const BulkInsertStateData *state) {
#if PG_VERSION_NUM >= 160000
    return {state->next_free, state->last_free};
#else
    return {InvalidBlockNumber, InvalidBlockNumber};
#endif
}

/*
 * The next calls of heap_multi_insert() with this state shall add no more pages than so many, or than they need: from
 * 16 on each adds as many as all before it did, at most 64, and would leave COPY's tables behind with pages that stay
 * empty.
 */
inline void forget_growth([[maybe_unused]] BulkInsertState state, [[maybe_unused]] uint32 pages) {
#if PG_VERSION_NUM >= 160000
    state->already_extended_by = Min(state->already_extended_by, pages);
#endif
}

constexpr bool kHeapsGrowByMany = PG_VERSION_NUM >= 160000;

/*
 * Where heaps grow by many: adds at least one and at most count new pages to a heap. Buffers for them are found, and
 * what is in these is written, before the extension lock is taken. They are pinned, not locked: others can see the
 * pages. How the file grows the server's own setting file_extend_method says. Returns how many.
 */
inline int add_pinned_pages([[maybe_unused]] Relation heap, [[maybe_unused]] int count,
                            [[maybe_unused]] BufferAccessStrategy strategy, [[maybe_unused]] Buffer *buffers) {
#if PG_VERSION_NUM >= 160000
    uint32 added = 0;

    (void)ExtendBufferedRelBy(BMR_REL(heap), MAIN_FORKNUM, strategy, 0, static_cast<uint32>(count), buffers, &added);
    return static_cast<int>(added);
#else
    return 0;
#endif
}

} // namespace movielens_ingest::pg
