/*
 * statement_binding.hpp - a statement means the objects that it was written for, whatever has their names by now.
 *
 * A statement as text names its tables and functions with their schema, and ALTER SCHEMA ... RENAME waits for nobody:
 * between the moment when a name is looked up and the moment when the parser looks it up again, the owner of the schema
 * can put another one in its place. The names are looked up anew whenever the server plans a statement again, too
 * (RevalidateCachedQuery). So every query is looked at when the parser is through with it, and before the rewriter, the
 * planner or the executor sees it: then its objects are OIDs, and these must be those that were meant.
 *
 * Until then, the parser runs nothing of others but input functions: a literal of no type is read as one of what it
 * stands beside (coerce_type). Those of the types that an ordinary role can make could evaluate the CHECK of a domain
 * within an array or a row, so no literal in our statements is the text of one that has elements.
 *
 * What the rewriter adds later (policies, defaults, generated columns, rules) is found by the OID of the table.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

/* What the statements that run now may be made of, beside what initdb made. Lives on the stack of who runs them. */
struct StatementBinding {
    /* Which queries it is for: those of this text, or where it is null all that this user runs. */
    const char *text;
    Oid user;
    /*
     * Of tables and functions of the extension, and tables of the user that reference them (between our statements, the
     * queries of these foreign keys run as the user). The statements run with the rights of the user, so the tables may
     * have no trigger and no rule of others.
     */
    bool of_extension;
    /* Of these tables, functions and types. */
    const ObjectAddress *objects;
    int object_count;
    /* Set when a query has been looked at. */
    bool checked;
    StatementBinding *outer;
};

/* For a statement of this text. It may be made of these objects only. */
StatementBinding bind_text(const char *text, const ObjectAddress *objects, int count);

/* The type, those that its values consist of, and what it is a domain over, from objects[count] on; returns the new
 * count. */
constexpr int kMostTypes = 8;
int add_types(ObjectAddress *objects, int count, Oid type);

/* At the load of the library. */
void install_statement_check();

/*
 * From enter_binding() to leave_binding() queries are held to the binding; of several the innermost one counts. Not for
 * others: see while_bound().
 */
void enter_binding(StatementBinding *binding);
void leave_binding(const StatementBinding *binding);

/* Runs body(), which prepares or executes statements. An error that it raises is raised again. */
template <typename Body> void while_bound(StatementBinding *binding, const Body &body) {
    enter_binding(binding);
    PG_TRY();
    { body(); }
    PG_FINALLY();
    { leave_binding(binding); }
    PG_END_TRY();
}

/* After a statement was prepared. Raises an error when it has not been looked at, for another library kept it away. */
void require_checked(const StatementBinding *binding);

} // namespace movielens_ingest::pg
