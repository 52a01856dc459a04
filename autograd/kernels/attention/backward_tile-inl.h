// What the backward pass of exact attention holds of a tile of scores. Compiled once per instruction set.
#if defined(ATTUNE_KERNELS_BACKWARD_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTUNE_KERNELS_BACKWARD_TILE_INL_H_
#undef ATTUNE_KERNELS_BACKWARD_TILE_INL_H_
#else
#define ATTUNE_KERNELS_BACKWARD_TILE_INL_H_
#endif

#include <algorithm>

#include "autograd/kernels/attention/query_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune::kernels::HWY_NAMESPACE {

/// Queries as the backward pass takes them, and the arrays of a tile.
template <class T>
class BackwardTile {
 public:
  BackwardTile(const AttentionPlan<T>& p, bool careful)
      : careful_(careful),
        d_(p.head_dim),
        e_(p.value_dim),
        work_{d_ * tile_queries,
              d_ * tile_queries,
              d_ * tile_queries,
              e_ * tile_queries,
              e_ * tile_queries,
              tile_,
              tile_,
              p.settings.dropout > 0 ? tile_ : 0,
              gathered_size(p)},
        q_columns(work_.take(d_ * tile_queries)),
        q(work_.take(d_ * tile_queries)),
        gq(work_.take(d_ * tile_queries)),
        dy_columns(work_.take(e_ * tile_queries)),
        dy(work_.take(e_ * tile_queries)),
        s(work_.take(tile_)),
        g(work_.take(tile_)),
        factor(p.settings.dropout > 0 ? work_.take(tile_) : nullptr),
        gathered_(work_.take(gathered_size(p))) {}

  void take_queries(const Queries<T>& x, Heads<const T> out, AttentionSums<const T> sums, Heads<const T> dout) {
    const T scale = static_cast<T>(x.p.settings.scale);
    std::fill_n(shift, tile_queries, T{0});
    std::fill_n(mean, tile_queries, T{0});
    for (Size i = 0; i < x.count; ++i) {
      const T *from = dout.row(x.b, x.h, x.first + i), *y = out.row(x.b, x.h, x.first + i);
      const T *query = x.p.q.row(x.b, x.h, x.first + i), inverse = sums.inverse[x.row() + i];
      T* to = dy + i * e_;
      for (Size j = 0; j < e_; ++j) to[j] = inverse == 0 ? T{0} : from[j] * inverse;
      for (Size j = 0; j < d_; ++j) q[i * d_ + j] = query[j] * scale;
      shift[i] = sums.largest[x.row() + i];
      if (careful_) unasked_.find(i, from, e_);
      mean[i] = static_cast<T>(sum<4>(hn::ScalableTag<T>(), e_, [=](auto step, Size j) ATTUNE_SIMD {
        return hn::Mul(step.load(to + j), step.load(y + j));
      }));
    }
    transpose_rows([&](Size i) { return x.p.q.row(x.b, x.h, x.first + i); }, x.count, d_, x.score_unit(), q_columns);
    transpose_rows([&](Size i) { return dy + i * e_; }, x.count, e_, T{1}, dy_columns);
  }

  /// s = the probabilities of the tile's keys, after dropout, and g = the gradients of their scores; both for the sums
  /// that dy was divided by.
  void take_keys(const Queries<T>& x, const KeyTile& at) {
    const Size keys = at.keys;
    k = gather_rows(x.p.k, x.b, x.key_head, at, d_, gathered_);
    scores_of(x, q_columns, at, k, s);
    const TileRows<T> v = gather_rows(x.p.v, x.b, x.key_head, at, e_, gathered_ + tile_keys * d_);
    tile_product(Left::rows, keys, x.width(), e_, v.data, v.stride, dy_columns, tile_queries, g, tile_queries, false);
    if (factor) draw_factors(x, at, factor);
    if (!careful_) return take_gradients<false>(s, g, factor, keys, x.width(), shift, mean);
    take_gradients<true>(s, g, factor, keys, x.width(), shift, mean);
    unasked_.clear_columns(s, keys, x.count);
    unasked_.clear_columns(g, keys, x.count);
  }

  /// The tile's keys' rows of `to` += weights rows, of rows [x.count][n].
  void add_to_keys(const Queries<T>& x, const KeyTile& at, const T* weights, const T* rows, Size n, Heads<T> to) {
    if (at.in_one_piece()) {
      product_of_tile(careful_, Left::rows, at.keys, n, x.count, weights, rows, n,
                      to.row(x.b, x.key_head, at.runs[0].key), to.row_stride, true);
      return;
    }
    T* const sums = gathered_ + tile_keys * (d_ + e_);
    product_of_tile(careful_, Left::rows, at.keys, n, x.count, weights, rows, n, sums, n, false);
    for (const KeyRun& run : at)
      for (Size r = 0; r < run.keys; ++r) {
        T* y = to.row(x.b, x.key_head, run.key + r);
        const T* sum = sums + (run.at + r) * n;
        for (Size j = 0; j < n; ++j) y[j] += sum[j];
      }
  }

 private:
  static Size gathered_size(const AttentionPlan<T>& p) {
    return p.settings.pattern ? tile_keys * (p.head_dim + p.value_dim + std::max(p.head_dim, p.value_dim)) : 0;
  }

  static constexpr Size tile_ = tile_keys * tile_queries;
  const bool careful_;
  Unasked unasked_;
  const Size d_, e_;
  Workspace<T> work_;

 public:
  T* const q_columns;  ///< [d][tile_queries], in units of the scores
  T* const q;          ///< [tile_queries][d], scaled
  T* const gq;         ///< [tile_queries][d], the sums of dq
  /// dy [tile_queries][e] comes divided by the sums, so that powers of 2 can stand for the probabilities.
  T *const dy_columns, *const dy;
  T *const s, *const g;  ///< [tile_keys][tile_queries]
  T* const factor;       ///< of dropout, or null
  TileRows<T> k;         ///< of the tile's keys
  alignas(64) T shift[tile_queries], mean[tile_queries];

 private:
  T* const gathered_;  ///< with a pattern: rows of a tile's keys, of its values, and of the gradient of either
};

}  // namespace attune::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
