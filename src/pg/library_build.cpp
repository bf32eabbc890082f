#include "pg/library_build.hpp"

/* The Makefile knows the checksum of the sources. */
#ifndef MOVIELENS_INGEST_BUILD
#error "MOVIELENS_INGEST_BUILD is not defined"
#endif

namespace movielens_ingest::pg {

namespace {

/* A text, for people who have a file and want to know which build it is. */
#define TITLE "movielens_ingest build "
const char kBuild[] = TITLE MOVIELENS_INGEST_BUILD;
constexpr size_t kTitleLength = sizeof(TITLE) - 1;

} // namespace

uint32 library_build() {
    static const auto build = static_cast<uint32>(strtoul(kBuild + kTitleLength, nullptr, 10));

    return build;
}

} // namespace movielens_ingest::pg
