// Numerical checks of whole modules.
#pragma once

#include <concepts>

#include "autograd/derivatives/gradcheck.h"
#include "nn/module.h"

namespace attune::nn {

/// Compares the gradients of `module` (a call of it that `run` makes) with respect to the inputs that require one and
/// to every parameter with central differences, to second order unless told otherwise. All must be float64
/// (`to(float64)`). Random numbers and discrete choices, such as LSH buckets, are drawn once and kept, so that no
/// difference crosses a hash boundary. Returns "" if all agree, else the first disagreement, under the parameter's
/// name.
std::string gradcheck(Module& module, const Function& run, const Tensors& inputs, const GradcheckOptions& options = {},
                      Here here = Here::current());

/// The same for a module that is called with one tensor and gives one.
template <std::derived_from<Module> M>
requires std::convertible_to<std::invoke_result_t<M&, const Tensor&>, Tensor> std::string gradcheck(
    M& module, const Tensor& x, const GradcheckOptions& options = {}, Here here = Here::current()) {
  return gradcheck(
      module, [&](const Tensors& in) { return Tensors{module(in[0])}; }, {x}, options, here);
}

}  // namespace attune::nn
