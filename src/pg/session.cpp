#include "pg/session.hpp"

namespace movielens_ingest::pg {

namespace {

/* lock_timeout of the caller, in milliseconds. */
int lock_timeout_of_caller = 0;

/* Belongs to the session or the transaction alone, or must stay as a loader needs it. */
bool stays_behind(const char *name) {
    static const char *const names[] = {
        "client_encoding", /* a loader speaks the encoding of the database; the file's is in the plan */
        "default_transaction_deferrable",
        "default_transaction_isolation", /* the transactions of an import are READ COMMITTED */
        "default_transaction_read_only", /* ... and read-write */
        "exit_on_error",                 /* see background_process.cpp */
        "role",                          /* see identity.hpp */
        "seed",
        "session_authorization", /* see identity.hpp */
        "transaction_deferrable",
        "transaction_isolation",
        "transaction_read_only",
        "transaction_timeout", /* see background_process.cpp */
    };

    for (const char *const stays : names) {
        if (strcmp(name, stays) == 0) {
            return true;
        }
    }
    return false;
}

bool contains(List *names, const char *name) {
    ListCell *cell;

    foreach (cell, names) {
        if (pg_strcasecmp(static_cast<const char *>(lfirst(cell)), name) == 0) {
            return true;
        }
    }
    return false;
}

} // namespace

Setting *capture_settings(List *also, int *count) {
    int variable_count;
    config_generic **variables = configuration_variables(&variable_count);
    auto *settings = static_cast<Setting *>(palloc(sizeof(Setting) * variable_count));

    *count = 0;
    for (int i = 0; i < variable_count; i++) {
        const config_generic *variable = variables[i];

        /* Below PGC_S_GLOBAL it comes from the server, and the loader has it from there too. */
        if ((variable->context != PGC_USERSET && variable->context != PGC_SUSET) ||
            (variable->source < PGC_S_GLOBAL && !contains(also, variable->name)) || stays_behind(variable->name)) {
            continue;
        }
        const char *value = GetConfigOption(variable->name, true, false);
        if (value != nullptr) {
            settings[(*count)++] = {pstrdup(variable->name), pstrdup(value), variable->scontext, variable->srole};
        }
    }
    return settings;
}

void adopt_setting(const Setting *setting) {
    if (strcmp(setting->name, "lock_timeout") == 0) {
        (void)parse_int(setting->value, &lock_timeout_of_caller, GUC_UNIT_MS, nullptr);
        return;
    }
    const char *own = GetConfigOption(setting->name, true, false);

    if (own != nullptr && strcmp(own, setting->value) == 0) {
        return;
    }
    /* Of a server that was upgraded since. A name with a dot is a library's, which may be loaded later. */
    if (own == nullptr && strchr(setting->name, GUC_QUALIFIER_SEPARATOR) == nullptr) {
        ereport(LOG, (errmsg("setting \"%s\" of the session that called the import is left out", setting->name),
                      errdetail("This server does not have it.")));
        return;
    }
    (void)set_config_option_ext(setting->name, setting->value, static_cast<GucContext>(setting->context), PGC_S_SESSION,
                                setting->role, GUC_ACTION_SET, true, ERROR, false);
}

void set_lock_timeout_aside() {
    lock_timeout_of_caller = LockTimeout; /* of the server, the database or the role; the session's is adopted later */
    forget_lock_timeout();
}

void forget_lock_timeout() {
    if (LockTimeout != 0) {
        SetConfigOption("lock_timeout", "0", PGC_USERSET, PGC_S_SESSION);
    }
}

void obey_lock_timeout() {
    char value[16];

    snprintf(value, sizeof(value), "%d", lock_timeout_of_caller);
    set_locally("lock_timeout", value);
}

void set_locally(const char *name, const char *value) {
    (void)set_config_option(name, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

} // namespace movielens_ingest::pg
