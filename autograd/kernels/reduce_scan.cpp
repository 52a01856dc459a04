// Positions of extremes, and running sums.
#include <algorithm>
#include <type_traits>

#include "autograd/kernels/reduce.h"
#include "autograd/kernels/simd_targets.h"
#include "autograd/runtime/parallel.h"

namespace attune::kernels {
namespace {

constexpr Size tile_width = 256;

/// body(o, column, width) for every tile of columns of every outer index, in parallel; `work` elements are behind each.
template <class F>
void for_tiles(Size outer, Size n, Size inner, F body) {
  const Size tiles = (inner + tile_width - 1) / tile_width;
  const Size work = std::max<Size>(1, n * std::min(inner, tile_width));
  parallel_for(outer * tiles, std::max<Size>(1, 16384 / work), [=](Size begin, Size end) {
    for (Size job = begin; job < end; ++job) {
      const Size column = job % tiles * tile_width;
      body(job / tiles, column, std::min(tile_width, inner - column));
    }
  });
}

}  // namespace

template <class T>
void arg_extreme(bool largest, const T* x, Size outer, Size n, Size inner, std::int64_t* y) {
  const auto beats = [largest](T a, T b) {  // NaN beats all but an earlier NaN
    return (largest ? a > b : a < b) || (a != a && b == b);
  };
  for_tiles(outer, n, inner, [=](Size o, Size column, Size width) {
    const T* p = x + o * n * inner + column;
    if (inner == 1) {  // the extreme by SIMD, then where it is
      T extreme;
      reduce(largest ? Reduce::max : Reduce::min, p, 1, n, 1, &extreme);
      Size k = 0;
      while (p[k] != extreme && p[k] == p[k]) ++k;
      y[o] = k;
      return;
    }
    std::int64_t* at = y + o * inner + column;
    T best[tile_width];
    std::copy_n(p, width, best);
    std::fill_n(at, width, 0);
    for (Size k = 1; k < n; ++k) {
      p += inner;
      for (Size i = 0; i < width; ++i)
        if (beats(p[i], best[i])) {
          best[i] = p[i];
          at[i] = k;
        }
    }
  });
}

namespace {

/// A running sum: integers wrap around, floats run in double, doubles with the rounding of each step beside them
/// (Knuth 1997, 4.2.2).
template <class T>
struct Running {
  std::conditional_t<std::is_integral_v<T>, std::uint64_t, double> sum = 0;
  T add(T x) { return static_cast<T>(sum += static_cast<decltype(sum)>(x)); }
};
template <>
struct Running<double> {
  double sum = 0, low = 0;
  double add(double x) {
    const double next = sum + x, rest = next - sum;
    const double lost = (sum - (next - rest)) + (x - rest);
    low += lost == lost ? lost : 0;  // an infinity has no rounding
    return (sum = next) + low;
  }
};

}  // namespace

template <class T>
void cumsum(const T* x, Size outer, Size n, Size inner, T* y) {
  for_tiles(outer, n, inner, [=](Size o, Size column, Size width) {
    if (inner == 1) {
      Running<T> running;
      for (Size i = o * n; i < (o + 1) * n; ++i) y[i] = running.add(x[i]);
      return;
    }
    Running<T> total[tile_width] = {};
    for (Size k = 0; k < n; ++k) {
      const T* p = x + (o * n + k) * inner + column;
      T* q = y + (o * n + k) * inner + column;
#pragma omp simd
      for (Size i = 0; i < width; ++i) q[i] = total[i].add(p[i]);
    }
  });
}

#define ATTUNE_INSTANTIATE(T)                                                 \
  template void arg_extreme(bool, const T*, Size, Size, Size, std::int64_t*); \
  template void cumsum(const T*, Size, Size, Size, T*);
ATTUNE_INSTANTIATE(float)
ATTUNE_INSTANTIATE(double)
ATTUNE_INSTANTIATE(std::int64_t)
ATTUNE_INSTANTIATE(std::int32_t)
#undef ATTUNE_INSTANTIATE

}  // namespace attune::kernels
