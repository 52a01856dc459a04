// Matrix products. Backward, a cotangent of 0 hands on 0, whatever it meets: rows that a loss leaves out give a weight
// no gradient, even if they hold NaN.
#pragma once

#include "autograd/runtime/activation.h"
#include "autograd/tensor/tensor.h"

namespace attune {

/// a [..., m, k] times b [..., k, n] = [..., m, n]; leading axes broadcast. A vector on the left (right) is a row
/// (column), and its axis goes. Throws ShapeError if k differs or leading axes do not broadcast, DTypeError unless
/// both are the same floating dtype.
Tensor matmul(const Tensor& a, const Tensor& b, Here here = Here::current());
/// act(x w^T + bias): x [..., in], w [out, in], bias [out] or undefined; y [..., out]. One fused pass.
/// Throws ShapeError if they do not fit, DTypeError unless all are the same floating dtype.
Tensor linear(const Tensor& x, const Tensor& w, const Tensor& bias = {}, Activation activation = Activation::none,
              Here here = Here::current());

}  // namespace attune
