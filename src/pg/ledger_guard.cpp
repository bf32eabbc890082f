/*
 * ledger_guard.cpp - the trigger function _guard_ledger(): who may write a table of the ledger.
 *
 * The extension's own statements may, and whoever has the rights of the table's owner: superusers restore dumps and
 * delete old imports. Where the trigger's argument is "extension" nobody else inserts or updates anything by hand: such
 * a table says as whom code runs, or is at least no part of a dump.
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

} // namespace

MOVIELENS_INGEST_FUNCTION(_guard_ledger) {
    if (!CALLED_AS_TRIGGER(fcinfo)) {
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("function \"%s\" was not called by trigger manager", "_guard_ledger")));
    }
    const auto *trigger = reinterpret_cast<const TriggerData *>(fcinfo->context);
    const Form_pg_class table = trigger->tg_relation->rd_rel;

    if (!is_statement_of_extension(table->relowner) &&
        (!has_privs_of_role(GetUserId(), table->relowner) || !is_writable_by_hand(trigger))) {
        ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                        errmsg("permission denied to write table \"%s\"", NameStr(table->relname)),
                        errdetail("Only the extension writes the ledger.")));
    }
    return PointerGetDatum(nullptr);
}
