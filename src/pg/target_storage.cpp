#include "pg/target_storage.hpp"

#include "pg/pg.hpp"
#include "pg/target.hpp"

namespace movielens_ingest::pg {

namespace {

struct Storage {
    Oid foreign; /* a part that is foreign, or InvalidOid */
    bool logged;
    bool unlogged;
};

void add_part(Storage *storage, Oid part) {
    switch (get_rel_relkind(part)) {
    case RELKIND_FOREIGN_TABLE:
        storage->foreign = part;
        break;
    case RELKIND_RELATION:
        (get_rel_persistence(part) == RELPERSISTENCE_UNLOGGED ? storage->unlogged : storage->logged) = true;
        break;
    default:
        break;
    }
}

/* Of the target and its partitions, without a lock on them: each chunk looks again under its own. */
Storage storage_of(Oid target) {
    Storage storage = {InvalidOid, false, false};
    ListCell *cell;

    if (get_rel_relkind(target) != RELKIND_PARTITIONED_TABLE) {
        add_part(&storage, target);
        return storage;
    }
    foreach (cell, find_all_inheritors(target, NoLock, nullptr)) {
        add_part(&storage, lfirst_oid(cell));
    }
    return storage;
}

void raise_storage_changed(const char *target) {
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("table %s has been made logged or unlogged since its import began", target),
                    errdetail("What a crash may have taken cannot be told any more.")));
}

} // namespace

bool require_storage(Relation target, const ImportOptions *options) {
    const Storage storage = storage_of(RelationGetRelid(target));

    if (OidIsValid(storage.foreign) && !options->at_least_once) {
        ereport(
            ERROR,
            (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
             errmsg("records cannot be loaded exactly once into foreign table \"%s\"", get_rel_name(storage.foreign)),
             errdetail("Its server commits before this one notes what has been loaded."),
             errhint("With at_least_once => true it is loaded; a failure may then leave some records in it twice.")));
    }
    if (storage.logged && storage.unlogged) {
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("cannot import into partitioned table \"%s\"", RelationGetRelationName(target)),
                        errdetail("Some of its partitions are unlogged and some are not: a crash would empty a part of "
                                  "it.")));
    }
    return storage.unlogged;
}

void require_same_storage(Relation target, const Import *import) {
    if (require_storage(target, &import->options) != import->unlogged) {
        raise_storage_changed(import->target);
    }
}

void settle_witness(Loader *leader, Import *import) {
    begin_transaction(&leader->identity);
    const bool unlogged = storage_of(import->target_oid).unlogged;

    if (unlogged || import->unlogged) {
        const bool some_loaded = has_loaded_chunks(&leader->ledger, import->id);
        if (some_loaded && unlogged != import->unlogged) {
            raise_storage_changed(import->target);
        }
        /* A witness that was not there yet: this is the first start, or a crash has taken it with the rows. */
        if (unlogged && add_witness(&leader->ledger, import->id) && some_loaded) {
            ereport(LOG, (errmsg("a crash has emptied unlogged table %s: import " INT64_FORMAT " begins anew",
                                 import->target, import->id)));
            forget_chunks(&leader->ledger, import->id);
        }
        note_unlogged(&leader->ledger, import->id, unlogged);
        import->unlogged = unlogged;
    }
    commit_transaction();
}

} // namespace movielens_ingest::pg
