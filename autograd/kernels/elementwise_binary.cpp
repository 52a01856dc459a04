#include <cmath>

#include "autograd/kernels/elementwise.h"
#include "autograd/kernels/elementwise_pieces.h"
#include "autograd/kernels/simd_targets.h"
#include "autograd/runtime/error.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/elementwise_binary.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h:
#include "autograd/kernels/simd_activation-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune::kernels::HWY_NAMESPACE {

/// y[i] = f(a[i], b[i]) over dense arrays. The C library answers for pow, atan2, fmod and hypot.
template <class T>
void binary_dense(Binary f, const T* a, const T* b, T* y, Size n) {
  const auto scalar = [&](auto g) {
    for (Size i = 0; i < n; ++i) y[i] = g(a[i], b[i]);
  };
  switch (f) {
    case Binary::add: return map(a, b, y, n, [](auto u, auto v) ATTUNE_SIMD { return hn::Add(u, v); });
    case Binary::sub: return map(a, b, y, n, [](auto u, auto v) ATTUNE_SIMD { return hn::Sub(u, v); });
    case Binary::mul: return map(a, b, y, n, [](auto u, auto v) ATTUNE_SIMD { return hn::Mul(u, v); });
    case Binary::div: return map(a, b, y, n, [](auto u, auto v) ATTUNE_SIMD { return hn::Div(u, v); });
    case Binary::maximum: return map(a, b, y, n, [](auto u, auto v) ATTUNE_SIMD { return maximum(u, v); });
    case Binary::minimum: return map(a, b, y, n, [](auto u, auto v) ATTUNE_SIMD { return minimum(u, v); });
    case Binary::pow: return scalar([](T u, T v) { return std::pow(u, v); });
    case Binary::atan2: return scalar([](T u, T v) { return std::atan2(u, v); });
    case Binary::fmod: return scalar([](T u, T v) { return std::fmod(u, v); });
    case Binary::hypot: return scalar([](T u, T v) { return std::hypot(u, v); });
    case Binary::relu_grad:
      return map(a, b, y, n,
                 [](auto x, auto dy) ATTUNE_SIMD { return hn::IfThenZeroElse(hn::Le(x, constant(x, 0)), dy); });
    case Binary::silu_grad:
      return map(a, b, y, n, [](auto x, auto dy) ATTUNE_SIMD { return hn::Mul(dy, silu_derivative(x)); });
    case Binary::gelu_grad:
      return map(a, b, y, n, [](auto x, auto dy) ATTUNE_SIMD { return hn::Mul(dy, gelu_derivative(x)); });
    case Binary::gelu_tanh_grad:
      return map(a, b, y, n, [](auto x, auto dy) ATTUNE_SIMD { return hn::Mul(dy, gelu_tanh_derivative(x)); });
    case Binary::tanh_grad:
      return map(a, b, y, n,
                 [](auto t, auto dy) ATTUNE_SIMD { return hn::Mul(dy, hn::NegMulAdd(t, t, constant(t, 1))); });
    case Binary::sigmoid_grad:
      return map(a, b, y, n,
                 [](auto s, auto dy) ATTUNE_SIMD { return hn::Mul(dy, hn::Mul(s, hn::Sub(constant(s, 1), s))); });
  }
}

/// Integers wrap around; the loops are left to the compiler's vectoriser.
template <class T>
void binary_integer(Binary f, const T* a, const T* b, T* y, Size n) {
  using U = std::make_unsigned_t<T>;
  switch (f) {
    case Binary::add:
#pragma omp simd
      for (Size i = 0; i < n; ++i) y[i] = static_cast<T>(static_cast<U>(a[i]) + static_cast<U>(b[i]));
      return;
    case Binary::sub:
#pragma omp simd
      for (Size i = 0; i < n; ++i) y[i] = static_cast<T>(static_cast<U>(a[i]) - static_cast<U>(b[i]));
      return;
    case Binary::mul:
#pragma omp simd
      for (Size i = 0; i < n; ++i) y[i] = static_cast<T>(static_cast<U>(a[i]) * static_cast<U>(b[i]));
      return;
    case Binary::maximum:
#pragma omp simd
      for (Size i = 0; i < n; ++i) y[i] = a[i] > b[i] ? a[i] : b[i];
      return;
    case Binary::minimum:
#pragma omp simd
      for (Size i = 0; i < n; ++i) y[i] = a[i] < b[i] ? a[i] : b[i];
      return;
    case Binary::div:  // -1 by itself: the most negative integer has no positive counterpart and stays
      for (Size i = 0; i < n; ++i)
        y[i] = b[i] == 0 ? 0 : b[i] == -1 ? static_cast<T>(U{0} - static_cast<U>(a[i])) : a[i] / b[i];
      return;
    default: throw DTypeError("kernels::binary: not a function of integers");
  }
}

void binary_f32(Binary f, const float* a, const float* b, float* y, Size n) { binary_dense(f, a, b, y, n); }
void binary_f64(Binary f, const double* a, const double* b, double* y, Size n) { binary_dense(f, a, b, y, n); }
void binary_i64(Binary f, const std::int64_t* a, const std::int64_t* b, std::int64_t* y, Size n) {
  binary_integer(f, a, b, y, n);
}
void binary_i32(Binary f, const std::int32_t* a, const std::int32_t* b, std::int32_t* y, Size n) {
  binary_integer(f, a, b, y, n);
}

/// y += alpha * x
template <class T>
void axpy_dense(T alpha, const T* x, T* y, Size n) {
  const auto a = hn::Set(hn::ScalableTag<T>(), alpha);
  map(x, y, y, n, [=](auto u, auto v) ATTUNE_SIMD { return hn::MulAdd(a, u, v); });
}

void axpy_f32(float alpha, const float* x, float* y, Size n) { axpy_dense(alpha, x, y, n); }
void axpy_f64(double alpha, const double* x, double* y, Size n) { axpy_dense(alpha, x, y, n); }

}  // namespace attune::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune::kernels {

HWY_EXPORT(binary_f32);
HWY_EXPORT(binary_f64);
HWY_EXPORT(binary_i64);
HWY_EXPORT(binary_i32);
HWY_EXPORT(axpy_f32);
HWY_EXPORT(axpy_f64);

template <class T>
void binary(Binary f, const Shape& shape, Strided<T> a, Strided<T> b, T* y) {
  for_pieces<2>(shape, {Operand{a.data, sizeof(T), &a.strides}, Operand{b.data, sizeof(T), &b.strides}},
                [=](Size begin, Size n, const std::array<const void*, 2>& in) {
                  const T* p = static_cast<const T*>(in[0]);
                  const T* q = static_cast<const T*>(in[1]);
                  if constexpr (std::is_same_v<T, float>)
                    HWY_DYNAMIC_DISPATCH(binary_f32)(f, p, q, y + begin, n);
                  else if constexpr (std::is_same_v<T, double>)
                    HWY_DYNAMIC_DISPATCH(binary_f64)(f, p, q, y + begin, n);
                  else if constexpr (std::is_same_v<T, std::int64_t>)
                    HWY_DYNAMIC_DISPATCH(binary_i64)(f, p, q, y + begin, n);
                  else
                    HWY_DYNAMIC_DISPATCH(binary_i32)(f, p, q, y + begin, n);
                });
}

template <class T>
void axpy(T alpha, const T* x, T* y, Size n) {
  parallel_for(n, piece_grain, [=](Size begin, Size end) {
    if constexpr (sizeof(T) == 4)
      HWY_DYNAMIC_DISPATCH(axpy_f32)(alpha, x + begin, y + begin, end - begin);
    else
      HWY_DYNAMIC_DISPATCH(axpy_f64)(alpha, x + begin, y + begin, end - begin);
  });
}

template void binary(Binary, const Shape&, Strided<float>, Strided<float>, float*);
template void binary(Binary, const Shape&, Strided<double>, Strided<double>, double*);
template void binary(Binary, const Shape&, Strided<std::int64_t>, Strided<std::int64_t>, std::int64_t*);
template void binary(Binary, const Shape&, Strided<std::int32_t>, Strided<std::int32_t>, std::int32_t*);
template void axpy(float, const float*, float*, Size);
template void axpy(double, const double*, double*, Size);

}  // namespace attune::kernels
#endif
