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

template <class T>
void cumsum(const T* x, Size outer, Size n, Size inner, T* y) {
  // float sums run in double; integers wrap around
  using Total = std::conditional_t<std::is_floating_point_v<T>, double, std::uint64_t>;
  for_tiles(outer, n, inner, [=](Size o, Size column, Size width) {
    if (inner == 1) {
      Total running = 0;
      for (Size i = o * n; i < (o + 1) * n; ++i) y[i] = static_cast<T>(running += static_cast<Total>(x[i]));
      return;
    }
    Total total[tile_width] = {};
    for (Size k = 0; k < n; ++k) {
      const T* p = x + (o * n + k) * inner + column;
      T* q = y + (o * n + k) * inner + column;
#pragma omp simd
      for (Size i = 0; i < width; ++i) {
        total[i] += static_cast<Total>(p[i]);
        q[i] = static_cast<T>(total[i]);
      }
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
