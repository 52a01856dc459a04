// Gradients compared with finite differences.
#pragma once

#include <string>

#include "autograd/derivatives/function.h"

namespace attune {

struct GradcheckOptions {
  double step = 1e-6;  ///< of the central difference
  double atol = 1e-6;
  double rtol = 1e-5;
  bool second_order = true;          ///< gradgradcheck too, by random projection
  std::uint64_t seed = 0;            ///< of the cotangents
  std::vector<std::string> names{};  ///< of the inputs, for the message; "input 0" and so on if missing
};
/// Compares f's gradients with central differences. Inputs that require a gradient must be float64. Returns "" if all
/// agree, else the first disagreement: input, element, both values and the operation's call site.
std::string gradcheck(const Function& f, const Tensors& inputs, const GradcheckOptions& options = {},
                      Here here = Here::current());
/// The same for the gradients' gradients.
std::string gradgradcheck(const Function& f, const Tensors& inputs, const GradcheckOptions& options = {},
                          Here here = Here::current());

}  // namespace attune
