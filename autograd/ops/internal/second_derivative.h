// Second derivatives of fused operations: the rule of a fused backward pass differentiates the plain composition of the
// same formula. Internal to ops/.
#pragma once

#include <functional>

#include "autograd/tape/grad.h"
#include "autograd/tensor/tensor.h"

namespace attune::detail {

/// The gradients of <f(inputs), cotangents> with respect to each input, an undefined tensor where f does not depend on
/// it. f may return undefined outputs. Where the running sweep is itself recorded (create_graph), the result is on the
/// tape of the inputs, so that further derivatives are right as well.
Tensors differentiate_composition(const std::function<Tensors(const Tensors&)>& f, const Tensors& inputs,
                                  const Tensors& cotangents);

}  // namespace attune::detail
