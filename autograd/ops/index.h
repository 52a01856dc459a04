// Reading and writing at indices. Indices are int64 or int32 tensors off the tape; one outside [0, n) throws
// IndexError, in release builds too. Repeated indices add up in a fixed order.
#pragma once

#include "autograd/tensor.h"

namespace attune {

/// The slices of x along `axis` at the positions of a rank-1 index.
Tensor index_select(const Tensor& x, int axis, const Tensor& index, Here here = Here::current());
/// x plus the slices of `source` [.., k, ..] at index [k] along `axis`.
Tensor index_add(const Tensor& x, int axis, const Tensor& index, const Tensor& source, Here here = Here::current());
/// y[..., k, ...] = x[..., index[..., k, ...], ...]: index has x's rank and its sizes except along `axis`.
Tensor gather(const Tensor& x, int axis, const Tensor& index, Here here = Here::current());
/// x with source[..., k, ...] added at index[..., k, ...] along `axis`.
Tensor scatter_add(const Tensor& x, int axis, const Tensor& index, const Tensor& source, Here here = Here::current());
/// Rows of the table [n, d] at indices of any shape [...]: [..., d]. Rows at padding_index get no gradient (-1: none is
/// special).
Tensor embedding(const Tensor& table, const Tensor& indices, std::int64_t padding_index = -1,
                 Here here = Here::current());
/// indices [...] to [..., classes] with a one at each index.
Tensor one_hot(const Tensor& indices, std::int64_t classes, DType dtype = DType::float32, Here here = Here::current());

struct Sorted {
  Tensor values;
  Tensor indices;  ///< int64, off the tape
};
/// Sorted along an axis, stable; NaN is the largest.
Sorted sort(const Tensor& x, int axis = -1, bool descending = false, Here here = Here::current());
Tensor argsort(const Tensor& x, int axis = -1, bool descending = false, Here here = Here::current());
/// The k largest elements along an axis, in falling order.
Sorted topk(const Tensor& x, std::int64_t k, int axis = -1, Here here = Here::current());

}  // namespace attune
