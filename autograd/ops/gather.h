// Reading and writing at indices. Indices are int64 or int32 tensors off the tape; one outside [0, n) throws
// IndexError, in release builds too. Repeated indices add up in a fixed order,
// as accurately as sum() does however many they are.
#pragma once

#include "autograd/runtime/scalar.h"
#include "autograd/tensor/tensor.h"

namespace attune {

/// The slices of x along `axis` at the positions of a rank-1 index.
Tensor index_select(const Tensor& x, std::int64_t axis, const Tensor& index, Here here = Here::current());
/// x plus alpha times the slices of `source` [.., k, ..] at index [k] along `axis`.
Tensor index_add(const Tensor& x, std::int64_t axis, const Tensor& index, const Tensor& source, double alpha = 1,
                 Here here = Here::current());
/// x with its slices at index [k] along `axis` replaced by those of `source` [.., k, ..]. Of repeated indices the last
/// one stays, and it alone gets a gradient.
Tensor index_copy(const Tensor& x, std::int64_t axis, const Tensor& index, const Tensor& source,
                  Here here = Here::current());
/// y[..., k, ...] = x[..., index[..., k, ...], ...]: index has x's rank, and at most its sizes except along `axis`.
Tensor gather(const Tensor& x, std::int64_t axis, const Tensor& index, Here here = Here::current());
/// x with source[..., k, ...] added at index[..., k, ...] along `axis`. The index is at most as large as `source`, and
/// as x except along `axis`.
Tensor scatter_add(const Tensor& x, std::int64_t axis, const Tensor& index, const Tensor& source,
                   Here here = Here::current());
/// The same, but replacing. Of repeated indices the last one stays, and it alone gets a gradient.
Tensor scatter(const Tensor& x, std::int64_t axis, const Tensor& index, const Tensor& source,
               Here here = Here::current());
Tensor scatter(const Tensor& x, std::int64_t axis, const Tensor& index, const Scalar& value,
               Here here = Here::current());
/// gather for x and index that broadcast except along `axis`: takes what argsort and topk give.
Tensor take_along_dim(const Tensor& x, const Tensor& index, std::int64_t axis, Here here = Here::current());
/// The sums of x's slices [i, ...] with the same segments[i] in [0, count): [count, ...].
Tensor segment_sum(const Tensor& x, const Tensor& segments, std::int64_t count, Here here = Here::current());

}  // namespace attune
