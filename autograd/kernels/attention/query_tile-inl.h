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

// Below s[r][i] is the score of key key + r with query first + i.

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

/// By the bits of a partial tile.
template <class T>
void hide_unseen(const Queries<T>& x, const KeyTile& tile, T* s) {
  const hn::ScalableTag<T> d;
  const auto nothing = hn::Set(d, hidden<T>);
  for (Size r = 0; r < tile.keys; ++r) {
    if (tile.seen[r] == ~std::uint64_t{0}) continue;
    for (Size i = 0; i < x.width(); i += lanes(d)) {
      const std::uint64_t bits = tile.seen[r] >> i;
      std::uint8_t bytes[sizeof bits];
      std::memcpy(bytes, &bits, sizeof bits);
      T* at = s + r * tile_queries + i;
      hn::StoreU(hn::IfThenElse(hn::LoadMaskBits(d, bytes), hn::LoadU(d, at), nothing), d, at);
    }
  }
}

/// From the queries' transpose; hidden ones are -inf.
template <class T>
void scores_of(const Queries<T>& x, const T* q_columns, const KeyTile& tile, T* s) {
  const Size key = tile.key, keys = tile.keys;
  tile_product(Left::rows, keys, x.width(), x.p.head_dim, x.p.k.row(x.b, x.key_head, key), x.p.k.row_stride, q_columns,
               tile_queries, s, tile_queries, false);
  if (x.p.bias.data) add_bias(x, key, keys, s);
  if (x.p.attention_mask.data) hide_masked(x, key, keys, s);
  if (x.p.settings.causal) hide_future(x, key, keys, s);
  if (tile.partial) hide_unseen(x, tile, s);
}

/// factor[r][i] = 0 or 1 / (1 - p), as kernels::dropout draws them.
template <class T>
void draw_factors(const Queries<T>& x, Size key, Size keys, T* factor) {
  const DropoutFactor<T> rule(x.p.settings.dropout);
  alignas(64) std::uint32_t words[4][tile_queries];
  for (Size r = 0; r < keys; r += 4) {
    draw_words(x.p.settings.dropout_key, x.row(), (x.p.keys + 3) / 4, (key + r) / 4, words);
    for (Size w = 0; w < std::min(Size{4}, keys - r); ++w) rule.apply(words[w], factor + (r + w) * tile_queries);
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
