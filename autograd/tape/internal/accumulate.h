// What the sweep does with the memory of gradients if nothing is recorded.
#pragma once

#include "autograd/tape/node.h"

namespace attune {

/// into += x, of one shape and dtype (float32 or float64); `into` is dense and nobody else's.
void add_in_place(const Tensor& into, const Tensor& x, Here here);
/// A dense copy.
Tensor dense_copy(const Tensor& x);
/// A tensor of an output's shape and dtype with one value everywhere (0 if the dtype is not a float).
Tensor filled(const OutputInfo& info, double value);

}  // namespace attune
