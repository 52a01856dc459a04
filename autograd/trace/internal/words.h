// The words that name_words() gave to tensors.
#pragma once

#include <string>
#include <vector>

#include "autograd/tensor/tensor.h"

namespace attune {

/// The words of x or of a tensor that shares its elements; none if nobody named them.
std::vector<std::string> words_of(const Tensor& x);

}  // namespace attune
