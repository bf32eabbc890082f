/*
 * writer_choice.hpp - which way a table takes: pages where that writer can keep its every rule and the planner agrees
 * that rows go there, else multi_insert, else spi.
 */
#pragma once

#include "pg/ledger.hpp"
#include "pg/pg.hpp"
#include "pg/writer.hpp"

namespace movielens_ingest::pg {

/* Pages and MultiInsert are the heap_writer, with and without whole pages; Spi is the spi_writer. */
enum class WriterKind : uint8_t { Pages, MultiInsert, Spi };

struct WriterChoice {
    WriterKind kind;
    List *foreign_keys; /* to be checked as a set, as find_foreign_keys() has them; none for Spi */
    /*
     * Foreign keys to the target itself, by which it can be told of records, before they are written, that they cannot
     * go in. None where a trigger may change a record, or other code look at the table meanwhile.
     */
    List *self_references;
    bool elsewhere; /* others than the server's executor insert into the table; then it is Spi */
};

/*
 * By the setting movielens_ingest.writer, and by the table. Shows the choice at DEBUG1. Raises 0A000 when the writer
 * that is set cannot write the table, and for a table that none can.
 */
WriterChoice choose_writer(Relation target, const Import *import);

} // namespace movielens_ingest::pg
