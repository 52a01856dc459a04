// Numbers and small tensors as a line of text.
#pragma once

#include <string>

#include "autograd/tensor/tensor.h"

namespace attune {

/// An element with the fewest digits that give back its bits in x's dtype. `at`: its place in row-major order.
std::string element_text(const Tensor& x, std::int64_t at);
/// The same of a number as one of `dtype`.
std::string number_text(double v, DType dtype = DType::float64);
/// "-8" of one element, "[1, 2, 3]" or "[[1, 2], [3, 4]]" of at most `most`, otherwise "[8, 256] norm 0.31"; "none" of
/// an undefined tensor.
std::string value_text(const Tensor& x, std::int64_t most = 6);

}  // namespace attune
