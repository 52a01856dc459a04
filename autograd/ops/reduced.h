// How a loss of many elements becomes what was asked for. Internal to ops/.
#pragma once

#include "autograd/ops/elementwise.h"
#include "autograd/ops/loss.h"
#include "autograd/ops/reduce.h"

namespace attune::detail {

inline Tensor reduced(const Tensor& x, Reduction r) {
  switch (r) {
    case Reduction::none: return x;
    case Reduction::sum: return sum(x);
    case Reduction::batch_mean: return sum(x) / static_cast<double>(x.rank() == 0 ? 1 : x.shape()[0]);
    default: return mean(x);
  }
}

}  // namespace attune::detail
