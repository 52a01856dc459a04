#include "autograd/kernels/attention/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "autograd/kernels/attention/attention_tile.h"
#include "autograd/kernels/buffer.h"
#include "autograd/kernels/simd_targets.h"
#include "autograd/runtime/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/attention/attention.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h:
#include "autograd/kernels/attention/attention_tile-inl.h"

#ifndef ATTUNE_KERNELS_ATTENTION_ONCE_
#define ATTUNE_KERNELS_ATTENTION_ONCE_
namespace attune::kernels {

/// What runs on one thread: some queries of one head, or some of its keys with all queries that see them.
template <class T>
struct AttentionKernels {
  void (*forward)(const AttentionPlan<T>& p, std::int64_t b, std::int64_t h, std::int64_t first, Heads<T> out,
                  AttentionSums<T> sums);
  void (*backward)(const AttentionPlan<T>& p, std::int64_t b, std::int64_t h, std::int64_t begin, std::int64_t end,
                   Heads<const T> out, AttentionSums<const T> sums, Heads<const T> dout, Heads<T> dq, Heads<T> dk,
                   Heads<T> dv, T* dbias);
};

}  // namespace attune::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace attune::kernels::HWY_NAMESPACE {

/// Some queries of one head.
template <class T>
struct Queries {
  const AttentionPlan<T>& p;
  Size b, h, first, count;

  Queries(const AttentionPlan<T>& plan, Size b_, Size h_, Size first_)
      : p(plan), b(b_), h(h_), first(first_), count(std::min(tile_queries, plan.queries - first_)) {}

  /// Of all [b h t] queries.
  Size row() const { return (b * p.heads + h) * p.queries + first; }
  Size width() const { return tile_width<T>(count); }
  /// Keys that the last of them sees.
  Size visible() const { return p.causal ? std::clamp(first + count + p.keys - p.queries, Size{0}, p.keys) : p.keys; }
  T score_unit() const { return static_cast<T>(p.scale * std::numbers::log2e); }
};

/// s[r][i] for keys first + r: the bias added, hidden ones -inf.
template <class T>
void apply_terms(const Queries<T>& x, Size key, Size keys, T* s) {
  const AttentionPlan<T>& p = x.p;
  constexpr T unit = std::numbers::log2e_v<T>;
  if (const ScoreTerm<T>& bias = p.bias; bias.data != nullptr)
    for (Size i = 0; i < x.count; ++i) {
      const T* from = bias.at(x.b, x.h, x.first + i, key);
      for (Size r = 0; r < keys; ++r) {
        const T b = from[r * bias.column_stride];  // the least finite number, a usual mask, must stay finite
        s[r * tile_queries + i] +=
            std::isinf(b) ? b : std::clamp(unit * b, std::numeric_limits<T>::lowest(), std::numeric_limits<T>::max());
      }
    }
  if (const ScoreTerm<bool>& mask = p.attention_mask; mask.data != nullptr) {
    if (mask.row_stride == 0) {
      const bool* from = mask.at(x.b, x.h, 0, key);
      for (Size r = 0; r < keys; ++r)
        if (from[r * mask.column_stride]) std::fill_n(s + r * tile_queries, x.count, hidden<T>);
    } else {
      for (Size i = 0; i < x.count; ++i) {
        const bool* from = mask.at(x.b, x.h, x.first + i, key);
        for (Size r = 0; r < keys; ++r) {
          T& y = s[r * tile_queries + i];
          y = from[r * mask.column_stride] ? hidden<T> : y;
        }
      }
    }
  }
  if (p.causal) {
    // Key key + r is hidden from queries below key + r - (s - t).
    const Size offset = key - (p.keys - p.queries) - x.first;
    for (Size r = std::max(Size{0}, 1 - offset); r < keys; ++r)
      std::fill_n(s + r * tile_queries, std::min(offset + r, x.count), hidden<T>);
  }
}

/// s = the masked scores of keys key..key + keys, from the queries' transpose.
template <class T>
void scores_of(const Queries<T>& x, const T* q_columns, Size key, Size keys, T* s) {
  tile_product(Left::rows, keys, x.width(), x.p.head_dim, x.p.k.row(x.b, x.h, key), x.p.k.row_stride, q_columns,
               tile_queries, s, tile_queries, false);
  apply_terms(x, key, keys, s);
}

/// factor[r][i] = 0 or 1 / (1 - p), as kernels::dropout draws them.
template <class T>
void draw_factors(const Queries<T>& x, Size key, Size keys, T* factor) {
  const DropoutFactor<T> rule(x.p.dropout);
  alignas(64) std::uint32_t words[4][tile_queries];
  for (Size r = 0; r < keys; r += 4) {
    draw_words(x.p.dropout_key, x.row(), (x.p.keys + 3) / 4, (key + r) / 4, words);
    for (Size w = 0; w < std::min(Size{4}, keys - r); ++w) rule.apply(words[w], factor + (r + w) * tile_queries);
  }
}

template <class T>
void forward_queries(const AttentionPlan<T>& p, Size b, Size h, Size first, Heads<T> out, AttentionSums<T> sums) {
  const Queries<T> x(p, b, h, first);
  const Size d = p.head_dim, e = p.value_dim, width = x.width(), tile = tile_keys * tile_queries;
  Workspace<T> w{d * tile_queries, tile, tile_queries * e, p.dropout > 0 ? tile : 0};
  T *q_columns = w.take(d * tile_queries), *s = w.take(tile), *o = w.take(tile_queries * e);
  T* factor = p.dropout > 0 ? w.take(tile) : nullptr;
  transpose_rows([&](Size i) { return p.q.row(b, h, first + i); }, x.count, d, x.score_unit(), q_columns);
  alignas(64) T largest[tile_queries], before[tile_queries], shift[tile_queries], sum[tile_queries];
  double total[tile_queries];
  std::fill_n(largest, tile_queries, hidden<T>);
  std::fill_n(shift, tile_queries, T{0});
  std::fill_n(total, tile_queries, 0.0);
  const Size visible = x.visible();
  for (Size key = 0; key < visible; key += tile_keys) {
    const Size keys = std::min(tile_keys, visible - key);
    scores_of(x, q_columns, key, keys, s);
    std::copy_n(largest, tile_queries, before);
    take_largest(s, keys, width, largest);
    for (Size i = 0; i < width; ++i) shift[i] = largest[i] == hidden<T> ? T{0} : largest[i];
    take_powers(s, keys, width, shift, sum);
    for (Size i = 0; i < width; ++i) before[i] -= shift[i];
    map(before, before, width, [](auto v) ATTUNE_SIMD { return exp2_below(v); });
    for (Size i = 0; i < x.count; ++i) {
      total[i] = total[i] * static_cast<double>(before[i]) + static_cast<double>(sum[i]);
      if (key > 0 && before[i] != T{1})
        for (Size j = 0; j < e; ++j) o[i * e + j] *= before[i];
    }
    if (factor) {
      draw_factors(x, key, keys, factor);
      for (Size i = 0; i < keys * tile_queries; ++i) s[i] *= factor[i];
    }
    tile_product(Left::columns, x.count, e, keys, s, tile_queries, p.v.row(b, h, key), p.v.row_stride, o, e, key > 0);
  }
  for (Size i = 0; i < x.count; ++i) {
    T* y = out.row(b, h, first + i);
    const T inverse = total[i] == 0 ? T{0} : static_cast<T>(1 / total[i]);
    if (total[i] == 0)
      std::fill_n(y, e, T{0});
    else
      for (Size j = 0; j < e; ++j) y[j] = o[i * e + j] * inverse;
    sums.largest[x.row() + i] = shift[i];
    sums.inverse[x.row() + i] = inverse;
  }
}

template <class T>
void backward_keys(const AttentionPlan<T>& p, Size b, Size h, Size begin, Size end, Heads<const T> out,
                   AttentionSums<const T> sums, Heads<const T> dout, Heads<T> dq, Heads<T> dk, Heads<T> dv, T* dbias) {
  const Size d = p.head_dim, e = p.value_dim, tile = tile_keys * tile_queries;
  const Size rows = tile_queries;
  const Size dropped = p.dropout > 0 ? tile : 0;
  Workspace<T> w{d * rows, d * rows, d * rows, e * rows, e * rows, tile, tile, dropped};
  T *q_columns = w.take(d * rows), *q = w.take(d * rows), *gq = w.take(d * rows);
  T *dy_columns = w.take(e * rows), *dy = w.take(e * rows), *s = w.take(tile), *g = w.take(tile);
  T* factor = dropped ? w.take(tile) : nullptr;
  const T scale = static_cast<T>(p.scale);
  for (Size j = begin; j < end; ++j) {
    std::fill_n(dk.row(b, h, j), d, T{0});
    std::fill_n(dv.row(b, h, j), e, T{0});
  }
  for (Size first = 0; first < p.queries; first += tile_queries) {
    const Queries<T> x(p, b, h, first);
    const Size visible = std::min(x.visible(), end);
    if (visible <= begin) {
      for (Size i = 0; i < x.count; ++i) std::fill_n(dq.row(b, h, first + i), d, T{0});
      continue;
    }
    // dy comes divided by the sums, so that powers of 2 can stand for the probabilities.
    alignas(64) T shift[tile_queries] = {}, mean[tile_queries] = {};
    for (Size i = 0; i < x.count; ++i) {
      shift[i] = sums.largest[x.row() + i];
      const T inverse = sums.inverse[x.row() + i];
      const T *from = dout.row(b, h, first + i), *y = out.row(b, h, first + i), *row = p.q.row(b, h, first + i);
      for (Size j = 0; j < e; ++j) dy[i * e + j] = inverse == 0 ? T{0} : from[j] * inverse;
      mean[i] = static_cast<T>(sum<4>(hn::ScalableTag<T>(), e, [&](auto step, Size j) ATTUNE_SIMD {
        return hn::Mul(step.load(dy + i * e + j), step.load(y + j));
      }));
      for (Size j = 0; j < d; ++j) q[i * d + j] = row[j] * scale;
    }
    transpose_rows([&](Size i) { return p.q.row(b, h, first + i); }, x.count, d, x.score_unit(), q_columns);
    transpose_rows([&](Size i) { return dy + i * e; }, x.count, e, T{1}, dy_columns);
    for (Size key = begin; key < visible; key += tile_keys) {
      const Size keys = std::min(tile_keys, visible - key);
      scores_of(x, q_columns, key, keys, s);
      tile_product(Left::rows, keys, x.width(), e, p.v.row(b, h, key), p.v.row_stride, dy_columns, tile_queries, g,
                   tile_queries, false);
      if (factor) draw_factors(x, key, keys, factor);
      take_gradients(s, g, factor, keys, x.width(), shift, mean);
      if (dbias)
        for (Size i = 0; i < x.count; ++i)
          for (Size r = 0; r < keys; ++r) dbias[(x.row() + i) * p.keys + key + r] = g[r * tile_queries + i];
      tile_product(Left::rows, keys, e, x.count, s, tile_queries, dy, e, dv.row(b, h, key), dv.row_stride, true);
      tile_product(Left::rows, keys, d, x.count, g, tile_queries, q, d, dk.row(b, h, key), dk.row_stride, true);
      tile_product(Left::columns, x.count, d, keys, g, tile_queries, p.k.row(b, h, key), p.k.row_stride, gq, d,
                   key > begin);
    }
    for (Size i = 0; i < x.count; ++i) {
      T* y = dq.row(b, h, first + i);
      for (Size j = 0; j < d; ++j) y[j] = gq[i * d + j] * scale;
    }
  }
}

template <class T>
inline constexpr AttentionKernels<T> attention_kernels = {forward_queries<T>, backward_keys<T>};

const AttentionKernels<float>& attention_f32() { return attention_kernels<float>; }
const AttentionKernels<double>& attention_f64() { return attention_kernels<double>; }

}  // namespace attune::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune::kernels {

HWY_EXPORT(attention_f32);
HWY_EXPORT(attention_f64);

namespace {

using Size = std::int64_t;

template <class T>
const AttentionKernels<T>& kernels() {
  if constexpr (sizeof(T) == 4)
    return HWY_DYNAMIC_DISPATCH(attention_f32)();
  else
    return HWY_DYNAMIC_DISPATCH(attention_f64)();
}

constexpr double worth_sharing = 1 << 20;  // multiplications
constexpr Size least_tasks = 8;

Size pieces(Size n, Size of) { return (n + of - 1) / of; }

/// Multiplications of `queries` queries of one head with all keys.
template <class T>
double work_of(const AttentionPlan<T>& p, Size queries) {
  return static_cast<double>(queries) * static_cast<double>(p.keys) * static_cast<double>(p.head_dim + p.value_dim);
}

/// In how many groups a head's keys are computed: each needs its own dq.
template <class T>
Size groups_of(const AttentionPlan<T>& p) {
  const Size heads = p.batch * p.heads;
  if (heads >= least_tasks || work_of(p, p.queries) < 4 * worth_sharing) return 1;
  return std::clamp(pieces(least_tasks, std::max<Size>(heads, 1)), Size{1}, pieces(p.keys, tile_keys));
}

}  // namespace

template <class T>
void attention(const AttentionPlan<T>& p, Heads<T> out, AttentionSums<T> sums) {
  const Size blocks = pieces(p.queries, tile_queries);
  const double work = work_of(p, tile_queries);
  const Size grain = work >= worth_sharing ? 1 : static_cast<Size>(worth_sharing / std::max(work, 1.0));
  parallel_for(p.batch * p.heads * blocks, grain, [&](Size begin, Size end) {
    for (Size task = begin; task < end; ++task) {
      const Size head = task / blocks, block = blocks - 1 - task % blocks;  // causal: those who see most come first
      kernels<T>().forward(p, head / p.heads, head % p.heads, block * tile_queries, out, sums);
    }
  });
}

template <class T>
void attention_grad(const AttentionPlan<T>& p, Heads<const T> out, AttentionSums<const T> sums, Heads<const T> dout,
                    Heads<T> dq, Heads<T> dk, Heads<T> dv, T* dbias) {
  const Size heads = p.batch * p.heads, groups = groups_of(p), tiles = pieces(p.keys, tile_keys);
  const Size dense = heads * p.queries * p.head_dim;
  const Buffer<T> partial((groups - 1) * dense);
  if (dbias) std::fill_n(dbias, heads * p.queries * p.keys, T{0});
  const auto part = [&](Size group) {
    const Size row = p.head_dim, head = p.queries * row;
    return group == 0 ? dq : Heads<T>{partial.data() + (group - 1) * dense, p.heads * head, head, row};
  };
  const double work = work_of(p, p.queries);
  const Size grain = work >= worth_sharing ? 1 : static_cast<Size>(worth_sharing / std::max(work, 1.0));
  parallel_for(groups * heads, grain, [&](Size first, Size last) {
    for (Size task = first; task < last; ++task) {
      // Causal: the first keys are seen most. Those and the last in turns, so that threads have the same to do.
      const Size head = task / groups, turn = task % groups, group = turn % 2 == 0 ? turn / 2 : groups - 1 - turn / 2;
      const Size begin = group * tiles / groups * tile_keys;
      const Size end = std::min((group + 1) * tiles / groups * tile_keys, p.keys);
      kernels<T>().backward(p, head / p.heads, head % p.heads, begin, end, out, sums, dout, part(group), dk, dv, dbias);
    }
  });
  if (groups == 1) return;
  parallel_for(heads * p.queries, 64, [&](Size first, Size last) {
    for (Size row = first; row < last; ++row) {
      const Size b = row / p.queries / p.heads, h = row / p.queries % p.heads, i = row % p.queries;
      T* y = dq.row(b, h, i);
      for (Size group = 1; group < groups; ++group) {
        const T* x = part(group).row(b, h, i);
        for (Size j = 0; j < p.head_dim; ++j) y[j] += x[j];
      }
    }
  });
}

#define ATTUNE_INSTANTIATE(T)                                                                                   \
  template void attention(const AttentionPlan<T>&, Heads<T>, AttentionSums<T>);                                 \
  template void attention_grad(const AttentionPlan<T>&, Heads<const T>, AttentionSums<const T>, Heads<const T>, \
                               Heads<T>, Heads<T>, Heads<T>, T*);
ATTUNE_INSTANTIATE(float)
ATTUNE_INSTANTIATE(double)
#undef ATTUNE_INSTANTIATE

}  // namespace attune::kernels
#endif
