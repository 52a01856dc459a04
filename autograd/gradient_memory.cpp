#include "autograd/gradient_memory.h"

#include <cstring>

#include "autograd/kernels/elementwise.h"
#include "autograd/tensor_impl.h"

namespace attune {

void add_in_place(const Tensor& into, const Tensor& x, Here here) {
  const Shape& shape = into.shape();
  if (x.dtype() == DType::float32) {
    auto* y = static_cast<float*>(into.raw_mut());
    if (x.is_contiguous())
      kernels::axpy(1.0f, static_cast<const float*>(x.raw()), y, x.numel());
    else
      kernels::binary<float>(kernels::Binary::add, shape, {y, into.strides()},
                             {static_cast<const float*>(x.raw()), x.strides()}, y);
  } else {
    auto* y = static_cast<double*>(into.raw_mut());
    if (x.is_contiguous())
      kernels::axpy(1.0, static_cast<const double*>(x.raw()), y, x.numel());
    else
      kernels::binary<double>(kernels::Binary::add, shape, {y, into.strides()},
                              {static_cast<const double*>(x.raw()), x.strides()}, y);
  }
  into.bump_version(here);
}

Tensor dense_copy(const Tensor& x) {
  Tensor y = empty(x.shape(), x.dtype());
  kernels::copy(x.dtype(), x.shape(), x.raw(), x.strides(), y.raw_mut(), y.strides());
  return y;
}

Tensor filled(const OutputInfo& info, double value) {
  Tensor y = empty(info.shape, info.dtype);
  if (info.dtype == DType::float32)
    kernels::fill(static_cast<float>(value), static_cast<float*>(y.raw_mut()), y.numel());
  else if (info.dtype == DType::float64)
    kernels::fill(value, static_cast<double*>(y.raw_mut()), y.numel());
  else
    std::memset(y.raw_mut(), 0, static_cast<std::size_t>(y.numel()) * size_of(info.dtype));
  return y;
}

}  // namespace attune
