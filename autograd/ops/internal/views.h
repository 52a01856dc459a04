// From a tensor to what a kernel takes: dense, by rows, by heads, strided, split at an axis; a pointer or null.
// Internal to ops/.
//
//     const Tensor in = dense(x);
//     kernels::softmax<T>(elements<const T>(in), elements<T>(y), rows, n);
#pragma once

#include "autograd/kernels/attention/heads.h"
#include "autograd/kernels/elementwise.h"
#include "autograd/ops/movement.h"
#include "autograd/tensor/tensor.h"

namespace attune::detail {

// ---- which elements lie side by side

/// x off the tape, its elements in row-major order without gaps: x itself or a copy. Undefined stays undefined.
inline Tensor dense(const Tensor& x) { return x.defined() ? contiguous(x.detach()) : x; }

/// x off the tape, each row (its last axis) in one piece: x itself or a copy. Other axes may lie anywhere.
inline Tensor with_dense_rows(const Tensor& x) {
  return x.strides()[x.rank() - 1] == 1 || x.size(-1) <= 1 ? x.detach() : dense(x);
}

// ---- where they lie; elements<T>(x), a pointer or null, is in tensor.h

/// x's elements wherever they lie.
template <class T>
kernels::Strided<T> strided(const Tensor& x) {
  return {elements<const T>(x), x.strides()};
}
/// The same, read as if x had the broader `shape`.
template <class T>
kernels::Strided<T> strided(const Tensor& x, const Shape& shape) {
  if (x.shape() == shape) return strided<T>(x);
  return {elements<const T>(x), broadcast_strides(x.shape(), x.strides(), shape)};
}

/// The rows of x [.., d], dense, by the axes `batch`, `head` and `row` (-1: there is none).
template <class T>
kernels::Heads<T> heads_at(const Tensor& x, int batch, int head, int row) {
  const auto stride = [&](int axis) { return axis < 0 ? 0 : x.strides()[axis]; };
  return {elements<T>(x), stride(batch), stride(head), stride(row)};
}

// ---- a dense tensor as [outer, n, inner]

/// The sizes before, along and after an axis; of a rank-0 tensor all are 1. If there are no elements, the products of
/// the other sizes may not fit in 64 bits: 0 is as good as any.
struct AxisSplit {
  std::int64_t outer = 1, n = 1, inner = 1;
};

inline AxisSplit split_at(const Shape& shape, int axis) {
  AxisSplit s;
  for (int i = 0; i < shape.rank(); ++i) {
    std::int64_t& product = i < axis ? s.outer : i == axis ? s.n : s.inner;
    if (__builtin_mul_overflow(product, shape[i], &product)) product = 0;
  }
  return s;
}

}  // namespace attune::detail
