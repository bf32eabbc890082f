#include "pg/batch_order.hpp"

namespace movielens_ingest::pg {

namespace {

void read_member_references(const Ledger *ledger, const BatchMember *members, int count, uint32 *references) {
    auto *tables = static_cast<Oid *>(palloc(sizeof(Oid) * Max(count, 1)));

    for (int i = 0; i < count; i++) {
        tables[i] = members[i].target_oid;
    }
    read_references(ledger, tables, count, references);
}

/* All that each member references, over others too. */
void reach(const uint32 *references, int count, uint32 *reached) {
    memcpy(reached, references, sizeof(uint32) * static_cast<size_t>(count));
    for (int over = 0; over < count; over++) {
        for (int i = 0; i < count; i++) {
            if ((reached[i] & (1U << over)) != 0) {
                reached[i] |= reached[over];
            }
        }
    }
}

} // namespace

void order_batch(const Ledger *ledger, BatchMember *members, int count, uint32 *references) {
    uint32 reached[kMostImports];

    if (count > kMostImports) {
        ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
                        errmsg("a data set cannot have more than %d files", kMostImports)));
    }
    read_member_references(ledger, members, count, references);
    for (int i = 0; i < count; i++) {
        members[i].referenced = false;
        for (int j = 0; j < count; j++) {
            members[i].referenced = members[i].referenced || (references[j] & (1U << i)) != 0;
        }
    }
    std::stable_sort(members, members + count, [](const BatchMember &a, const BatchMember &b) {
        return a.referenced != b.referenced ? a.referenced : a.file_size < b.file_size;
    });

    read_member_references(ledger, members, count, references);
    reach(references, count, reached);
    for (int i = 0; i < count; i++) {
        for (int j = i + 1; j < count; j++) {
            if ((reached[j] & (1U << i)) != 0) {
                references[i] &= ~(1U << j);
            }
        }
    }
}

} // namespace movielens_ingest::pg
