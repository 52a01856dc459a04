// The one door from the tape up to the operations: what a sweep does with gradients if it is itself recorded, for
// higher derivatives. Defined in ops/gradient_ops.cpp, which builds on the tape; the tape includes no operation.
#pragma once

#include "autograd/tensor/tensor.h"

namespace attune {

Tensor add_gradients(const Tensor& a, const Tensor& b, Here here);
/// A dense copy.
Tensor copy_gradient(const Tensor& g, Here here);
/// The sum over the axes along which `shape` was broadcast to that of g.
Tensor sum_gradient_to(const Tensor& g, const Shape& shape, Here here);

}  // namespace attune
