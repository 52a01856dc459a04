// Reversible residual blocks (Gomez et al. 2017): y1 = x1 + F(x2), y2 = x2 + G(y1). The inputs can be computed from the
// outputs, so a stack keeps no activation for its backward pass but the last pair: its memory does not grow with its
// depth.
#pragma once

#include <functional>
#include <vector>

#include "autograd/tensor/tensor.h"

namespace attune::nn {

struct ReversibleBlock {
  std::function<Tensor(const Tensor&)> f, g;
  std::vector<Tensor> f_parameters, g_parameters;  ///< every tensor inside that needs a gradient
};

/// The pair (x1, x2) that goes into reversible blocks, and (y1, y2) that comes out.
struct TwoStreams {
  Tensor first, second;
};

/// Runs the blocks in order on two streams of one shape. `reversible`: as one operation that recomputes block after
/// block in the backward pass, with the same random numbers and LSH buckets; otherwise as ordinary operations that keep
/// their activations. Both give the same values; gradients differ by the rounding of x = y - F(..). A parameter that a
/// block uses and does not list throws GradError in the backward pass.
TwoStreams reversible_blocks(const std::vector<ReversibleBlock>& blocks, const TwoStreams& x, bool reversible = true,
                             Here here = Here::current());

}  // namespace attune::nn
