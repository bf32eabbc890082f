/*
 * file_kind.hpp - what a file is that goes by the name of a CSV file and is none, as its first bytes tell.
 */
#pragma once

#include <cstddef>

namespace movielens_ingest::core {

struct FileKind {
    const char *name;   /* as in "it looks like a gzip archive" */
    const char *remedy; /* a sentence: how to come by the CSV file */
};

/* By the first bytes of a file, up to 1 kB of them. Null: nothing that is known here. A CSV file may begin like it. */
const FileKind *file_kind(const char *bytes, size_t size) noexcept;

} // namespace movielens_ingest::core
