// Operations whose gradient is, on purpose, not their derivative.
#pragma once

#include "autograd/tensor/tensor.h"

namespace attune {

/// `hard` with the gradient of `soft`: dsoft = dy, dhard = 0 (the straight-through estimator, Bengio et al. 2013).
/// Equal shapes and dtypes.
Tensor straight_through(const Tensor& hard, const Tensor& soft, Here here = Here::current());
/// x itself, with the gradient -scale dy (Ganin and Lempitsky 2015).
Tensor gradient_reversal(const Tensor& x, double scale = 1, Here here = Here::current());

}  // namespace attune
