// From a dtype to the C++ type of its elements.
#pragma once

#include <cstdint>

#include "autograd/runtime/dtype.h"

namespace attune::detail {

/// Calls f(T{}) with the element type of a floating dtype.
template <class F>
decltype(auto) with_floating(DType t, F&& f) {
  if (t == DType::float32) return f(float{});
  return f(double{});
}

/// Calls f(T{}) with the element type of any dtype.
template <class F>
decltype(auto) with_any(DType t, F&& f) {
  switch (t) {
    case DType::float32: return f(float{});
    case DType::float64: return f(double{});
    case DType::int64: return f(std::int64_t{});
    case DType::int32: return f(std::int32_t{});
    default: return f(bool{});
  }
}

}  // namespace attune::detail
