// Attention's operands as the kernels take them. Internal to ops/.
#pragma once

#include "autograd/kernels/attention/heads.h"
#include "autograd/ops/movement.h"

namespace attune::detail {

/// x, its axes `batch`, `head` and `row` (-1: there is none) and its last axis dense.
template <class T>
kernels::Heads<T> heads_at(const Tensor& x, int batch, int head, int row) {
  const auto stride = [&](int axis) { return axis < 0 ? 0 : x.strides()[axis]; };
  return {static_cast<T*>(x.raw_mut()), stride(batch), stride(head), stride(row)};
}

/// The two halves of what a forward pass saved.
template <class T>
kernels::AttentionSums<T> sums_of(const Tensor& sums) {
  auto* largest = static_cast<T*>(sums.raw_mut());
  return {largest, largest + sums.numel() / 2};
}

/// x off the tape, each row in one piece, as the kernels want it; other axes may lie anywhere.
inline Tensor with_dense_rows(const Tensor& x) {
  return x.strides()[x.rank() - 1] == 1 || x.size(-1) <= 1 ? x.detach() : contiguous(x.detach());
}

}  // namespace attune::detail
