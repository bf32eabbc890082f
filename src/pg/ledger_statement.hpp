/*
 * ledger_statement.hpp - how the files ledger*.cpp run their statements. Not for others.
 */
#pragma once

#include "pg/ledger.hpp"
#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/*
 * From begin_statement() to end_statement() the user is the ledger's owner, search_path is safe, no lock_timeout of the
 * caller's holds, and SPI is connected. An error in between is put right by the abort of the (sub)transaction.
 */
struct StatementScope {
    Oid user;
    int security_context;
    int guc_level;
};

StatementScope begin_statement(const Ledger *ledger);
void end_statement(const StatementScope *scope);

/* A parameter of a statement. */
struct Parameter {
    Datum value;
    Oid type;
    bool null;
};

inline Parameter param(int64 value) { return {Int64GetDatum(value), INT8OID, false}; }
inline Parameter param(int value) { return {Int32GetDatum(value), INT4OID, false}; }
inline Parameter param(bool value) { return {BoolGetDatum(value), BOOLOID, false}; }
inline Parameter param(Oid value) { return {ObjectIdGetDatum(value), OIDOID, false}; }
/* A null pointer is NULL; bytes that are not text in the encoding of the database are shown as \xHH. */
Parameter param(const char *value);
Parameter param(ArrayType *value, Oid array_type);
/* Arrays of so many parameters of the type, which may be null. */
Parameter param_array(const Parameter *elements, int count, Oid type, Oid array_type);

constexpr int kMostParameters = 20;

/*
 * Runs one statement; "ledger." in its text stands for the schema of the ledger. Returns the number of rows; their
 * values are in SPI_tuptable until end_statement(). read_only: it sees what the active snapshot sees.
 */
uint64 run_statement(const Ledger *ledger, const char *text, const Parameter *parameters, int count, bool read_only);

template <int N> uint64 run_statement(const Ledger *ledger, const char *text, const Parameter (&parameters)[N]) {
    static_assert(N <= kMostParameters);
    return run_statement(ledger, text, parameters, N, false);
}

/* Without parameters. */
inline uint64 run_statement(const Ledger *ledger, const char *text) {
    return run_statement(ledger, text, nullptr, 0, false);
}
inline uint64 query_statement(const Ledger *ledger, const char *text) {
    return run_statement(ledger, text, nullptr, 0, true);
}

template <int N> uint64 query_statement(const Ledger *ledger, const char *text, const Parameter (&parameters)[N]) {
    static_assert(N <= kMostParameters);
    return run_statement(ledger, text, parameters, N, true);
}

/* The value of a column, from 1, of a row of SPI_tuptable. */
Datum result(uint64 row, int column, bool *null);
int64 result_int64(uint64 row, int column);
/* NULL is false. */
bool result_bool(uint64 row, int column);
/* Copied into the given context; null for NULL. */
char *result_text(uint64 row, int column, MemoryContext context);
/* The same where NULL is an error, for JSON that somebody has edited may lack anything. */
char *required_text(uint64 row, int column, MemoryContext context);

} // namespace movielens_ingest::pg
