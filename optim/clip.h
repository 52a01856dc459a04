// Bounds on gradients, between backward and step.
#pragma once

#include <vector>

#include "autograd/tensor/tensor.h"

namespace attune::optim {

struct ClipNormOptions {
  bool error_if_nonfinite = true;
};
/// Scales all gradients in place so that their joint Euclidean norm is at most `limit`, and returns the norm before,
/// which neither overflows nor vanishes on the way. Parameters without a gradient are passed over. Throws ValueError
/// for a limit that is not positive, and, unless told otherwise, for a norm that is not finite, naming the first
/// parameter whose gradient is not; such a norm is returned otherwise, and nothing scaled.
double clip_grad_norm(const std::vector<Tensor>& parameters, double limit, const ClipNormOptions& options = {},
                      Here here = Here::current());
/// Bounds each element of the gradients to [-limit, limit]. Throws ValueError for a limit that is not positive.
void clip_grad_value(const std::vector<Tensor>& parameters, double limit, Here here = Here::current());

}  // namespace attune::optim
