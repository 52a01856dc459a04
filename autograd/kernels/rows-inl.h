// Pieces of a row's softmax. Compiled once per instruction set.
#if defined(ATTUNE_KERNELS_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTUNE_KERNELS_ROWS_INL_H_
#undef ATTUNE_KERNELS_ROWS_INL_H_
#else
#define ATTUNE_KERNELS_ROWS_INL_H_
#endif

#include <limits>

#include "autograd/kernels/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune::kernels::HWY_NAMESPACE {

template <class T>
inline constexpr T inf = std::numeric_limits<T>::infinity();

/// The largest element that is not NaN; -inf if there is none.
template <class T>
T row_max(const T* x, Size n) {
  const hn::ScalableTag<T> d;
  const Size step = lanes(d);
  const auto larger = [](auto a, auto b) ATTUNE_SIMD { return hn::IfThenElse(hn::Gt(a, b), a, b); };
  const auto none = hn::Set(d, -inf<T>);
  auto m0 = none, m1 = none, m2 = none, m3 = none;
  Size i = 0;
  for (; i + 4 * step <= n; i += 4 * step) {
    m0 = larger(hn::LoadU(d, x + i), m0);
    m1 = larger(hn::LoadU(d, x + i + step), m1);
    m2 = larger(hn::LoadU(d, x + i + 2 * step), m2);
    m3 = larger(hn::LoadU(d, x + i + 3 * step), m3);
  }
  for (; i < n; i += step) {
    const Step<decltype(d)> s{d, n - i};
    m0 = larger(s.keep(s.load(x + i), none), m0);
  }
  return hn::GetLane(hn::MaxOfLanes(d, hn::Max(hn::Max(m0, m1), hn::Max(m2, m3))));
}

/// What exponents are taken relative to: the row's largest element. 0 if that is -inf, so that such a row has a sum
/// of exactly 0.
template <class T>
T row_shift(const T* x, Size n) {
  const T m = row_max(x, n);
  return m == -inf<T> ? T{0} : m;
}

/// sum exp(x - shift); y receives the terms unless it is null.
template <class T>
double sum_exp(const T* x, T shift, T* y, Size n) {
  const hn::ScalableTag<T> d;
  const auto m = hn::Set(d, shift);
  return sum<1>(d, n, [=](auto s, Size i) ATTUNE_SIMD {
    const auto e = exp(hn::Sub(s.load(x + i), m));
    if (y != nullptr) s.store(e, y + i);
    return e;
  });
}

/// y *= factor
template <class T>
void scale_row(T* y, T factor, Size n) {
  const auto f = hn::Set(hn::ScalableTag<T>(), factor);
  map(y, y, n, [=](auto v) ATTUNE_SIMD { return hn::Mul(v, f); });
}

}  // namespace attune::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
