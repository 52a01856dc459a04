// Bounds on gradients, between backward and step.
#pragma once

#include <vector>

#include "autograd/tensor/tensor.h"

namespace attune::optim {

/// Scales all gradients in place so that their joint Euclidean norm is at most `limit`, and returns the norm before. A
/// norm that is not finite is returned and nothing scaled. Parameters without a gradient are passed over. Throws
/// ValueError for a limit that is not positive.
double clip_grad_norm(const std::vector<Tensor>& parameters, double limit, Here here = Here::current());
/// Bounds each element of the gradients to [-limit, limit]. Throws ValueError for a limit that is not positive.
void clip_grad_value(const std::vector<Tensor>& parameters, double limit, Here here = Here::current());

}  // namespace attune::optim
