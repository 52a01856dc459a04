// Derivatives of functions: numerical checks, forward mode.
#pragma once

#include <functional>
#include <string>

#include "autograd/tensor/tensor.h"

namespace attune {

using Function = std::function<Tensors(const Tensors&)>;

struct GradcheckOptions {
  double step = 1e-6;  ///< of the central difference
  double atol = 1e-6;
  double rtol = 1e-5;
  bool second_order = true;          ///< gradgradcheck too, by random projection
  std::uint64_t seed = 0;            ///< of the cotangents
  std::vector<std::string> names{};  ///< of the inputs, for the message; "input 0" and so on where missing
};
/// Compares f's gradients with central differences. Inputs that require a gradient must be float64. Returns "" where
/// all agree, else the first disagreement: input, element, both values and the operation's call site.
std::string gradcheck(const Function& f, const Tensors& inputs, const GradcheckOptions& options = {},
                      Here here = Here::current());
/// The same for the gradients' gradients.
std::string gradgradcheck(const Function& f, const Tensors& inputs, const GradcheckOptions& options = {},
                          Here here = Here::current());

/// Forward mode: the derivative of f at `inputs` along `tangents`, an output each, by differentiating the reverse
/// sweep.
Tensors jvp(const Function& f, const Tensors& inputs, const Tensors& tangents, Here here = Here::current());

using TensorFunction = std::function<Tensor(const Tensor&)>;

/// All first derivatives of f at x: [shape of f(x)..., shape of x...], a reverse sweep an element of f(x). Floating x;
/// on the tape of x where x requires a gradient.
Tensor jacobian(const TensorFunction& f, const Tensor& x, Here here = Here::current());
/// All second derivatives of f, whose value has one element, at x: [shape of x..., shape of x...]. Throws ShapeError
/// for any other f.
Tensor hessian(const TensorFunction& f, const Tensor& x, Here here = Here::current());
/// The Hessian of f at x times v, in x's shape, without the Hessian (Pearlmutter 1994).
Tensor hvp(const TensorFunction& f, const Tensor& x, const Tensor& v, Here here = Here::current());

}  // namespace attune
