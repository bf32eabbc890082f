#include "core/checksum.hpp"

#include <xxhash.h>

#include <new>

namespace movielens_ingest::core {

Checksum::Checksum() : state_(XXH3_createState()) {
    if (state_ == nullptr)
        throw std::bad_alloc();
    reset();
}

Checksum::~Checksum() { XXH3_freeState(state_); }

void Checksum::reset() noexcept { XXH3_64bits_reset(state_); }

void Checksum::update(const void *data, size_t size) noexcept {
    if (size > 0)
        XXH3_64bits_update(state_, data, size);
}

uint64_t Checksum::value() const noexcept { return XXH3_64bits_digest(state_); }

} // namespace movielens_ingest::core
