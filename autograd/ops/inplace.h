// In-place changes, for parameters and buffers: the tensor must be off the tape, or a leaf under NoGrad; its memory
// must not overlap itself (an expanded view does). GradError or ShapeError otherwise. Every change counts in version().
#pragma once

#include "autograd/ops/operand.h"
#include "autograd/runtime/philox.h"

namespace attune {

/// `from` broadcasts to x and is converted to its dtype.
Tensor& copy_(Tensor& x, const Tensor& from, Here here = Here::current());
Tensor& fill_(Tensor& x, const Scalar& value, Here here = Here::current());
Tensor& add_(Tensor& x, const Operand& y, const Scalar& alpha = 1, Here here = Here::current());  ///< x += alpha y
Tensor& mul_(Tensor& x, const Operand& y, Here here = Here::current());
Tensor& uniform_(Tensor& x, double low, double high, Generator& g = default_generator(), Here here = Here::current());
Tensor& normal_(Tensor& x, double mean, double std, Generator& g = default_generator(), Here here = Here::current());

}  // namespace attune
