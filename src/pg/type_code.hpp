/*
 * type_code.hpp - what code runs when a field becomes a value of a type.
 */
#pragma once

#include "pg/pg.hpp"

namespace movielens_ingest::pg {

struct TypeCode {
    List *expressions; /* for nobody to evaluate: some stand for a function */
    List *types;       /* whose functions are among them */
};

/* Null: nothing. */
void add_expression(TypeCode *code, Node *expression);

/*
 * The type's input function, which reads a field, its output function, for an error's detail, and what they call: the
 * same of element types and columns, and the constraints of a domain.
 */
void add_type(TypeCode *code, Oid type);

/* It may do more than to make a value: write a table, or draw from a sequence. */
bool reading_is_volatile(Oid type);

} // namespace movielens_ingest::pg
