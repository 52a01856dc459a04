// Products in which 0 times anything is 0: what has the weight 0, or a cotangent of 0, has no influence, not even if it
// is NaN or infinite.
#pragma once

#include "autograd/kernels/size.h"

namespace attune::kernels {

/// c += the terms a_ij b_jl of which one factor is not finite, but for those whose other factor is 0 if it is of a
/// (`left_zeros`) or of b (`right_zeros`); for dense a [m, k], b [k, n] and c [m, n], which holds the product of what
/// is finite. False, with c as it was, if there are too many of them to be added one by one. T is float or double.
template <class T>
bool add_non_finite_terms(bool left_zeros, bool right_zeros, Size m, Size n, Size k, const T* a, const T* b, T* c);

}  // namespace attune::kernels
