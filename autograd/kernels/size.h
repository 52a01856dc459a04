// Counts, sizes, strides and positions in all kernels.
#pragma once

#include <cstdint>

namespace attune::kernels {

using Size = std::int64_t;

}  // namespace attune::kernels
