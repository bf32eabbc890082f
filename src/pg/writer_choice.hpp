/*
 * writer_choice.hpp - which way a table takes: multi_insert where that writer can keep its every rule, else spi.
 */
#pragma once

#include "pg/ledger.hpp"
#include "pg/pg.hpp"
#include "pg/writer.hpp"

namespace movielens_ingest::pg {

struct WriterChoice {
    bool multi_insert;
    const char *why;    /* spi: what multi_insert cannot do, as the rest of a sentence about the table */
    List *foreign_keys; /* multi_insert: as find_foreign_keys() has them */
};

/*
 * By the setting movielens_ingest.writer, and by the table. Shows the choice at DEBUG1. Raises 0A000 when the writer
 * that is set cannot write the table, and for a table that neither can.
 */
WriterChoice choose_writer(Relation target, const char *const *columns, int column_count);

} // namespace movielens_ingest::pg
