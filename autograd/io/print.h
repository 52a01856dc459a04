// Tensors as text.
#pragma once

#include <iosfwd>
#include <string>

#include "autograd/tensor/tensor.h"

namespace attune {

/// Nested brackets with aligned columns, as numpy prints: "tensor([[1, 2],\n        [3, 4]], int64)".
/// Floating numbers share one format of up to six significant digits, scientific only if that would show a number
/// falsely; integers are exact. Above 1000 elements, axes are abridged to three at each end. Then follow the shape
/// if it does not show, the dtype unless float32 (always for no elements), and "requires_grad" for a leaf or "from
/// exp" for the result of a recorded operation. An undefined tensor is "tensor(undefined)".
std::string to_string(const Tensor& x);
/// The same; an undefined gradient as "tensor(undefined: the tensor requires no gradient; ...)".
std::string to_string(const Gradient& g);
/// "[tensor(...),\n tensor(...)]"; "[]" for none.
std::string to_string(const Tensors& xs);
std::ostream& operator<<(std::ostream& out, const Tensor& x);
std::ostream& operator<<(std::ostream& out, const Gradient& g);
std::ostream& operator<<(std::ostream& out, const Tensors& xs);
std::ostream& operator<<(std::ostream& out, const Dims& shape);  ///< "[2, 3]"
std::ostream& operator<<(std::ostream& out, DType t);            ///< "float32"

}  // namespace attune
