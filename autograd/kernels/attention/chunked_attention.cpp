// One task is one head of one example; its chunks run one after another on one thread, so that scattered sums have a
// fixed order.

#include "autograd/kernels/attention/chunked_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "autograd/kernels/attention/chunk_window.h"
#include "autograd/kernels/simd_targets.h"
#include "autograd/runtime/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/attention/chunked_attention.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h:
#include "autograd/kernels/attention/attention_tile-inl.h"

#ifndef ATTUNE_KERNELS_CHUNKED_ATTENTION_ONCE_
#define ATTUNE_KERNELS_CHUNKED_ATTENTION_ONCE_
namespace attune::kernels {

template <class T>
struct ChunkedOperands {
  Heads<const T> q, k, v;
};

template <class T>
struct ChunkedKernels {
  void (*forward)(const ChunkPlan& p, std::int64_t task, const ChunkedOperands<T>& x, Heads<T> out, T* largest,
                  T* inverse);
  void (*backward)(const ChunkPlan& p, std::int64_t task, const ChunkedOperands<T>& x, Heads<const T> out,
                   const T* largest, const T* inverse, Heads<const T> dout, Heads<T> dq, Heads<T> dk, Heads<T> dv);
};

}  // namespace attune::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace attune::kernels::HWY_NAMESPACE {

/// Some queries of a window's chunk, and the tile of their scores against the window's keys.
template <class T>
class ChunkTile {
 public:
  using Integer = hwy::MakeSigned<T>;  // as wide as T, so that a comparison's lanes are those of the scores

  ChunkTile(const ChunkPlan& plan, Size task)
      : p(plan),
        b(task / plan.heads),
        h(task % plan.heads),
        window(plan, task),
        rows_(window.whole_columns()),
        work_{plan.head_dim * tile_queries, rows_ * plan.head_dim, rows_ * plan.head_dim, rows_ * tile_queries,
              plan.dropout > 0 ? rows_ * tile_queries : 0},
        query_places_(static_cast<std::size_t>(window.corrects() ? 2 * plan.rounds * tile_queries : 0)),
        q_columns(work_.take(plan.head_dim * tile_queries)),
        k(work_.take(rows_ * plan.head_dim)),
        v(work_.take(rows_ * plan.head_dim)),
        s(work_.take(rows_ * tile_queries)),
        factor(plan.dropout > 0 ? work_.take(rows_ * tile_queries) : nullptr) {}

  /// f() for every tile, in order.
  template <class F>
  void for_tiles(const ChunkedOperands<T>& x, F f) {
    for (Size chunk = 0; chunk < window.chunks(); ++chunk) {
      window.move_to(chunk);
      for (Size r = 0; r < keys(); ++r) {
        std::copy_n(x.k.row(b, h, window.keys()[r]), p.head_dim, k + r * p.head_dim);
        std::copy_n(x.v.row(b, h, window.keys()[r]), p.head_dim, v + r * p.head_dim);
      }
      for (first_ = 0; first_ < p.chunk; first_ += tile_queries) {
        count = std::min(tile_queries, p.chunk - first_);
        width = tile_width<T>(count);
        compute_scores(x);
        f();
      }
    }
  }

  Size keys() const { return window.columns(); }
  Size rows() const { return rows_; }  // the most keys
  T own_penalty() const { return static_cast<T>(p.self_penalty * std::numbers::log2e); }
  std::int32_t query(Size i) const { return window.query(first_ + i); }

  /// factor[r][i] of dropout.
  void draw_factors() {
    const DropoutFactor<T> rule(p.dropout);
    alignas(64) std::uint32_t words[4][tile_queries];
    Size drawn = -1;
    for (Size r = 0; r < keys(); ++r) {
      const Size place = window.offsets()[r];
      if (place / 4 != drawn) {
        drawn = place / 4;
        draw_words(p.dropout_key, window.dropout_row_number(first_), (rows_ + 3) / 4, drawn, words);
      }
      rule.apply(words[place % 4], factor + r * tile_queries);
    }
  }

  const ChunkPlan& p;
  const Size b, h;
  ChunkWindow window;

  Size count = 0, width = 0;  // queries, and columns that are computed

 private:
  void compute_scores(const ChunkedOperands<T>& x) {
    transpose_rows([&](Size i) { return x.q.row(b, h, query(i)); }, count, p.head_dim,
                   static_cast<T>(p.scale * std::numbers::log2e), q_columns);
    tile_product(Left::rows, keys(), width, p.head_dim, k, p.head_dim, q_columns, tile_queries, s, tile_queries, false);
    std::fill_n(positions_, tile_queries, Integer{-1});
    std::fill_n(buckets_, tile_queries, Integer{-1});
    for (Size i = 0; i < count; ++i) {
      positions_[i] = query(i);
      if (window.by_bucket()) buckets_[i] = window.query_bucket(first_ + i);
      for (Size r = 0; window.corrects() && r < p.rounds; ++r) {
        const ChunkWindow::Place place = window.places(query(i))[r];
        place_chunks(r)[i] = place.chunk;
        place_buckets(r)[i] = place.bucket;
      }
    }
    for (Size r = 0; r < keys(); ++r) mask_row(r);
  }

  Integer* place_chunks(Size round) { return query_places_.data() + 2 * round * tile_queries; }
  Integer* place_buckets(Size round) { return place_chunks(round) + tile_queries; }

  /// What is not seen becomes -inf, a query's own score falls, and a pair that meets N times loses log N.
  void mask_row(Size r) {
    T* row = s + r * tile_queries;
    const bool padding = window.is_padding(r), by_bucket = window.by_bucket();
    if (padding && !p.self_last) {
      std::fill_n(row, width, hidden<T>);
      return;
    }
    const hn::ScalableTag<T> d;
    const hn::ScalableTag<Integer> di;
    const std::int32_t key = window.keys()[r];
    const auto position = hn::Set(di, static_cast<Integer>(key));
    const auto bucket = hn::Set(di, static_cast<Integer>(by_bucket ? window.key_buckets()[r] : -1));
    const auto none = hn::Set(d, hidden<T>), penalty = hn::Set(d, own_penalty());
    for (Size i = 0; i < width; i += lanes(d)) {
      const auto query = hn::LoadU(di, positions_ + i);
      const auto own = hn::Eq(position, query);
      auto seen = padding ? own : hn::Eq(bucket, hn::LoadU(di, buckets_ + i));
      if (p.causal) seen = hn::AndNot(hn::Gt(position, query), seen);
      if (hn::AllFalse(di, seen)) {
        hn::StoreU(none, d, row + i);
        continue;
      }
      auto score = hn::LoadU(d, row + i);
      const auto itself = hn::RebindMask(d, own);
      if (p.self_last && p.self_replaced) score = hn::IfThenElse(itself, hn::Neg(penalty), score);
      if (window.corrects()) score = corrected(score, key, i, seen);
      if (p.self_last && !p.self_replaced) score = hn::IfThenElse(itself, hn::Sub(score, penalty), score);
      hn::StoreU(hn::IfThenElse(hn::RebindMask(d, seen), score, none), d, row + i);
    }
  }

  /// score - log N for a key and the queries from i on, where they see it.
  template <class V, class M>
  V corrected(V score, std::int32_t key, Size i, M seen) {
    const hn::ScalableTag<T> d;
    const hn::ScalableTag<Integer> di;
    const ChunkWindow::Place* places = window.places(key);
    const Size length = p.before + 1 + p.after;  // of a window, in chunks
    const Size after = p.ring ? p.after % window.chunks() : p.after;
    const auto ring = hn::Set(di, static_cast<Integer>(window.chunks())), before_all = hn::Set(di, Integer{-1});
    auto times = hn::Zero(di);
    for (Size round = 0; round < p.rounds; ++round) {
      const auto chunk = hn::LoadU(di, place_chunks(round) + i), bucket = hn::LoadU(di, place_buckets(round) + i);
      const bool apart = window.rounds_apart();
      for (Size other = apart ? round : 0; other < (apart ? round + 1 : p.rounds); ++other) {
        // The key's chunk in the query's window, counted from its end.
        auto place = hn::Sub(chunk, hn::Set(di, static_cast<Integer>(places[other].chunk - after)));
        if (p.ring) {
          place = hn::IfThenElse(hn::Gt(place, before_all), place, hn::Add(place, ring));
          place = hn::IfThenElse(hn::Lt(place, ring), place, hn::Sub(place, ring));
        }
        auto meets = hn::Gt(place, before_all);
        if (window.by_bucket())
          meets = hn::And(meets, hn::Eq(bucket, hn::Set(di, static_cast<Integer>(places[other].bucket))));
        // A window that is longer than the ring comes round again.
        for (Size lap = 0; lap < length; lap += p.ring ? window.chunks() : length) {
          const auto met = hn::And(meets, hn::Lt(place, hn::Set(di, static_cast<Integer>(length - lap))));
          times = hn::Sub(times, hn::VecFromMask(di, met));
        }
      }
    }
    const auto often = hn::And(seen, hn::Gt(times, hn::Set(di, Integer{1})));
    if (hn::AllFalse(di, often)) return score;
    const auto lowered = hn::Sub(score, log2(hn::ConvertTo(d, times)));
    return hn::IfThenElse(hn::RebindMask(d, often), lowered, score);
  }

  const Size rows_;
  Workspace<T> work_;
  Size first_ = 0;
  Integer positions_[tile_queries], buckets_[tile_queries];
  std::vector<Integer> query_places_;  // [R][2][tile_queries]: chunks and buckets

 public:
  T *const q_columns, *const k, *const v, *const s, *const factor;
};

/// Replaced scores exist to match code that takes a row's logarithm in each round and over all of them in T. A score of
/// -1e5 leaves a float few digits for the logarithm beside it, so that the weights of a query that sees only itself do
/// not quite add up to 1. exp(log(sum) as rounded - log(sum)) for a sum of powers relative to `largest`.
template <class T>
double rounding_of_log(const ChunkTile<T>& tile, T largest, double sum) {
  const double shift =
      largest == -tile.own_penalty() ? -tile.p.self_penalty : static_cast<double>(largest) * std::numbers::ln2;
  const double exact = shift + std::log(sum);
  return std::exp(static_cast<double>(static_cast<T>(exact)) - exact);
}

template <class T>
void forward_task(const ChunkPlan& p, Size task, const ChunkedOperands<T>& x, Heads<T> out, T* largest, T* inverse) {
  ChunkTile<T> tile(p, task);
  const Size b = tile.b, h = tile.h, d = p.head_dim;
  std::vector<double> total(static_cast<std::size_t>(p.length));
  std::fill_n(largest, p.length, hidden<T>);
  for (Size i = 0; i < p.length; ++i) std::fill_n(out.row(b, h, i), d, T{0});
  Workspace<T> w{tile_queries * d};
  T* o = w.take(tile_queries * d);
  tile.for_tiles(x, [&] {
    alignas(64) T top[tile_queries], shift[tile_queries], sum[tile_queries], keep[tile_queries] = {},
                                                                             take[tile_queries] = {};
    std::fill_n(top, tile_queries, hidden<T>);
    take_largest(tile.s, tile.keys(), tile.width, top);
    for (Size i = 0; i < tile.width; ++i) shift[i] = top[i] == hidden<T> ? T{0} : top[i];
    take_powers(tile.s, tile.keys(), tile.width, shift, sum);
    if (tile.factor) {
      tile.draw_factors();
      for (Size i = 0; i < tile.keys() * tile_queries; ++i) tile.s[i] *= tile.factor[i];
    }
    tile_product(Left::columns, tile.count, d, tile.keys(), tile.s, tile_queries, tile.v, d, o, d, false);
    // Joins this round's sums with those of the rounds before.
    for (Size i = 0; i < tile.count; ++i) {
      T& known = largest[tile.query(i)];
      const T joint = std::max(known, top[i]), base = joint == hidden<T> ? T{0} : joint;
      keep[i] = known - base;
      take[i] = shift[i] - base;
      known = joint;
    }
    const auto power = [](auto v) ATTUNE_SIMD { return exp2_below(v); };
    map(keep, keep, tile.width, power);
    map(take, take, tile.width, power);
    for (Size i = 0; i < tile.count; ++i) {
      if (sum[i] == 0) continue;
      double found = static_cast<double>(sum[i]);
      if (p.self_replaced) found *= rounding_of_log(tile, shift[i], found);
      double& all = total[static_cast<std::size_t>(tile.query(i))];
      all = all * static_cast<double>(keep[i]) + found * static_cast<double>(take[i]);
      T* y = out.row(b, h, tile.query(i));
      for (Size j = 0; j < d; ++j) y[j] = keep[i] * y[j] + take[i] * o[i * d + j];
    }
  });
  for (Size i = 0; i < p.length; ++i) {
    const double all = total[static_cast<std::size_t>(i)];
    if (largest[i] == hidden<T>) largest[i] = 0;
    inverse[i] =
        all == 0 ? T{0} : static_cast<T>(1 / (p.self_replaced ? all * rounding_of_log(tile, largest[i], all) : all));
    T* y = out.row(b, h, i);
    for (Size j = 0; j < d; ++j) y[j] *= inverse[i];
  }
}

template <class T>
void scatter_add(const T* from, const std::int32_t* rows, Size count, Size d, Size b, Size h, Heads<T> to) {
  for (Size i = 0; i < count; ++i) {
    T* y = to.row(b, h, rows[i]);
    for (Size j = 0; j < d; ++j) y[j] += from[i * d + j];
  }
}

template <class T>
void backward_task(const ChunkPlan& p, Size task, const ChunkedOperands<T>& x, Heads<const T> out, const T* largest,
                   const T* inverse, Heads<const T> dout, Heads<T> dq, Heads<T> dk, Heads<T> dv) {
  ChunkTile<T> tile(p, task);
  const Size b = tile.b, h = tile.h, d = p.head_dim, block = tile_queries * d;
  std::vector<T> means(static_cast<std::size_t>(p.length));  // sum_j p_ij dp_ij = dout_i . out_i
  for (Size i = 0; i < p.length; ++i) {
    const T *y = out.row(b, h, i), *g = dout.row(b, h, i);
    const double dot = sum<4>(hn::ScalableTag<T>(), d, [=](auto step, Size j) ATTUNE_SIMD {
      return hn::Mul(step.load(y + j), step.load(g + j));
    });
    means[static_cast<std::size_t>(i)] = inverse[i] == 0 ? T{0} : static_cast<T>(dot) * inverse[i];
    std::fill_n(dq.row(b, h, i), d, T{0});
    std::fill_n(dk.row(b, h, i), d, T{0});
    std::fill_n(dv.row(b, h, i), d, T{0});
  }
  Workspace<T> w{block, block, block, block, tile.rows() * tile_queries, tile.rows() * d};
  T *q = w.take(block), *dy = w.take(block), *dy_columns = w.take(block), *gq = w.take(block);
  T *g = w.take(tile.rows() * tile_queries), *gk = w.take(tile.rows() * d);
  const T scale = static_cast<T>(p.scale);
  tile.for_tiles(x, [&] {
    // dy comes divided by the sums, so that powers of 2 can stand for the probabilities.
    alignas(64) T shift[tile_queries] = {}, mean[tile_queries] = {};
    std::int32_t queries[tile_queries];
    for (Size i = 0; i < tile.count; ++i) {
      const std::int32_t at = queries[i] = tile.query(i);
      const T *from = dout.row(b, h, at), *row = x.q.row(b, h, at), factor = inverse[at];
      for (Size j = 0; j < d; ++j) dy[i * d + j] = factor == 0 ? T{0} : from[j] * factor;
      for (Size j = 0; j < d; ++j) q[i * d + j] = row[j] * scale;
      shift[i] = largest[at];
      mean[i] = means[static_cast<std::size_t>(at)];
    }
    transpose_rows([&](Size i) { return dy + i * d; }, tile.count, d, T{1}, dy_columns);
    tile_product(Left::rows, tile.keys(), tile.width, d, tile.v, d, dy_columns, tile_queries, g, tile_queries, false);
    if (tile.factor) tile.draw_factors();
    take_gradients(tile.s, g, tile.factor, tile.keys(), tile.width, shift, mean);
    if (p.self_last && p.self_replaced)
      for (Size r = 0; r < tile.keys(); ++r)
        for (Size i = 0; i < tile.count; ++i)
          if (tile.window.keys()[r] == queries[i]) g[r * tile_queries + i] = 0;
    tile_product(Left::columns, tile.count, d, tile.keys(), g, tile_queries, tile.k, d, gq, d, false);
    for (Size i = 0; i < tile.count * d; ++i) gq[i] *= scale;
    scatter_add(gq, queries, tile.count, d, b, h, dq);
    tile_product(Left::rows, tile.keys(), d, tile.count, g, tile_queries, q, d, gk, d, false);
    scatter_add(gk, tile.window.keys(), tile.keys(), d, b, h, dk);
    tile_product(Left::rows, tile.keys(), d, tile.count, tile.s, tile_queries, dy, d, gk, d, false);
    scatter_add(gk, tile.window.keys(), tile.keys(), d, b, h, dv);
  });
}

template <class T>
inline constexpr ChunkedKernels<T> chunked_kernels = {forward_task<T>, backward_task<T>};

const ChunkedKernels<float>& chunked_f32() { return chunked_kernels<float>; }
const ChunkedKernels<double>& chunked_f64() { return chunked_kernels<double>; }

}  // namespace attune::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune::kernels {

HWY_EXPORT(chunked_f32);
HWY_EXPORT(chunked_f64);

template <class T>
static const ChunkedKernels<T>& kernels() {
  if constexpr (sizeof(T) == 4)
    return HWY_DYNAMIC_DISPATCH(chunked_f32)();
  else
    return HWY_DYNAMIC_DISPATCH(chunked_f64)();
}

template <class T>
void chunked_attention(const ChunkPlan& p, Heads<const T> q, Heads<const T> k, Heads<const T> v, Heads<T> out,
                       T* largest, T* inverse) {
  parallel_for(p.batch * p.heads, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task)
      kernels<T>().forward(p, task, {q, k, v}, out, largest + task * p.length, inverse + task * p.length);
  });
}

template <class T>
void chunked_attention_grad(const ChunkPlan& p, Heads<const T> q, Heads<const T> k, Heads<const T> v,
                            Heads<const T> out, const T* largest, const T* inverse, Heads<const T> dout, Heads<T> dq,
                            Heads<T> dk, Heads<T> dv) {
  parallel_for(p.batch * p.heads, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task)
      kernels<T>().backward(p, task, {q, k, v}, out, largest + task * p.length, inverse + task * p.length, dout, dq, dk,
                            dv);
  });
}

#define ATTUNE_INSTANTIATE(T)                                                                                          \
  template void chunked_attention(const ChunkPlan&, Heads<const T>, Heads<const T>, Heads<const T>, Heads<T>, T*, T*); \
  template void chunked_attention_grad(const ChunkPlan&, Heads<const T>, Heads<const T>, Heads<const T>,               \
                                       Heads<const T>, const T*, const T*, Heads<const T>, Heads<T>, Heads<T>,         \
                                       Heads<T>);
ATTUNE_INSTANTIATE(float)
ATTUNE_INSTANTIATE(double)
#undef ATTUNE_INSTANTIATE

}  // namespace attune::kernels
#endif
