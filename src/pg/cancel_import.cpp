#include "pg/cancel_import.hpp"

#include "pg/abandoned_import.hpp"
#include "pg/error_text.hpp"
#include "pg/import_wait.hpp"
#include "pg/shared_batch.hpp"
#include "pg/shared_progress.hpp"

namespace movielens_ingest::pg {

namespace {

bool may_cancel(Oid owner) {
    const Oid user = GetUserId();

    /* As pg_signal_backend() has it: a superuser's are for superusers, not for who has a superuser's other privileges.
     */
    return superuser() || (OidIsValid(owner) && !superuser_arg(owner) &&
                           (has_privs_of_role(user, owner) || has_privs_of_role(user, ROLE_PG_SIGNAL_BACKEND)));
}

void require_may_cancel(const Ledger *ledger, const VisibleImport *import) {
    VisibleImport seen;

    if (may_cancel(import->owner)) {
        return;
    }
    if (!read_visible_import(ledger, import->id, false, &seen)) {
        raise_unknown_import(import->id);
    }
    ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                    errmsg("permission denied to cancel import " INT64_FORMAT, import->id),
                    errdetail("Only the role that started it, superusers and, for other roles' imports, members of "
                              "\"pg_signal_backend\" may cancel it.")));
}

/*
 * At once, as pg_cancel_backend() does; the request in the ledger holds when the transaction commits, and outlives the
 * leader. False: it has no leader that could be asked.
 */
bool ask_leader(const Ledger *ledger, const VisibleImport *import) {
    const BatchView view = open_batch_view(import->segment, ledger->files, import->batch_id, import->leader);
    const int index = view.batch != nullptr ? shared_index(view.batch, import->id) : -1;

    if (index >= 0) {
        cancel_import(view.batch, index);
        interrupt_leader(view.batch, index);
    }
    close_batch_view(&view);
    return index >= 0;
}

/* Nobody leads it. */
void cancel_abandoned(const Ledger *ledger, int64 id) {
    const char *unbuilt = end_cancelled(ledger, id, target_of_import(ledger, id));
    if (unbuilt != nullptr) {
        ereport(WARNING, (errmsg_internal("%s", show_message(unbuilt)), errhint("Build it with REINDEX.")));
    }
}

} // namespace

bool cancel_by_id(const Ledger *ledger, int64 id) {
    VisibleImport import;

    require_committed_import(id);
    if (!read_visible_import(ledger, id, true, &import)) {
        raise_unknown_import(id);
    }
    require_may_cancel(ledger, &import);
    if (is_open(&import)) {
        PreventCommandIfReadOnly("ml_cancel()");
    }
    if (is_open(&import) && ask_leader(ledger, &import)) {
        request_cancel(ledger, &import);
        return true;
    }
    if (is_open(&import)) {
        /*
         * No leader has said yet where it can be asked. One that is about to has these rows locked, and we wait for it;
         * one that comes later waits for us. All rows of the batch, or the two could wait for each other.
         */
        lock_batch(ledger, import.batch_id);
        if (!read_visible_import(ledger, id, true, &import)) {
            raise_unknown_import(id);
        }
    }
    if (is_open(&import)) {
        if (ask_leader(ledger, &import)) {
            request_cancel(ledger, &import);
        } else {
            cancel_abandoned(ledger, id);
        }
        return true;
    }
    ereport(NOTICE, (errmsg("import " INT64_FORMAT " has ended already", id)));
    return false;
}

} // namespace movielens_ingest::pg
