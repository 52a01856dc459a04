// How a loss of many elements becomes what was asked for. Internal to ops/.
#pragma once

#include "autograd/ops/elementwise.h"
#include "autograd/ops/loss.h"
#include "autograd/ops/reduce.h"

namespace attune::detail {

/// The mean over nothing is 0.
inline Tensor reduce_loss(const Tensor& x, Reduction r) {
  switch (r) {
    case Reduction::none: return x;
    case Reduction::sum: return sum(x);
    case Reduction::batch_mean: {
      const std::int64_t rows = x.rank() == 0 ? 1 : x.shape()[0];
      return rows == 0 ? sum(x) : sum(x) / static_cast<double>(rows);
    }
    default: return x.numel() == 0 ? sum(x) : mean(x);
  }
}

}  // namespace attune::detail
