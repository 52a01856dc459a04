// Matrices of derivatives, and products with them.
#pragma once

#include "autograd/derivatives/function.h"

namespace attune {

/// All first derivatives of f at x: [shape of f(x)..., shape of x...], a reverse sweep an element of f(x). Floating x;
/// on the tape of x if x requires a gradient.
Tensor jacobian(const TensorFunction& f, const Tensor& x, Here here = Here::current());
/// All second derivatives of f, whose value has one element, at x: [shape of x..., shape of x...]. Throws ShapeError
/// for any other f.
Tensor hessian(const TensorFunction& f, const Tensor& x, Here here = Here::current());
/// The Hessian of f at x times v, in x's shape, without the Hessian (Pearlmutter 1994).
Tensor hvp(const TensorFunction& f, const Tensor& x, const Tensor& v, Here here = Here::current());

}  // namespace attune
