#include "autograd/ops/create.h"

#include <cmath>
#include <cstring>

#include "autograd/ops/internal/apply.h"

namespace attune {

using detail::elements;
using detail::with_any;

Tensor full(const Shape& shape, const Scalar& value, DType dtype, Here here) {
  const Op op{"full", here};
  Tensor y = op.empty(shape, dtype);
  if (value.real() == 0 && !std::signbit(value.real())) {
    std::memset(y.unsafe_data(), 0, static_cast<std::size_t>(y.numel()) * size_of(dtype));
    return y;
  }
  with_any(dtype, [&]<class T>(T) {
    T element{};
    const std::int64_t integer = value.integral() ? value.integer() : 0;
    const double real = value.real();
    if constexpr (std::is_floating_point_v<T>)
      element = value.to<T>();
    else if (value.integral())
      kernels::cast({}, DType::int64, &integer, {}, dtype, &element);
    else
      kernels::cast({}, DType::float64, &real, {}, dtype, &element);
    kernels::fill(element, elements<T>(y), y.numel());
  });
  return y;
}

Tensor zeros(const Shape& shape, DType dtype, Here here) { return full(shape, 0, dtype, here); }
Tensor ones(const Shape& shape, DType dtype, Here here) { return full(shape, 1, dtype, here); }
Tensor full_like(const Tensor& x, const Scalar& value, Here here) { return full(x.shape(), value, x.dtype(), here); }
Tensor zeros_like(const Tensor& x, Here here) { return full(x.shape(), 0, x.dtype(), here); }
Tensor ones_like(const Tensor& x, Here here) { return full(x.shape(), 1, x.dtype(), here); }
Tensor scalar(const Scalar& value, DType dtype, Here here) { return full({}, value, dtype, here); }

Tensor arange(std::int64_t n, DType dtype, Here here) {
  const Op op{"arange", here};
  if (n < 0) op.fail_value("n = " + std::to_string(n) + " is negative");
  Tensor y = op.empty({n}, dtype);
  with_any(dtype, [&]<class T>(T) {
    for (std::int64_t i = 0; i < n; ++i) elements<T>(y)[i] = static_cast<T>(i);
  });
  return y;
}

Tensor eye(std::int64_t n, DType dtype, Here here) {
  const Op op{"eye", here};
  if (n < 0) op.fail_value("n = " + std::to_string(n) + " is negative");
  Tensor y = zeros({n, n}, dtype);
  with_any(dtype, [&]<class T>(T) {
    for (std::int64_t i = 0; i < n; ++i) elements<T>(y)[i * (n + 1)] = T{1};
  });
  return y;
}

Tensor to(const Tensor& x, DType dtype, Here here) {
  const Op op{"to", here};
  op.check_defined(x);
  if (x.dtype() == dtype) return x;
  Tensor y = op.empty(x.shape(), dtype);
  kernels::cast(x.shape(), x.dtype(), x.raw(), x.strides(), dtype, y.unsafe_data());
  if (!is_floating(dtype)) return y;
  return op.record(std::move(y), of<to>(x, dtype), "dx = dy in x's dtype",
                   [from = x.dtype()](const Tensor& dy) { return to(dy, from); });
}

}  // namespace attune
