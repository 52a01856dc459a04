// Sorting along one axis.
#pragma once

#include "autograd/kernels/size.h"

namespace attune::kernels {

/// Stable sort along n of a dense [outer, n, inner]; values and indices may be null. NaN sorts as the largest. T is
/// any element type.
template <class T>
void sort(const T* x, Size outer, Size n, Size inner, bool descending, T* values, std::int64_t* indices);

}  // namespace attune::kernels
