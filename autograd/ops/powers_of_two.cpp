#include "autograd/ops/internal/powers_of_two.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/internal/views.h"
#include "autograd/ops/reduce.h"
#include "autograd/runtime/dispatch.h"
#include "autograd/tape/modes.h"

namespace attune::detail {

namespace {

/// e for a number, so that x / 2^e is in [1/sqrt(2), sqrt(2)): products of many of them stay near 1.
template <class T>
std::int64_t exponent_of(T x) {
  if (x == 0 || !std::isfinite(x)) return 0;
  int e = 0;
  const T m = std::frexp(std::abs(x), &e);
  return m < T(0.70710678) ? e - 1 : e;
}

/// A tensor of f(i) for each element of `like`, dense.
template <class T, class F>
Tensor filled(const Tensor& like, DType dtype, F f) {
  Tensor y = empty(like.shape(), dtype);
  for (std::int64_t i = 0; i < y.numel(); ++i) elements<T>(y)[i] = f(i);
  return y;
}

}  // namespace

bool leaves_range(const Tensor& x) {
  const Tensor d = dense(x);
  bool found = false;
  with_floating(x.dtype(), [&]<class T>(T) {
    const T* p = elements<const T>(d);
    found = std::any_of(p, p + d.numel(), [](T v) { return !std::isnormal(v); });
  });
  return found;
}

Tensor exponents_of(const Tensor& x) {
  const NoGrad off;
  const Tensor d = dense(x);
  Tensor e;
  with_floating(x.dtype(), [&]<class T>(T) {
    e = filled<std::int64_t>(d, DType::int64, [p = elements<const T>(d)](std::int64_t i) { return exponent_of(p[i]); });
  });
  return e;
}

Tensor times_power_of_two(const Tensor& y, const Tensor& e) {
  const Tensor d = dense(e);
  const auto* p = elements<const std::int64_t>(d);
  Tensor first, second;
  with_floating(y.dtype(), [&]<class T>(T) {
    const auto bounded = [](std::int64_t v) {
      const std::int64_t most = std::numeric_limits<T>::max_exponent - 2;
      return std::clamp(v, -most, most);
    };
    const auto power = [](std::int64_t v) { return std::ldexp(T{1}, static_cast<int>(v)); };
    first = filled<T>(d, y.dtype(), [&](std::int64_t i) { return power(bounded(p[i] / 2)); });
    second = filled<T>(d, y.dtype(), [&](std::int64_t i) { return power(bounded(p[i] - bounded(p[i] / 2))); });
  });
  return y * first * second;
}

Tensor unit_of(const Tensor& x, const Dims& axes) {
  const NoGrad off;
  const Tensor most = dense(amax(abs(x.detach()), axes, true));
  Tensor unit;
  with_floating(x.dtype(), [&]<class T>(T) {
    unit = filled<T>(most, x.dtype(), [p = elements<const T>(most)](std::int64_t i) {
      const int bound = std::numeric_limits<T>::max_exponent - 2;
      return std::ldexp(T{1}, std::clamp(static_cast<int>(exponent_of(p[i])), -bound, bound));
    });
  });
  return unit;
}

Tensor unit_if_extreme(const Tensor& x, const Dims& axes) {
  if (x.numel() == 0) return {};
  const Tensor unit = unit_of(x, axes);
  const double least = x.dtype() == DType::float32 ? 1e-15 : 1e-140, most = 1 / least;
  bool usual = true;
  with_floating(x.dtype(), [&]<class T>(T) {
    const T* p = elements<const T>(unit);
    usual = std::all_of(p, p + unit.numel(), [=](T u) { return u > least && u < most; });
  });
  return usual ? Tensor() : unit;
}

}  // namespace attune::detail
