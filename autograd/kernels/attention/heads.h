// The rows of attention's operands, wherever they lie.
#pragma once

#include <cstdint>

namespace attune::kernels {

/// Rows of d elements: element (b, h, i) begins at data + b * batch_stride + h * head_stride + i * row_stride.
template <class T>
struct Heads {
  T* data = nullptr;
  std::int64_t batch_stride = 0, head_stride = 0, row_stride = 0;
  T* row(std::int64_t b, std::int64_t h, std::int64_t i) const {
    return data + b * batch_stride + h * head_stride + i * row_stride;
  }
};

}  // namespace attune::kernels
