#include "pg/session.hpp"

namespace movielens_ingest::pg {

namespace {

/* Belongs to the session or the transaction alone, or must stay as a loader needs it. */
bool stays_behind(const char *name) {
    static const char *const names[] = {
        "client_encoding", /* a loader speaks the encoding of the database; the file's is in the plan */
        "default_transaction_deferrable",
        "default_transaction_isolation", /* the transactions of an import are READ COMMITTED */
        "default_transaction_read_only", /* ... and read-write */
        "exit_on_error",                 /* an error is a loader's daily bread */
        "role",                          /* see identity.hpp */
        "seed",
        "session_authorization", /* see identity.hpp */
        "transaction_deferrable",
        "transaction_isolation",
        "transaction_read_only",
    };

    for (const char *const stays : names) {
        if (strcmp(name, stays) == 0) {
            return true;
        }
    }
    return false;
}

} // namespace

void capture_settings(ArrayType **names, ArrayType **values) {
    int count;
    config_generic **variables = configuration_variables(&count);
    auto *name_datums = static_cast<Datum *>(palloc(sizeof(Datum) * count));
    auto *value_datums = static_cast<Datum *>(palloc(sizeof(Datum) * count));
    int captured = 0;

    for (int i = 0; i < count; i++) {
        const config_generic *variable = variables[i];

        /* Below PGC_S_GLOBAL it comes from the server, which the loader has the same settings from. */
        if ((variable->context != PGC_USERSET && variable->context != PGC_SUSET) || variable->source < PGC_S_GLOBAL ||
            stays_behind(variable->name)) {
            continue;
        }
        const char *value = GetConfigOption(variable->name, true, false);
        if (value == nullptr) {
            continue;
        }
        name_datums[captured] = CStringGetTextDatum(variable->name);
        value_datums[captured] = CStringGetTextDatum(value);
        captured++;
    }
    *names = construct_array(name_datums, captured, TEXTOID, -1, false, TYPALIGN_INT);
    *values = construct_array(value_datums, captured, TEXTOID, -1, false, TYPALIGN_INT);
}

void adopt_setting(const char *name, const char *value) {
    const char *own = GetConfigOption(name, true, false);

    if (own != nullptr && strcmp(own, value) == 0) {
        return;
    }
    /* The caller's session was allowed to set it: PGC_SUSET asks no second time. */
    (void)set_config_option(name, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SET, true, ERROR, false);
}

} // namespace movielens_ingest::pg
