#include "autograd/kernels/attention/buckets.h"

#include <algorithm>
#include <vector>

#include "autograd/kernels/simd_targets.h"
#include "autograd/runtime/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/attention/buckets.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h:
#include "autograd/kernels/attention/attention_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune::kernels::HWY_NAMESPACE {

/// The largest and the smallest projection of each column so far, and which they were.
template <class T>
struct Extremes {
  using Integer = hwy::MakeSigned<T>;
  T high[tile_queries], low[tile_queries];
  Integer high_at[tile_queries], low_at[tile_queries];

  void clear() {
    std::fill_n(high, tile_queries, hidden<T>);
    std::fill_n(low, tile_queries, -hidden<T>);
    std::fill_n(high_at, tile_queries, Integer{0});
    std::fill_n(low_at, tile_queries, Integer{0});
  }
  /// Takes rows first, first + 1, ... of projections [rows][tile_queries].
  void take(const T* x, Size first, Size rows, Size width) {
    const hn::ScalableTag<T> d;
    const hn::ScalableTag<Integer> di;
    for (Size i = 0; i < width; i += lanes(d)) {
      auto most = hn::LoadU(d, high + i), least = hn::LoadU(d, low + i);
      auto most_at = hn::LoadU(di, high_at + i), least_at = hn::LoadU(di, low_at + i);
      for (Size r = 0; r < rows; ++r) {
        const auto v = hn::LoadU(d, x + r * tile_queries + i);
        const auto index = hn::Set(di, static_cast<Integer>(first + r));
        const auto above = hn::Gt(v, most), below = hn::Lt(v, least);
        most = hn::IfThenElse(above, v, most);
        least = hn::IfThenElse(below, v, least);
        most_at = hn::IfThenElse(hn::RebindMask(di, above), index, most_at);
        least_at = hn::IfThenElse(hn::RebindMask(di, below), index, least_at);
      }
      hn::StoreU(most, d, high + i);
      hn::StoreU(least, d, low + i);
      hn::StoreU(most_at, di, high_at + i);
      hn::StoreU(least_at, di, low_at + i);
    }
  }
  /// argmax [x; -x] over `half` projections.
  Size argmax(Size i, Size half) const { return static_cast<Size>(-low[i] > high[i] ? half + low_at[i] : high_at[i]); }
};

/// Positions first to first + tile_queries of one head.
template <class T>
void hash_positions(const HashPlan& p, Size b, Size h, Size first, Heads<const T> x, Heads<const T> rotations,
                    std::int32_t* buckets) {
  const Size d = p.head_dim, count = std::min(tile_queries, p.length - first), width = tile_width<T>(count);
  Workspace<T> w{d * tile_queries, tile_keys * tile_queries};
  T *columns = w.take(d * tile_queries), *projections = w.take(tile_keys * tile_queries);
  transpose_rows([&](Size i) { return x.row(b, h, first + i); }, count, d, T{1}, columns);
  Extremes<T> extremes;
  Size row = 0;  // of the rotations
  for (Size round = 0; round < p.rounds; ++round) {
    Size found[tile_queries] = {}, scale = 1;
    for (int f = 0; f < p.factor_count; ++f) {
      const Size half = p.factors[f] / 2;
      extremes.clear();
      for (Size j = 0; j < half; j += tile_keys) {
        const Size rows = std::min(tile_keys, half - j);
        tile_product(Left::rows, rows, width, d, rotations.row(b, h, row + j), rotations.row_stride, columns,
                     tile_queries, projections, tile_queries, false);
        extremes.take(projections, j, rows, width);
      }
      for (Size i = 0; i < count; ++i) found[i] += scale * extremes.argmax(i, half);
      scale *= p.factors[f];
      row += half;
    }
    // Padding has a bucket of its own, and each round its own buckets.
    const Size in_round = scale + (p.key_padding_mask ? 1 : 0);
    std::int32_t* out = buckets + ((b * p.heads + h) * p.rounds + round) * p.length + first;
    for (Size i = 0; i < count; ++i) {
      const bool padding = p.key_padding_mask && p.key_padding_mask[b * p.length + first + i];
      out[i] = static_cast<std::int32_t>((padding ? scale : found[i]) + round * in_round);
    }
  }
}

void hash_f32(const HashPlan& p, Size b, Size h, Size first, Heads<const float> x, Heads<const float> rotations,
              std::int32_t* buckets) {
  hash_positions(p, b, h, first, x, rotations, buckets);
}
void hash_f64(const HashPlan& p, Size b, Size h, Size first, Heads<const double> x, Heads<const double> rotations,
              std::int32_t* buckets) {
  hash_positions(p, b, h, first, x, rotations, buckets);
}

}  // namespace attune::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune::kernels {

HWY_EXPORT(hash_f32);
HWY_EXPORT(hash_f64);

template <class T>
void hash_buckets(const HashPlan& p, Heads<const T> x, Heads<const T> rotations, std::int32_t* buckets) {
  const Size blocks = (p.length + tile_queries - 1) / tile_queries;
  parallel_for(p.batch * p.heads * blocks, 4, [&](Size begin, Size end) {
    for (Size task = begin; task < end; ++task) {
      const Size head = task / blocks, b = head / p.heads, h = head % p.heads, first = task % blocks * tile_queries;
      if constexpr (sizeof(T) == 4)
        HWY_DYNAMIC_DISPATCH(hash_f32)(p, b, h, first, x, rotations, buckets);
      else
        HWY_DYNAMIC_DISPATCH(hash_f64)(p, b, h, first, x, rotations, buckets);
    }
  });
}
template void hash_buckets<float>(const HashPlan&, Heads<const float>, Heads<const float>, std::int32_t*);
template void hash_buckets<double>(const HashPlan&, Heads<const double>, Heads<const double>, std::int32_t*);

void bucket_order(const std::int32_t* buckets, Size tasks, Size rounds, Size length, Size limit, std::int32_t* order) {
  const auto at = [](Size i) { return static_cast<std::size_t>(i); };
  parallel_for(tasks * rounds, 1, [&](Size begin, Size end) {
    std::vector<std::int32_t> start(at(limit + 1));
    for (Size t = begin; t < end; ++t) {
      const std::int32_t* b = buckets + t * length;
      std::fill(start.begin(), start.end(), 0);
      for (Size i = 0; i < length; ++i) ++start[at(b[i] + 1)];
      for (std::size_t i = 1; i < start.size(); ++i) start[i] += start[i - 1];
      for (Size i = 0; i < length; ++i) order[t * length + start[at(b[i])]++] = static_cast<std::int32_t>(i);
    }
  });
}

}  // namespace attune::kernels
#endif
