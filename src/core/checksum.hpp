/*
 * checksum.hpp - XXH3-64 of a stream of bytes, by libxxhash.
 */
#pragma once

#include <cstddef>
#include <cstdint>

struct XXH3_state_s;

namespace movielens_ingest::core {

class Checksum {
  public:
    Checksum(); /* throws std::bad_alloc */
    ~Checksum();
    Checksum(const Checksum &) = delete;
    Checksum &operator=(const Checksum &) = delete;

    void reset() noexcept;
    void update(const void *data, size_t size) noexcept;
    uint64_t value() const noexcept; /* of all bytes since reset() */

  private:
    XXH3_state_s *state_;
};

} // namespace movielens_ingest::core
