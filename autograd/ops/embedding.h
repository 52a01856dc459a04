// Rows of a table by index, and indices as rows.
#pragma once

#include "autograd/tensor/tensor.h"

namespace attune {

/// Rows of the table [n, d] at indices of any shape [...]: [..., d]. Rows at padding_index get no gradient (-1:
/// none is special).
Tensor embedding(const Tensor& table, const Tensor& indices, std::int64_t padding_index = -1,
                 Here here = Here::current());
/// indices [...] to [..., classes] with a one at each index.
Tensor one_hot(const Tensor& indices, std::int64_t classes, DType dtype = DType::float32, Here here = Here::current());

}  // namespace attune
