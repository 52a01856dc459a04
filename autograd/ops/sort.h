// Order along an axis: the elements, or where they stand.
#pragma once

#include "autograd/tensor/tensor.h"

namespace attune {

struct SortResult {
  Tensor values;
  Tensor indices;  ///< int64, off the tape
};
/// Sorted along an axis, stable; NaN is the largest.
SortResult sort(const Tensor& x, std::int64_t axis = -1, bool descending = false, Here here = Here::current());
Tensor argsort(const Tensor& x, std::int64_t axis = -1, bool descending = false, Here here = Here::current());
/// The k largest (smallest) elements along an axis, in falling (rising) order.
SortResult topk(const Tensor& x, std::int64_t k, std::int64_t axis = -1, bool largest = true,
                Here here = Here::current());
/// A bool mask, true at the k largest elements along an axis.
Tensor topk_mask(const Tensor& x, std::int64_t k, std::int64_t axis = -1, Here here = Here::current());

}  // namespace attune
