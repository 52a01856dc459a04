// The scores of some queries of exact attention against keys, a tile at a time. Compiled once per instruction set.
#if defined(ATTUNE_KERNELS_QUERY_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTUNE_KERNELS_QUERY_TILE_INL_H_
#undef ATTUNE_KERNELS_QUERY_TILE_INL_H_
#else
#define ATTUNE_KERNELS_QUERY_TILE_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "autograd/kernels/attention/attention.h"
#include "autograd/kernels/attention/attention_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune::kernels::HWY_NAMESPACE {

/// Some queries of one head.
template <class T>
struct Queries {
  const AttentionPlan<T>& p;
  Size b, h, key_head, first, count;

  Queries(const AttentionPlan<T>& plan, Size b_, Size h_, Size first_)
      : p(plan),
        b(b_),
        h(h_),
        key_head(h_ / plan.sharing),
        first(first_),
        count(std::min(tile_queries, plan.queries - first_)) {}

  /// Of all [b h t] queries.
  Size row() const { return (b * p.heads + h) * p.queries + first; }
  Size width() const { return tile_width<T>(count); }
  KeyTiles tiles(Size begin, Size end) const { return tiles_of(p, b, h, first, count, begin, end); }
  T score_unit() const { return static_cast<T>(p.settings.scale * std::numbers::log2e); }
};

/// Rows of a tile's keys, `stride` apart.
template <class T>
struct TileRows {
  const T* data = nullptr;
  Size stride = 0;
};

/// The tile's rows of x: where they are if its keys follow each other, else copied to `space` [tile_keys][n].
template <class T>
TileRows<T> gather_rows(Heads<const T> x, Size b, Size h, const KeyTile& tile, Size n, T* space) {
  if (tile.in_one_piece()) return {x.row(b, h, tile.runs[0].key), x.row_stride};
  for (const KeyRun& run : tile)
    for (Size r = 0; r < run.keys; ++r) std::copy_n(x.row(b, h, run.key + r), n, space + (run.at + r) * n);
  return {space, n};
}

// Below s[r][i] is the score of the key of row r, key + r in a run, with query first + i.

/// A score with its bias. The least finite number, a usual mask, must stay finite.
template <class T>
HWY_INLINE T biased(T score, T b) {
  if (b == hidden<T>) return hidden<T>;  // as a mask does, whatever the key holds
  const T unit = std::numbers::log2e_v<T>;
  return score +
         (std::isinf(b) ? b : std::clamp(unit * b, std::numeric_limits<T>::lowest(), std::numeric_limits<T>::max()));
}

template <class T>
void add_bias(const Queries<T>& x, Size key, Size keys, T* s) {
  const ScoreTerm<T>& bias = x.p.bias;
  for (Size i = 0; i < x.count; ++i) {
    const T* from = bias.at(x.b, x.h, x.first + i, key);
    for (Size r = 0; r < keys; ++r) {
      T& y = s[r * tile_queries + i];
      y = biased(y, from[r * bias.column_stride]);
    }
  }
}

template <class T>
void hide_masked(const Queries<T>& x, Size key, Size keys, T* s) {
  const ScoreTerm<bool>& mask = x.p.attention_mask;
  if (mask.row_stride == 0) {  // the same keys from all queries
    const bool* from = mask.at(x.b, x.h, 0, key);
    for (Size r = 0; r < keys; ++r)
      if (from[r * mask.column_stride]) std::fill_n(s + r * tile_queries, x.count, hidden<T>);
    return;
  }
  for (Size i = 0; i < x.count; ++i) {
    const bool* from = mask.at(x.b, x.h, x.first + i, key);
    for (Size r = 0; r < keys; ++r) {
      T& y = s[r * tile_queries + i];
      y = from[r * mask.column_stride] ? hidden<T> : y;
    }
  }
}

/// Key key + r is hidden from queries below key + r - (s - t).
template <class T>
void hide_future(const Queries<T>& x, Size key, Size keys, T* s) {
  const Size offset = key - (x.p.keys - x.p.queries) - x.first;
  for (Size r = std::max(Size{0}, 1 - offset); r < keys; ++r)
    std::fill_n(s + r * tile_queries, std::min(offset + r, x.count), hidden<T>);
}

/// By the bits of a run's keys.
template <class T>
void hide_unseen(const Queries<T>& x, const std::uint64_t* seen, Size keys, T* s) {
  const hn::ScalableTag<T> d;
  const auto nothing = hn::Set(d, hidden<T>);
  for (Size r = 0; r < keys; ++r) {
    if (seen[r] == ~std::uint64_t{0}) continue;
    for (Size i = 0; i < x.width(); i += lanes(d)) {
      const std::uint64_t bits = seen[r] >> i;
      std::uint8_t bytes[sizeof bits];
      std::memcpy(bytes, &bits, sizeof bits);
      T* at = s + r * tile_queries + i;
      hn::StoreU(hn::IfThenElse(hn::LoadMaskBits(d, bytes), hn::LoadU(d, at), nothing), d, at);
    }
  }
}

/// From the queries' transpose and the keys' rows; hidden ones are -inf.
template <class T>
void scores_of(const Queries<T>& x, const T* q_columns, const KeyTile& tile, TileRows<T> k, T* s) {
  tile_product(Left::rows, tile.keys, x.width(), x.p.head_dim, k.data, k.stride, q_columns, tile_queries, s,
               tile_queries, false);
  for (const KeyRun& run : tile) {
    T* at = s + run.at * tile_queries;
    if (x.p.bias.data) add_bias(x, run.key, run.keys, at);
    if (x.p.attention_mask.data) hide_masked(x, run.key, run.keys, at);
    if (x.p.settings.causal) hide_future(x, run.key, run.keys, at);
    if (run.partial) hide_unseen(x, tile.seen + run.at, run.keys, at);
  }
}

/// factor[r][i] = 0 or 1 / (1 - p), as kernels::dropout draws them.
template <class T>
void draw_factors(const Queries<T>& x, const KeyTile& tile, T* factor) {
  const DropoutFactor<T> rule(x.p.settings.dropout);
  alignas(64) std::uint32_t words[4][tile_queries];
  for (const KeyRun& run : tile)
    for (Size r = 0; r < run.keys; r += 4) {
      draw_words(x.p.settings.dropout_key, x.row(), (x.p.keys + 3) / 4, (run.key + r) / 4, words);
      for (Size w = 0; w < std::min(Size{4}, run.keys - r); ++w)
        rule.apply(words[w], factor + (run.at + r + w) * tile_queries);
    }
}

/// A softmax over keys that come a tile at a time: each query's largest score so far, and the sum of powers of 2
/// relative to it.
template <class T>
struct RunningSoftmax {
  alignas(64) T largest[tile_queries], shift[tile_queries], fade[tile_queries];
  double total[tile_queries];

  RunningSoftmax() {
    std::fill_n(largest, tile_queries, hidden<T>);
    std::fill_n(shift, tile_queries, T{0});
    std::fill_n(total, tile_queries, 0.0);
  }

  /// Scores become powers relative to `shift`, which is `largest`, or 0 if nothing is seen yet; powers of earlier tiles
  /// are to be multiplied by `fade`.
  void take(T* s, Size keys, Size width) {
    alignas(64) T sum[tile_queries];
    std::copy_n(largest, tile_queries, fade);
    take_largest(s, keys, width, largest);
    for (Size i = 0; i < width; ++i) shift[i] = largest[i] == hidden<T> ? T{0} : largest[i];
    take_powers(s, keys, width, shift, sum);
    for (Size i = 0; i < width; ++i) fade[i] -= shift[i];
    map(fade, fade, width, [](auto v) ATTUNE_SIMD { return exp2_below(v); });
    for (Size i = 0; i < width; ++i) total[i] = total[i] * static_cast<double>(fade[i]) + static_cast<double>(sum[i]);
  }
};

}  // namespace attune::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
