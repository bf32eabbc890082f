#include "pg/identity.hpp"

#include "pg/error_text.hpp"
#include "pg/process_permit.hpp"
#include "pg/session.hpp"
#include "pg/settings.hpp"

namespace movielens_ingest::pg {

namespace {

/* Who this process is between transactions; with security context 0, as StartTransaction asserts. */
Oid base_user = InvalidOid;

/*
 * Nobody keeps a role from being dropped because an import of its is queued or interrupted; and nothing asks whether a
 * role exists that a process is to become (SetUserIdAndSecContext, SetSessionAuthorization).
 */
void require_role(Oid role) {
    if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role))) {
        ereport(FATAL, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("role with OID %u does not exist", role)));
    }
}

} // namespace

Identity current_identity() {
    Identity identity;

    identity.database = MyDatabaseId;
    identity.authenticated_user = GetAuthenticatedUserId();
    identity.session_user = GetSessionUserId();
    identity.user = GetUserId();
    identity.process_limit = max_processes_per_role_setting();
    return identity;
}

void connect_as(const Identity *identity) {
    BackgroundWorkerInitializeConnectionByOid(identity->database, identity->authenticated_user, 0);

    /* As every session does it (InitPostgres): what these hook into is to happen to an import too. */
    StartTransactionCommand();
    process_session_preload_libraries();
    CommitTransactionCommand();

    StartTransactionCommand();
    require_role(identity->user);
    if (OidIsValid(identity->session_user)) {
        require_role(identity->session_user);
    }
    const bool session_is_superuser = superuser_arg(identity->session_user);
    const bool is_superuser = superuser_arg(identity->user);
    CommitTransactionCommand();
    if (identity->session_user != identity->authenticated_user) {
        /* The caller's session was allowed to (check_session_authorization); this asks only in older minor releases. */
        SetSessionAuthorization(identity->session_user, session_is_superuser);
    }
    base_user = GetUserId();
    SetConfigOption("is_superuser", is_superuser ? "on" : "off", PGC_INTERNAL, PGC_S_OVERRIDE);
    set_lock_timeout_aside();
}

void begin_transaction(const Identity *identity) {
    SetCurrentStatementStartTimestamp();
    StartTransactionCommand();
    XactIsoLevel = XACT_READ_COMMITTED;
    XactReadOnly = false;
    XactDeferrable = false;
    SetUserIdAndSecContext(identity->user, SECURITY_LOCAL_USERID_CHANGE);
    PushActiveSnapshot(GetTransactionSnapshot());
}

void commit_transaction() {
    PopActiveSnapshot();
    CommitTransactionCommand();
    SetUserIdAndSecContext(base_user, 0);
    pgstat_report_stat(false);
}

ErrorData *abort_transaction(MemoryContext context, CancelHold hold) {
    put_back(hold);
    MemoryContextSwitchTo(context);
    ErrorData *error = copy_error();
    FlushErrorState();
    /* Outside of a transaction AbortCurrentTransaction() does nothing: as AutoVacLauncherMain() has it. */
    LWLockReleaseAll();
    ConditionVariableCancelSleep();
    AbortCurrentTransaction(); /* restores the user and the security context that the transaction began with */
    hold_permits_again();
    SetUserIdAndSecContext(base_user, 0);
    MemoryContextSwitchTo(context);
    return error;
}

} // namespace movielens_ingest::pg
