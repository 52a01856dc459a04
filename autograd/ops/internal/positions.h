// Writing at positions of the row-major order. Internal to ops/.
#pragma once

#include "autograd/tensor/tensor.h"

namespace attune::detail {

/// x with the elements at the places `at` (int64, checked) replaced by those of `source`, both in row-major order.
/// If a place occurs more than once the last one stays, and it alone gets a gradient.
Tensor put_last(const Tensor& x, const Tensor& at, const Tensor& source);

}  // namespace attune::detail
