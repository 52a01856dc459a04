// Functions to differentiate.
#pragma once

#include <functional>

#include "autograd/tensor/tensor.h"

namespace attune {

using Function = std::function<Tensors(const Tensors&)>;
using TensorFunction = std::function<Tensor(const Tensor&)>;

}  // namespace attune
