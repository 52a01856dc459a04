// Attention's operands, wherever their rows lie, and what its forward pass leaves for the backward pass.
#pragma once

#include "autograd/kernels/size.h"

namespace attune::kernels {

/// Rows of d elements: element (b, h, i) begins at data + b * batch_stride + h * head_stride + i * row_stride.
template <class T>
struct Heads {
  T* data = nullptr;
  Size batch_stride = 0, head_stride = 0, row_stride = 0;
  operator Heads<const T>() const { return {data, batch_stride, head_stride, row_stride}; }
  T* row(Size b, Size h, Size i) const { return data + b * batch_stride + h * head_stride + i * row_stride; }
};

/// Of each query's softmax, [b, h, t] each: the largest score in units of log 2, and the inverse of the sum of powers
/// of 2 relative to it. Both are 0 if nothing is seen.
template <class T>
struct AttentionSums {
  T* largest = nullptr;
  T* inverse = nullptr;
};

}  // namespace attune::kernels
