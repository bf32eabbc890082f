/*
 * ledger_guard.cpp - the trigger function _guard_ledger(): who may write a table of the ledger.
 *
 * The extension's own statements may, and whoever has the rights of the table's owner: superusers restore dumps and
 * delete old imports. Where the trigger's argument is "extension" nobody else inserts or updates anything by hand: such
 * a table says as whom code runs, or is at least no part of a dump. What logical replication brings for it was true in
 * another server, and is left out.
 */
#include "pg/boundary.hpp"
#include "pg/pg.hpp"

using namespace movielens_ingest::pg;

namespace {

/*
 * begin_statement() has made us the owner, in a security context that no SQL of a user's can make: besides ours, only
 * the queries of foreign keys run in it (ri_PerformCheck), and those of the ledger delete what a deleted import had.
 */
bool is_statement_of_extension(Oid owner) { return GetUserId() == owner && InNoForceRLSOperation(); }

bool removes_rows(TriggerEvent event) { return TRIGGER_FIRED_BY_DELETE(event) || TRIGGER_FIRED_BY_TRUNCATE(event); }

bool is_writable_by_hand(const TriggerData *trigger) {
    return removes_rows(trigger->tg_event) || strcmp(trigger->tg_trigger->tgargs[0], "extension") != 0;
}

enum class Verdict : uint8_t { Write, LeaveOut, Refuse };

Verdict judge(const TriggerData *trigger) {
    const Oid owner = trigger->tg_relation->rd_rel->relowner;

    if (is_statement_of_extension(owner)) {
        return Verdict::Write;
    }
    if (!has_privs_of_role(GetUserId(), owner)) {
        return Verdict::Refuse;
    }
    if (is_writable_by_hand(trigger)) {
        return Verdict::Write;
    }
    return IsLogicalWorker() ? Verdict::LeaveOut : Verdict::Refuse;
}

/* What a trigger returns that is to have no effect; only one that is called before a row has a row to return. */
HeapTuple row_to_write(const TriggerData *trigger) {
    if (!TRIGGER_FIRED_BEFORE(trigger->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event)) {
        return nullptr;
    }
    return TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
}

} // namespace

MOVIELENS_INGEST_FUNCTION(_guard_ledger) {
    if (!CALLED_AS_TRIGGER(fcinfo)) {
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("function \"%s\" was not called by trigger manager", "_guard_ledger")));
    }
    const auto *trigger = reinterpret_cast<const TriggerData *>(fcinfo->context);
    const Verdict verdict = judge(trigger);

    if (verdict == Verdict::Refuse) {
        ereport(ERROR,
                (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                 errmsg("permission denied to write table \"%s\"", RelationGetRelationName(trigger->tg_relation)),
                 errdetail("Only the extension writes the ledger.")));
    }
    return PointerGetDatum(verdict == Verdict::LeaveOut ? nullptr : row_to_write(trigger));
}
