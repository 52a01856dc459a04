// Loops over dense arrays with whole vectors and a masked end. Compiled once per instruction set.
#if defined(ATTUNE_KERNELS_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTUNE_KERNELS_SIMD_INL_H_
#undef ATTUNE_KERNELS_SIMD_INL_H_
#else
#define ATTUNE_KERNELS_SIMD_INL_H_
#endif

#include <array>
#include <cstdint>

#include "autograd/kernels/size.h"
#include "hwy/highway.h"

// The attributes of a lambda that works on vectors: after its parameter list.
#ifndef ATTUNE_SIMD
#define ATTUNE_SIMD HWY_ATTR __attribute__((always_inline))
#endif

HWY_BEFORE_NAMESPACE();
namespace attune::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <class D>
HWY_INLINE Size lanes(D d) {
  return static_cast<Size>(hn::Lanes(d));
}

/// One step of a loop: a full vector, or the first `left` lanes at the end of the array. Lanes beyond the end load as 0
/// and are never stored.
template <class D>
struct Step {
  using T = hn::TFromD<D>;
  using V = hn::Vec<D>;
  D d;
  Size left;

  HWY_INLINE bool full() const { return HWY_LIKELY(left >= lanes(d)); }
  HWY_INLINE auto mask() const { return hn::FirstN(d, static_cast<std::size_t>(left)); }
  HWY_INLINE V load(const T* p) const { return full() ? hn::LoadU(d, p) : hn::MaskedLoad(mask(), d, p); }
  HWY_INLINE void store(V v, T* p) const {
    if (full())
      hn::StoreU(v, d, p);
    else
      hn::BlendedStore(v, mask(), d, p);
  }
  /// v, and `other` in lanes beyond the end.
  HWY_INLINE V keep(V v, V other) const { return full() ? v : hn::IfThenElse(mask(), v, other); }
};

/// f(step, i) for every vector of [0, n).
template <class D, class F>
HWY_INLINE void for_vectors(D d, Size n, F f) {
  const Size step = lanes(d);
  for (Size i = 0; i < n; i += step) f(Step<D>{d, n - i}, i);
}

/// y[i] = f(x[i]); in place if y == x.
template <class T, class F>
HWY_INLINE void map(const T* x, T* y, Size n, F f) {
  for_vectors(hn::ScalableTag<T>(), n, [=](auto s, Size i) ATTUNE_SIMD { s.store(f(s.load(x + i)), y + i); });
}

template <class T, class F>
HWY_INLINE void map(const T* a, const T* b, T* y, Size n, F f) {
  for_vectors(hn::ScalableTag<T>(), n,
              [=](auto s, Size i) ATTUNE_SIMD { s.store(f(s.load(a + i), s.load(b + i)), y + i); });
}

/// The sum over [0, n) of f(step, i). `chains` independent sums run side by side; blocks of `chains` x 64 vectors are
/// summed in T, the blocks in double, so that float sums stay accurate for any n.
template <int chains, class D, class F>
HWY_INLINE double sum(D d, Size n, F f) {
  static_assert(chains == 1 || chains == 4);
  const Size step = lanes(d), block = chains * 64 * step;
  double total = 0;
  for (Size i = 0; i < n;) {
    const Size end = n - i < block ? n : i + block;
    auto s0 = hn::Zero(d);
    if constexpr (chains == 4) {
      auto s1 = s0, s2 = s0, s3 = s0;
      for (; i + 4 * step <= end; i += 4 * step) {
        const Step<D> all{d, step};
        s0 = hn::Add(s0, f(all, i));
        s1 = hn::Add(s1, f(all, i + step));
        s2 = hn::Add(s2, f(all, i + 2 * step));
        s3 = hn::Add(s3, f(all, i + 3 * step));
      }
      s0 = hn::Add(hn::Add(s0, s1), hn::Add(s2, s3));
    }
    for (; i < end; i += step) {
      const Step<D> s{d, end - i};
      s0 = hn::Add(s0, s.keep(f(s, i), hn::Zero(d)));
    }
    total += static_cast<double>(hn::GetLane(hn::SumOfLanes(d, s0)));
  }
  return total;
}

/// K sums over [0, n) in one pass: f(step, i) gives K terms, which count as 0 beyond the end. As accurate as `sum`.
template <std::size_t K, class D, class F>
HWY_INLINE std::array<double, K> sums(D d, Size n, F f) {
  const Size step = lanes(d), block = 2 * 64 * step;
  std::array<double, K> total{};
  for (Size i = 0; i < n;) {
    const Size end = n - i < block ? n : i + block;
    std::array<hn::Vec<D>, K> even, odd;
    for (std::size_t k = 0; k < K; ++k) even[k] = odd[k] = hn::Zero(d);
    for (; i + 2 * step <= end; i += 2 * step) {
      const Step<D> all{d, step};
      const std::array<hn::Vec<D>, K> a = f(all, i), b = f(all, i + step);
      for (std::size_t k = 0; k < K; ++k) {
        even[k] = hn::Add(even[k], a[k]);
        odd[k] = hn::Add(odd[k], b[k]);
      }
    }
    for (; i < end; i += step) {
      const Step<D> s{d, end - i};
      const std::array<hn::Vec<D>, K> a = f(s, i);
      for (std::size_t k = 0; k < K; ++k) even[k] = hn::Add(even[k], s.keep(a[k], hn::Zero(d)));
    }
    for (std::size_t k = 0; k < K; ++k)
      total[k] += static_cast<double>(hn::GetLane(hn::SumOfLanes(d, hn::Add(even[k], odd[k]))));
  }
  return total;
}

}  // namespace attune::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
