// What attention's forward passes leave for their backward passes. Internal to ops/attention/.
#pragma once

#include "autograd/kernels/attention/heads.h"
#include "autograd/ops/internal/views.h"

namespace attune::detail {

/// The two halves of a dense tensor.
template <class T>
kernels::AttentionSums<T> sums_of(const Tensor& sums) {
  return {elements<T>(sums), elements<T>(sums) + sums.numel() / 2};
}

}  // namespace attune::detail
