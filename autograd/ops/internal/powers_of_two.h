// Scaling by powers of 2, which rounds nothing, where products or squares leave the range of a dtype. The powers are
// constants of the tape. Internal to ops/.
#pragma once

#include "autograd/tensor/tensor.h"

namespace attune::detail {

/// Whether an element is 0, subnormal or not finite: what a product or a sum of squares is that left the range.
bool leaves_range(const Tensor& x);

/// For each element the integer e (int64) by which x / 2^e is near 1; 0 where x is 0 or not finite.
Tensor exponents_of(const Tensor& x);
/// y 2^e; neither overflows on the way.
Tensor times_power_of_two(const Tensor& y, const Tensor& e);

/// A power of 2 near the largest |x| along the axes, kept as size 1 (empty: all of them); 1 where that is 0 or not
/// finite.
Tensor unit_of(const Tensor& x, const Dims& axes);
/// The same, or an undefined tensor if squares of x stay in the range anyway.
Tensor unit_if_extreme(const Tensor& x, const Dims& axes);

}  // namespace attune::detail
