// Tensors as the dense [outer, n, inner] arrays that kernels work on. Internal to ops/.
#pragma once

#include "autograd/ops/movement.h"
#include "autograd/tensor/tensor.h"

namespace attune::detail {

/// The sizes before, along and after an axis; of a rank-0 tensor all are 1. Where there are no elements, the products
/// of the other sizes may not fit in 64 bits: 0 is as good as any.
struct Around {
  std::int64_t outer = 1, n = 1, inner = 1;
};

inline Around around(const Shape& shape, int axis) {
  Around a;
  for (int i = 0; i < shape.rank(); ++i) {
    std::int64_t& product = i < axis ? a.outer : i == axis ? a.n : a.inner;
    if (__builtin_mul_overflow(product, shape[i], &product)) product = 0;
  }
  return a;
}

/// x's elements off the tape, dense: x itself or a copy.
inline Tensor dense(const Tensor& x) { return contiguous(x.detach()); }

}  // namespace attune::detail
