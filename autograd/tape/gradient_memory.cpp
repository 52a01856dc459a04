#include "autograd/tape/internal/gradient_memory.h"

#include <cstring>

#include "autograd/kernels/elementwise.h"
#include "autograd/tensor/internal/tensor_impl.h"

namespace attune {

namespace {

template <class T>
void add_elements(const Tensor& into, const Tensor& x) {
  auto* y = static_cast<T*>(into.raw_mut());
  const auto* added = static_cast<const T*>(x.raw());
  if (x.is_contiguous())
    kernels::axpy(T{1}, added, y, x.numel());
  else
    kernels::binary<T>(kernels::Binary::add, into.shape(), {y, into.strides()}, {added, x.strides()}, y);
}

}  // namespace

void add_in_place(const Tensor& into, const Tensor& x, Here here) {
  if (x.dtype() == DType::float32)
    add_elements<float>(into, x);
  else
    add_elements<double>(into, x);
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
