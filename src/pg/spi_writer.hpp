/*
 * spi_writer.hpp - the way into everything else that the server can insert into: an INSERT statement, with triggers,
 * policies, partitions, views and foreign tables, and into tables whose rows others keep. Its SELECT reads the records
 * from a tuplestore, and tells us through _inserting() which one it is at.
 */
#pragma once

#include "pg/ledger.hpp"
#include "pg/pg.hpp"
#include "pg/writer.hpp"

namespace movielens_ingest::pg {

/*
 * In the current memory context. desc: of the tuples, of shape Fields. elsewhere: others than the server's executor
 * insert. schema: that of the extension.
 */
Writer *make_spi_writer(Relation target, const Import *import, TupleDesc desc, bool elsewhere, Oid schema);

/* Plans the statement of such a writer, for the error that it may raise. */
void require_plannable(Relation target, const Import *import, Oid schema);

} // namespace movielens_ingest::pg
