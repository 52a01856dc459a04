// Tensors as text.
#pragma once

#include <iosfwd>
#include <string>

#include "autograd/tensor.h"

namespace attune {

/// Nested brackets, columns aligned, large tensors abridged, then shape and dtype where they don't show: "tensor([[1,
/// 2], [3, 4]], int64)".
std::string to_string(const Tensor& x);
std::ostream& operator<<(std::ostream& out, const Tensor& x);

}  // namespace attune
