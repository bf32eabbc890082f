#include "pg/subscribed_table.hpp"

namespace movielens_ingest::pg {

namespace {

bool has_subscription(Relation catalog, Oid table) {
    ScanKeyData key[1];

    ScanKeyInit(&key[0], Anum_pg_subscription_rel_srrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(table));
    SysScanDesc scan = systable_beginscan(catalog, SubscriptionRelSrrelidSrsubidIndexId, true, nullptr, 1, key);
    const bool found = HeapTupleIsValid(systable_getnext(scan));
    systable_endscan(scan);
    return found;
}

} // namespace

bool is_subscribed(Relation table) {
    List *tables = list_make1_oid(RelationGetRelid(table));
    bool found = false;
    ListCell *cell;

    if (table->rd_rel->relispartition) {
        tables = list_concat(tables, get_partition_ancestors(RelationGetRelid(table)));
    }
    Relation catalog = table_open(SubscriptionRelRelationId, AccessShareLock);
    foreach (cell, tables) {
        found = found || has_subscription(catalog, lfirst_oid(cell));
    }
    table_close(catalog, AccessShareLock);
    list_free(tables);
    return found;
}

} // namespace movielens_ingest::pg
