/*
 * spi_writer.hpp - the way into everything else that the server can insert into: an INSERT statement, with triggers,
 * policies, partitions, views and foreign tables. Its SELECT reads the records from a tuplestore (as a trigger reads
 * its transition tables), and tells us through _inserting() which one it is at.
 */
#pragma once

#include "pg/ledger.hpp"
#include "pg/pg.hpp"
#include "pg/writer.hpp"

namespace movielens_ingest::pg {

/* In the current memory context. desc: of the tuples, of shape Fields. schema: that of the extension. */
Writer *make_spi_writer(Relation target, const Import *import, TupleDesc desc, Oid schema);

} // namespace movielens_ingest::pg
