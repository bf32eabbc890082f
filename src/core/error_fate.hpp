/*
 * error_fate.hpp - what an error of the server means for the work that met it: the one place that knows.
 */
#pragma once

#include <cstdint>

namespace movielens_ingest::core {

enum class ErrorFate : uint8_t {
    Reject,     /* the record's own fault: found by trying it alone, refused, never retried */
    Retry,      /* transient: the chunk is tried again, with a growing pause */
    RetryAlone, /* a deadlock or a serialization failure: the chunk is put off until nothing else of the import runs */
    Fail,       /* no second try can help: the chunk and the import fail */
};

/* sqlstate: five characters, as in "23505". */
ErrorFate error_fate(const char *sqlstate) noexcept;

} // namespace movielens_ingest::core
