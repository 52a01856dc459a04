// Recomputation: memory for time.
#pragma once

#include <functional>

#include "autograd/tensor/tensor.h"

namespace attune {

/// f(inputs), keeping nothing inside for the backward pass, which runs f again with the same random numbers (Chen et
/// al. 2016). `inputs` must hold every tensor that f uses and that needs a gradient, parameters too: one that is
/// missing throws GradError in backward.
Tensors checkpoint(std::function<Tensors(const Tensors& inputs)> f, const Tensors& inputs, Here here = Here::current());

}  // namespace attune
