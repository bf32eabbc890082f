/*
 * kept_elsewhere.c - for the tests: an extension that keeps the rows of tables elsewhere, by the planner's hook, as
 * those do that shard tables or cut them into chunks.
 *
 * The rows of a table in schema "shell" are in the table of the same name in schema "kept". A table shell.scan_... has
 * its plan under a custom scan; an error of such an INSERT keeps its SQLSTATE only if the INSERT returns rows. INSERTs
 * into a table shell.refused... cannot be planned, those of one row into a table shell.not_single... neither.
 * Statements that read a named tuplestore are none of its business. All other plans are as the server makes them.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/planner.h"
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"

PG_MODULE_MAGIC;

void _PG_init(void);

static planner_hook_type previous_hook = NULL;

static Node *create_state(CustomScan *scan);
static void begin_scan(CustomScanState *state, EState *estate, int flags);
static TupleTableSlot *next_row(CustomScanState *state);
static void end_scan(CustomScanState *state);
static void rescan(CustomScanState *state);

static const CustomScanMethods scan_methods = {"Elsewhere", create_state};
static const CustomExecMethods exec_methods = {
    .CustomName = "Elsewhere",
    .BeginCustomScan = begin_scan,
    .ExecCustomScan = next_row,
    .EndCustomScan = end_scan,
    .ReScanCustomScan = rescan,
};

static Node *create_state(CustomScan *scan) {
    CustomScanState *state = makeNode(CustomScanState);

    state->methods = &exec_methods;
    return (Node *)state;
}

static void begin_scan(CustomScanState *state, EState *estate, int flags) {
    const CustomScan *scan = castNode(CustomScan, state->ss.ps.plan);

    state->custom_ps = list_make1(ExecInitNode(linitial(scan->custom_plans), estate, flags));
}

static TupleTableSlot *next_row(CustomScanState *state) {
    TupleTableSlot *volatile row = NULL;
    MemoryContext context = CurrentMemoryContext;

    PG_TRY();
    { row = ExecProcNode(linitial(state->custom_ps)); }
    PG_CATCH();
    {
        if (state->ss.ps.plan->targetlist == NIL) {
            ErrorData *error;

            MemoryContextSwitchTo(context);
            error = CopyErrorData();
            FlushErrorState();
            error->sqlerrcode = ERRCODE_INTERNAL_ERROR;
            ReThrowError(error);
        }
        PG_RE_THROW();
    }
    PG_END_TRY();
    return row;
}

static void end_scan(CustomScanState *state) { ExecEndNode(linitial(state->custom_ps)); }

static void rescan(CustomScanState *state) { ExecReScan(linitial(state->custom_ps)); }

static Plan *under_custom_scan(Plan *plan) {
    CustomScan *scan = makeNode(CustomScan);
    ListCell *cell;

    foreach (cell, plan->targetlist) {
        const TargetEntry *entry = lfirst_node(TargetEntry, cell);
        Var *column = makeVar(INDEX_VAR, entry->resno, exprType((Node *)entry->expr), exprTypmod((Node *)entry->expr),
                              exprCollation((Node *)entry->expr), 0);

        scan->scan.plan.targetlist =
            lappend(scan->scan.plan.targetlist, makeTargetEntry((Expr *)column, entry->resno, entry->resname, false));
    }
    scan->custom_scan_tlist = plan->targetlist;
    scan->custom_plans = list_make1(plan);
    scan->methods = &scan_methods;
    return &scan->scan.plan;
}

static bool reads_tuplestore(const Query *query) {
    ListCell *cell;

    foreach (cell, query->rtable) {
        if (lfirst_node(RangeTblEntry, cell)->rtekind == RTE_NAMEDTUPLESTORE) {
            return true;
        }
    }
    return false;
}

/* What a planner's hook is given, and gives to the next. */
#if PG_VERSION_NUM >= 190000
#define PLANNER_PARAMETERS Query *query, const char *text, int options, ParamListInfo parameters, ExplainState *explain
#define PLANNER_ARGUMENTS query, text, options, parameters, explain
#else
#define PLANNER_PARAMETERS Query *query, const char *text, int options, ParamListInfo parameters
#define PLANNER_ARGUMENTS query, text, options, parameters
#endif

static PlannedStmt *plan(PLANNER_PARAMETERS) {
    RangeTblEntry *target = query->commandType == CMD_INSERT ? rt_fetch(query->resultRelation, query->rtable) : NULL;
    const bool in_shell = target != NULL && get_rel_namespace(target->relid) == get_namespace_oid("shell", true);
    const char *name = in_shell ? get_rel_name(target->relid) : "";
    PlannedStmt *planned;

    if (strncmp(name, "refused", 7) == 0 ||
        (strncmp(name, "not_single", 10) == 0 && query->jointree->fromlist == NIL)) {
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("the shards of \"%s\" are not at home", name)));
    }
    if (in_shell && reads_tuplestore(query)) {
        ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("unrecognized RTE kind")));
    }
    if (in_shell) {
        const Oid kept = get_relname_relid(name, get_namespace_oid("kept", false));

#if PG_VERSION_NUM >= 160000
        getRTEPermissionInfo(query->rteperminfos, target)->relid = kept;
#endif
        target->relid = kept;
        LockRelationOid(target->relid, RowExclusiveLock);
    }
    planned = previous_hook != NULL ? previous_hook(PLANNER_ARGUMENTS) : standard_planner(PLANNER_ARGUMENTS);
    if (strncmp(name, "scan_", 5) == 0) {
        planned->planTree = under_custom_scan(planned->planTree);
    }
    return planned;
}

void _PG_init(void) {
    previous_hook = planner_hook;
    planner_hook = plan;
}
