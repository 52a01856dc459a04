// Softmax and its logarithm along an axis: stable for large inputs. Where all elements are -inf the result is zeros
// (log_softmax: -inf), with zero gradient; a NaN makes its whole row NaN.
#pragma once

#include "autograd/tensor/tensor.h"

namespace attune {

Tensor softmax(const Tensor& x, std::int64_t axis = -1, Here here = Here::current());
Tensor log_softmax(const Tensor& x, std::int64_t axis = -1, Here here = Here::current());

// Fused backward passes, differentiable in turn, along `axis` of the output y.
/// y (dy - sum(y dy)).
Tensor softmax_grad(const Tensor& y, const Tensor& dy, std::int64_t axis = -1, Here here = Here::current());
/// dy - e^y sum(dy).
Tensor log_softmax_grad(const Tensor& y, const Tensor& dy, std::int64_t axis = -1, Here here = Here::current());

}  // namespace attune
