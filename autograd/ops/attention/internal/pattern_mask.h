// A pattern as a matrix, for compositions and pictures. Internal to ops/attention/.
#pragma once

#include "autograd/kernels/attention/pattern.h"
#include "autograd/tensor/tensor.h"

namespace attune::detail {

/// bool, true hides: [t, s], [h, t, s] if the pattern differs by head, or [b, h, t, s] if by example.
Tensor pattern_mask(const kernels::Pattern& pattern, std::int64_t t, std::int64_t s);

}  // namespace attune::detail
