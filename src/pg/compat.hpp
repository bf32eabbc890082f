/*
 * compat.hpp - every difference between the versions of PostgreSQL that we support stands here.
 */
#pragma once

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 160000
#error "movielens_ingest supports PostgreSQL 15; other versions have not been compiled and tested yet"
#endif

namespace movielens_ingest::pg {

/* All configuration variables of this process, and how many there are. */
inline config_generic **configuration_variables(int *count) {
    *count = GetNumConfigOptions();
    return get_guc_variables();
}

/*
 * The walkers of nodeFuncs.h. In C, the empty parentheses of their parameter stand for any parameters; in C++ for none.
 */
using NodeWalker = bool (*)(Node *node, void *context);

inline bool (*untyped(NodeWalker walker))() {
    return reinterpret_cast<bool (*)()>(reinterpret_cast<void (*)()>(walker));
}
inline bool walk_query(Query *query, NodeWalker walker, void *context, int flags) {
    return query_tree_walker(query, untyped(walker), context, flags);
}
inline bool walk_expression(Node *node, NodeWalker walker, void *context) {
    return expression_tree_walker(node, untyped(walker), context);
}

} // namespace movielens_ingest::pg
