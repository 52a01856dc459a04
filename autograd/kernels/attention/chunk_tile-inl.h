// The scores of a chunk's queries against its window, a tile at a time. Compiled once per instruction set.
#if defined(ATTUNE_KERNELS_CHUNK_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTUNE_KERNELS_CHUNK_TILE_INL_H_
#undef ATTUNE_KERNELS_CHUNK_TILE_INL_H_
#else
#define ATTUNE_KERNELS_CHUNK_TILE_INL_H_
#endif

#include <algorithm>
#include <vector>

#include "autograd/kernels/attention/attention_tile-inl.h"
#include "autograd/kernels/attention/chunk_window.h"

HWY_BEFORE_NAMESPACE();
namespace attune::kernels::HWY_NAMESPACE {

/// Some queries of a window's chunk, and the tile of their scores against the window's keys.
template <class T>
class ChunkTile {
 public:
  using Integer = hwy::MakeSigned<T>;  // as wide as T, so that a comparison's lanes are those of the scores

  ChunkTile(const ChunkPlan& plan, Size task, const ChunkedOperands<T>& x)
      : o(plan.settings),
        b(task / plan.heads),
        h(task % plan.heads),
        d(plan.head_dim),
        window(plan, task),
        rows(window.whole_columns()),
        x_(x),
        work_{d * tile_queries, rows * d, rows * d, rows * tile_queries, o.dropout > 0 ? rows * tile_queries : 0},
        query_places_(static_cast<std::size_t>(window.corrects() ? 2 * o.rounds * tile_queries : 0)),
        q_columns_(work_.take(d * tile_queries)),
        k(work_.take(rows * d)),
        v(work_.take(rows * d)),
        s(work_.take(rows * tile_queries)),
        factor(o.dropout > 0 ? work_.take(rows * tile_queries) : nullptr) {}

  /// f() for every tile, in order, with its scores in s.
  template <class F>
  void for_tiles(F f) {
    for (Size chunk = 0; chunk < window.chunks(); ++chunk) {
      window.move_to(chunk);
      for (Size r = 0; r < keys(); ++r) {
        std::copy_n(x_.k.row(b, h, window.keys()[r]), d, k + r * d);
        std::copy_n(x_.v.row(b, h, window.keys()[r]), d, v + r * d);
      }
      for (first_ = 0; first_ < o.chunk; first_ += tile_queries) {
        count = std::min(tile_queries, o.chunk - first_);
        width = tile_width<T>(count);
        compute_scores();
        f();
      }
    }
  }

  Size keys() const { return window.columns(); }
  /// The position of the tile's i-th query.
  std::int32_t query(Size i) const { return window.query(first_ + i); }
  /// In units of log 2.
  T own_penalty() const { return static_cast<T>(o.self_penalty * std::numbers::log2e); }

  /// factor[r][i] of dropout.
  void draw_factors() {
    const DropoutFactor<T> rule(o.dropout);
    alignas(64) std::uint32_t words[4][tile_queries];
    Size drawn = -1;
    for (Size r = 0; r < keys(); ++r) {
      const Size place = window.offsets()[r];
      if (place / 4 != drawn) {
        drawn = place / 4;
        draw_words(o.dropout_key, window.dropout_row_number(first_), (rows + 3) / 4, drawn, words);
      }
      rule.apply(words[place % 4], factor + r * tile_queries);
    }
  }

  const ChunkSettings& o;
  const Size b, h, d;
  ChunkWindow window;
  const Size rows;            ///< the most keys
  Size count = 0, width = 0;  ///< queries, and columns that are computed

 private:
  void compute_scores() {
    transpose_rows([&](Size i) { return x_.q.row(b, h, query(i)); }, count, d,
                   static_cast<T>(o.scale * std::numbers::log2e), q_columns_);
    tile_product(Left::rows, keys(), width, d, k, d, q_columns_, tile_queries, s, tile_queries, false);
    find_queries();
    for (Size r = 0; r < keys(); ++r) mask_row(r);
  }

  void find_queries() {
    std::fill_n(positions_, tile_queries, Integer{-1});
    std::fill_n(buckets_, tile_queries, Integer{-1});
    for (Size i = 0; i < count; ++i) {
      positions_[i] = query(i);
      if (window.by_bucket()) buckets_[i] = window.query_bucket(first_ + i);
      for (Size r = 0; window.corrects() && r < o.rounds; ++r) {
        const ChunkWindow::Place place = window.places(query(i))[r];
        place_chunks(r)[i] = place.chunk;
        place_buckets(r)[i] = place.bucket;
      }
    }
  }

  Integer* place_chunks(Size round) { return query_places_.data() + 2 * round * tile_queries; }
  Integer* place_buckets(Size round) { return place_chunks(round) + tile_queries; }

  /// What is not seen becomes -inf, a query's own score falls, and a pair that meets N times loses log N.
  void mask_row(Size r) {
    T* row = s + r * tile_queries;
    const bool padding = window.is_padding(r), by_bucket = window.by_bucket();
    if (padding && !o.self_last) {
      std::fill_n(row, width, hidden<T>);
      return;
    }
    const hn::ScalableTag<T> dt;
    const hn::ScalableTag<Integer> di;
    const std::int32_t key = window.keys()[r];
    const auto position = hn::Set(di, static_cast<Integer>(key));
    const auto bucket = hn::Set(di, static_cast<Integer>(by_bucket ? window.key_buckets()[r] : -1));
    const auto none = hn::Set(dt, hidden<T>), penalty = hn::Set(dt, own_penalty());
    for (Size i = 0; i < width; i += lanes(dt)) {
      const auto query = hn::LoadU(di, positions_ + i);
      const auto own = hn::Eq(position, query);
      auto seen = padding ? own : hn::Eq(bucket, hn::LoadU(di, buckets_ + i));
      if (o.causal) seen = hn::AndNot(hn::Gt(position, query), seen);
      if (hn::AllFalse(di, seen)) {
        hn::StoreU(none, dt, row + i);
        continue;
      }
      auto score = hn::LoadU(dt, row + i);
      const auto itself = hn::RebindMask(dt, own);
      if (o.self_last && o.self_replaced) score = hn::IfThenElse(itself, hn::Neg(penalty), score);
      if (window.corrects()) score = corrected(score, key, i, seen);
      if (o.self_last && !o.self_replaced) score = hn::IfThenElse(itself, hn::Sub(score, penalty), score);
      hn::StoreU(hn::IfThenElse(hn::RebindMask(dt, seen), score, none), dt, row + i);
    }
  }

  /// score - log N for a key and the queries from i on that see it.
  template <class V, class M>
  V corrected(V score, std::int32_t key, Size i, M seen) {
    const hn::ScalableTag<T> dt;
    const hn::ScalableTag<Integer> di;
    const auto times = meetings(key, i);
    const auto often = hn::And(seen, hn::Gt(times, hn::Set(di, Integer{1})));
    if (hn::AllFalse(di, often)) return score;
    const auto lowered = hn::Sub(score, log2(hn::ConvertTo(dt, times)));
    return hn::IfThenElse(hn::RebindMask(dt, often), lowered, score);
  }

  /// How often the key is in the windows, and the bucket, of the queries from i on, over all rounds.
  hn::Vec<hn::ScalableTag<Integer>> meetings(std::int32_t key, Size i) {
    const hn::ScalableTag<Integer> di;
    const ChunkWindow::Place* places = window.places(key);
    const Size length = o.before + 1 + o.after;  // of a window, in chunks
    const Size after = o.ring ? o.after % window.chunks() : o.after;
    const auto ring = hn::Set(di, static_cast<Integer>(window.chunks())), before_all = hn::Set(di, Integer{-1});
    const bool apart = window.rounds_apart();
    auto times = hn::Zero(di);
    for (Size round = 0; round < o.rounds; ++round) {
      const auto chunk = hn::LoadU(di, place_chunks(round) + i), bucket = hn::LoadU(di, place_buckets(round) + i);
      for (Size other = apart ? round : 0; other < (apart ? round + 1 : o.rounds); ++other) {
        // The key's chunk in the query's window, counted from its end.
        auto place = hn::Sub(chunk, hn::Set(di, static_cast<Integer>(places[other].chunk - after)));
        if (o.ring) {
          place = hn::IfThenElse(hn::Gt(place, before_all), place, hn::Add(place, ring));
          place = hn::IfThenElse(hn::Lt(place, ring), place, hn::Sub(place, ring));
        }
        auto meets = hn::Gt(place, before_all);
        if (window.by_bucket())
          meets = hn::And(meets, hn::Eq(bucket, hn::Set(di, static_cast<Integer>(places[other].bucket))));
        // A window that is longer than the ring comes round again.
        for (Size lap = 0; lap < length; lap += o.ring ? window.chunks() : length) {
          const auto met = hn::And(meets, hn::Lt(place, hn::Set(di, static_cast<Integer>(length - lap))));
          times = hn::Sub(times, hn::VecFromMask(di, met));
        }
      }
    }
    return times;
  }

  const ChunkedOperands<T> x_;
  Workspace<T> work_;
  Size first_ = 0;
  Integer positions_[tile_queries], buckets_[tile_queries];  // of the queries
  std::vector<Integer> query_places_;                        // [R][2][tile_queries]: chunks and buckets
  T* const q_columns_;

 public:
  T *const k, *const v;  ///< [keys][d]
  T* const s;            ///< [keys][tile_queries]
  T* const factor;       ///< the same of dropout, or null
};

}  // namespace attune::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
