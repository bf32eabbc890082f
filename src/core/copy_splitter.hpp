/*
 * copy_splitter.hpp - splits any record exactly as COPY does (CopyReadAttributesCSV in copyfromparse.c).
 */
#pragma once

#include "core/dialect.hpp"
#include "core/field_buffer.hpp"

#include <cstddef>

namespace movielens_ingest::core {

/* Splits one record, given without its line end. What stands in *out is valid only after Ok. */
SplitResult split_like_copy(const Dialect &dialect, const char *record, size_t size, FieldBuffer *out) noexcept;

} // namespace movielens_ingest::core
