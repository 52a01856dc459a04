// Counts, sizes, strides and positions in all kernels.
#pragma once

#include <cstdint>

namespace attune::kernels {

using Size = std::int64_t;

/// How many pieces of `of` make n, the last of them perhaps smaller.
constexpr Size pieces(Size n, Size of) { return (n + of - 1) / of; }

}  // namespace attune::kernels
