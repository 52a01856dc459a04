// Places of tokens among padding. Internal to nn/models/.
#pragma once

#include "autograd/tensor/tensor.h"

namespace attune::nn::detail {

/// Positions [b, n] int64 that count what is not hidden, of hidden [b, n] bool; what is hidden has the place that it
/// stands at.
Tensor counted_positions(const Tensor& hidden);

}  // namespace attune::nn::detail
