// Forward mode.
#pragma once

#include "autograd/derivatives/function.h"

namespace attune {

/// The derivative of f at `inputs` along `tangents`, an output each, by differentiating the reverse sweep.
Tensors jvp(const Function& f, const Tensors& inputs, const Tensors& tangents, Here here = Here::current());

}  // namespace attune
