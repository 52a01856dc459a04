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
#include "autograd/kernels/attention/chunk_tile-inl.h"

#ifndef ATTUNE_KERNELS_CHUNKED_ATTENTION_ONCE_
#define ATTUNE_KERNELS_CHUNKED_ATTENTION_ONCE_
namespace attune::kernels {

/// What runs on one thread: a task.
template <class T>
struct ChunkedKernels {
  void (*forward)(const ChunkPlan& p, Size task, const ChunkedOperands<T>& x, Heads<T> out, AttentionSums<T> sums);
  void (*backward)(const ChunkPlan& p, Size task, const ChunkedOperands<T>& x, Heads<const T> out,
                   AttentionSums<const T> sums, Heads<const T> dout, const ChunkedGradients<T>& to);
};

}  // namespace attune::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace attune::kernels::HWY_NAMESPACE {

/// [n] of a task.
template <class T>
AttentionSums<T> of_task(AttentionSums<T> sums, const ChunkPlan& p, Size task) {
  return {sums.largest + task * p.length, sums.inverse + task * p.length};
}

/// Replaced scores exist to match code that takes a row's logarithm in each round and over all of them in T. A score of
/// -1e5 leaves a float few digits for the logarithm beside it, so that the weights of a query that sees only itself do
/// not quite add up to 1. exp(log(sum) as rounded - log(sum)) for a sum of powers relative to `largest`.
template <class T>
double rounding_of_log(const ChunkTile<T>& tile, T largest, double sum) {
  const double shift =
      largest == -tile.own_penalty() ? -tile.o.self_penalty : static_cast<double>(largest) * std::numbers::ln2;
  const double exact = shift + std::log(sum);
  return std::exp(static_cast<double>(static_cast<T>(exact)) - exact);
}

/// Outputs and sums of a head's queries, which grow from round to round.
template <class T>
class JoinedRounds {
 public:
  JoinedRounds(ChunkTile<T>& tile, bool careful, Size length, Heads<T> out, AttentionSums<T> sums)
      : tile_(tile),
        careful_(careful),
        length_(length),
        out_(out),
        sums_(sums),
        total_(static_cast<std::size_t>(length)),
        work_{tile_queries * tile.d},
        product_(work_.take(tile_queries * tile.d)) {
    std::fill_n(sums.largest, length, hidden<T>);
    for (Size i = 0; i < length; ++i) std::fill_n(row(i), tile.d, T{0});
  }

  /// Takes the tile's scores, which are powers of 2 then.
  void take_tile() {
    alignas(64) T top[tile_queries], shift[tile_queries], sum[tile_queries];
    std::fill_n(top, tile_queries, hidden<T>);
    take_largest(tile_.s, tile_.keys(), tile_.width, top);
    for (Size i = 0; i < tile_.width; ++i) shift[i] = top[i] == hidden<T> ? T{0} : top[i];
    take_powers(tile_.s, tile_.keys(), tile_.width, shift, sum);
    if (tile_.factor) {
      tile_.draw_factors();
      for (Size i = 0; i < tile_.keys() * tile_queries; ++i) tile_.s[i] *= tile_.factor[i];
    }
    product_of_tile(careful_, Left::columns, tile_.count, tile_.d, tile_.keys(), tile_.s, tile_.v, tile_.d, product_,
                    tile_.d, false);
    join(top, shift, sum);
  }

  /// Divides by the sums and leaves them for the backward pass. False if an output is not finite.
  bool finish() {
    bool finite = true;
    for (Size i = 0; i < length_; ++i) {
      double all = total_[static_cast<std::size_t>(i)];
      T &largest = sums_.largest[i], &inverse = sums_.inverse[i];
      if (largest == hidden<T>) largest = 0;
      if (all != 0 && tile_.o.self_replaced) all *= rounding_of_log(tile_, largest, all);
      inverse = all == 0 ? T{0} : static_cast<T>(1 / all);
      for (Size j = 0; j < tile_.d; ++j) row(i)[j] *= inverse;
      finite &= all_finite(row(i), tile_.d);
    }
    return finite;
  }

 private:
  T* row(Size i) const { return out_.row(tile_.b, tile_.h, i); }

  /// Adds the product, of powers relative to `shift` that add up to `sum`, to what earlier rounds gave.
  void join(const T* top, const T* shift, const T* sum) {
    alignas(64) T keep[tile_queries] = {}, take[tile_queries] = {};
    for (Size i = 0; i < tile_.count; ++i) {
      T& known = sums_.largest[tile_.query(i)];
      const T joint = std::max(known, top[i]), base = joint == hidden<T> ? T{0} : joint;
      keep[i] = known - base;
      take[i] = shift[i] - base;
      known = joint;
    }
    const auto power = [](auto v) ATTUNE_SIMD { return exp2_below(v); };
    map(keep, keep, tile_.width, power);
    map(take, take, tile_.width, power);
    for (Size i = 0; i < tile_.count; ++i) {
      if (sum[i] == 0) continue;
      double found = static_cast<double>(sum[i]);
      if (tile_.o.self_replaced) found *= rounding_of_log(tile_, shift[i], found);
      double& all = total_[static_cast<std::size_t>(tile_.query(i))];
      all = all * static_cast<double>(keep[i]) + found * static_cast<double>(take[i]);
      T *y = row(tile_.query(i)), *found_row = product_ + i * tile_.d;
      if (careful_ && keep[i] == 0) std::fill_n(y, tile_.d, T{0});
      if (careful_ && take[i] == 0) std::fill_n(found_row, tile_.d, T{0});
      for (Size j = 0; j < tile_.d; ++j) y[j] = keep[i] * y[j] + take[i] * found_row[j];
    }
  }

  ChunkTile<T>& tile_;
  const bool careful_;
  const Size length_;
  const Heads<T> out_;
  const AttentionSums<T> sums_;
  std::vector<double> total_;
  Workspace<T> work_;
  T* const product_;
};

template <class T>
void forward_task(const ChunkPlan& p, Size task, const ChunkedOperands<T>& x, Heads<T> out, AttentionSums<T> sums) {
  ChunkTile<T> tile(p, task, x);
  for (const bool careful : {false, true}) {
    JoinedRounds<T> joined(tile, careful, p.length, out, of_task(sums, p, task));
    tile.for_tiles([&] { joined.take_tile(); });
    if (joined.finish()) return;
  }
}

template <class T>
void scatter_add(const T* from, const std::int32_t* rows, Size count, Size d, Size b, Size h, Heads<T> to) {
  for (Size i = 0; i < count; ++i) {
    T* y = to.row(b, h, rows[i]);
    for (Size j = 0; j < d; ++j) y[j] += from[i * d + j];
  }
}

/// mean[i] = sum_j p_ij dp_ij = dout_i . out_i, divided by the query's sum.
template <class T>
std::vector<T> means_of(const ChunkTile<T>& tile, Size length, Heads<const T> out, AttentionSums<const T> sums,
                        Heads<const T> dout) {
  std::vector<T> means(static_cast<std::size_t>(length));
  for (Size i = 0; i < length; ++i) {
    const T *y = out.row(tile.b, tile.h, i), *g = dout.row(tile.b, tile.h, i), inverse = sums.inverse[i];
    const double dot = sum<4>(hn::ScalableTag<T>(), tile.d, [=](auto step, Size j) ATTUNE_SIMD {
      return hn::Mul(step.load(y + j), step.load(g + j));
    });
    means[static_cast<std::size_t>(i)] = inverse == 0 ? T{0} : static_cast<T>(dot) * inverse;
  }
  return means;
}

/// False if a gradient is not finite.
template <class T>
bool differentiate(const ChunkPlan& p, Size task, bool careful, const ChunkedOperands<T>& x, Heads<const T> out,
                   AttentionSums<const T> all_sums, Heads<const T> dout, const ChunkedGradients<T>& to) {
  ChunkTile<T> tile(p, task, x);
  const AttentionSums<const T> sums = of_task(all_sums, p, task);
  const std::vector<T> means = means_of(tile, p.length, out, sums, dout);
  const Size b = tile.b, h = tile.h, d = p.head_dim, block = tile_queries * d;
  for (const Heads<T>& gradient : {to.dq, to.dk, to.dv})
    for (Size i = 0; i < p.length; ++i) std::fill_n(gradient.row(b, h, i), d, T{0});
  Workspace<T> w{block, block, block, block, tile.rows * tile_queries, tile.rows * d};
  T *q = w.take(block), *dy = w.take(block), *dy_columns = w.take(block), *gq = w.take(block);
  T *g = w.take(tile.rows * tile_queries), *gk = w.take(tile.rows * d);
  const T scale = static_cast<T>(p.settings.scale);
  tile.for_tiles([&] {
    // dy comes divided by the sums, so that powers of 2 can stand for the probabilities.
    alignas(64) T shift[tile_queries] = {}, mean[tile_queries] = {};
    std::int32_t queries[tile_queries];
    Unasked unasked;
    for (Size i = 0; i < tile.count; ++i) {
      const std::int32_t at = queries[i] = tile.query(i);
      const T *from = dout.row(b, h, at), *row = x.q.row(b, h, at), factor = sums.inverse[at];
      for (Size j = 0; j < d; ++j) dy[i * d + j] = factor == 0 ? T{0} : from[j] * factor;
      for (Size j = 0; j < d; ++j) q[i * d + j] = row[j] * scale;
      if (careful) unasked.find(i, from, d);
      shift[i] = sums.largest[at];
      mean[i] = means[static_cast<std::size_t>(at)];
    }
    transpose_rows([&](Size i) { return dy + i * d; }, tile.count, d, T{1}, dy_columns);
    tile_product(Left::rows, tile.keys(), tile.width, d, tile.v, d, dy_columns, tile_queries, g, tile_queries, false);
    if (tile.factor) tile.draw_factors();
    if (careful)
      take_gradients<true>(tile.s, g, tile.factor, tile.keys(), tile.width, shift, mean);
    else
      take_gradients<false>(tile.s, g, tile.factor, tile.keys(), tile.width, shift, mean);
    unasked.clear_columns(tile.s, tile.keys(), careful ? tile.count : 0);
    unasked.clear_columns(g, tile.keys(), careful ? tile.count : 0);
    if (p.settings.self_last && p.settings.self_replaced)
      for (Size r = 0; r < tile.keys(); ++r)
        for (Size i = 0; i < tile.count; ++i)
          if (tile.window.keys()[r] == queries[i]) g[r * tile_queries + i] = 0;
    product_of_tile(careful, Left::columns, tile.count, d, tile.keys(), g, tile.k, d, gq, d, false);
    for (Size i = 0; i < tile.count * d; ++i) gq[i] *= scale;
    scatter_add(gq, queries, tile.count, d, b, h, to.dq);
    product_of_tile(careful, Left::rows, tile.keys(), d, tile.count, g, q, d, gk, d, false);
    scatter_add(gk, tile.window.keys(), tile.keys(), d, b, h, to.dk);
    product_of_tile(careful, Left::rows, tile.keys(), d, tile.count, tile.s, dy, d, gk, d, false);
    scatter_add(gk, tile.window.keys(), tile.keys(), d, b, h, to.dv);
  });
  bool finite = true;
  for (const Heads<T>& gradient : {to.dq, to.dk, to.dv})
    for (Size i = 0; i < p.length; ++i) finite &= all_finite(gradient.row(b, h, i), d);
  return finite;
}

template <class T>
void backward_task(const ChunkPlan& p, Size task, const ChunkedOperands<T>& x, Heads<const T> out,
                   AttentionSums<const T> sums, Heads<const T> dout, const ChunkedGradients<T>& to) {
  if (!differentiate(p, task, false, x, out, sums, dout, to)) differentiate(p, task, true, x, out, sums, dout, to);
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
void chunked_attention(const ChunkPlan& p, const ChunkedOperands<T>& x, Heads<T> out, AttentionSums<T> sums) {
  parallel_for(p.batch * p.heads, 1, [&](Size begin, Size end) {
    for (Size task = begin; task < end; ++task) kernels<T>().forward(p, task, x, out, sums);
  });
}

template <class T>
void chunked_attention_grad(const ChunkPlan& p, const ChunkedOperands<T>& x, Heads<const T> out,
                            AttentionSums<const T> sums, Heads<const T> dout, const ChunkedGradients<T>& gradients) {
  parallel_for(p.batch * p.heads, 1, [&](Size begin, Size end) {
    for (Size task = begin; task < end; ++task) kernels<T>().backward(p, task, x, out, sums, dout, gradients);
  });
}

#define ATTUNE_INSTANTIATE(T)                                                                               \
  template void chunked_attention(const ChunkPlan&, const ChunkedOperands<T>&, Heads<T>, AttentionSums<T>); \
  template void chunked_attention_grad(const ChunkPlan&, const ChunkedOperands<T>&, Heads<const T>,         \
                                       AttentionSums<const T>, Heads<const T>, const ChunkedGradients<T>&);
ATTUNE_INSTANTIATE(float)
ATTUNE_INSTANTIATE(double)
#undef ATTUNE_INSTANTIATE

std::string ChunkSettings::str() const {
  const auto flag = [](bool on) { return on ? "true" : "false"; };
  return "rounds = " + std::to_string(rounds) + ", chunk = " + std::to_string(chunk) +
         ", before = " + std::to_string(before) + ", after = " + std::to_string(after) + ", ring = " + flag(ring) +
         ", causal = " + flag(causal) + ", same_bucket = " + flag(same_bucket) +
         ", correct_duplicates = " + flag(correct_duplicates) + ", self_last = " + flag(self_last);
}

}  // namespace attune::kernels
#endif
