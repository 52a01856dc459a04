#include "autograd/kernels/attention/causal_product.h"

#include <algorithm>
#include <cmath>

#include "autograd/kernels/buffer.h"
#include "autograd/kernels/tile_product.h"
#include "autograd/runtime/parallel.h"

namespace attune::kernels {

namespace {

constexpr Size chunk = 64;  ///< positions whose products with each other are made
constexpr Size block = 32;  ///< queries of a chunk that see as many of its keys
/// Fewer heads than this cut their length into segments, each of which begins with the state before it: the sums of
/// keys and values, which are then made twice.
constexpr Size enough_tasks = 8;
constexpr Size least_segment = 4 * chunk;

template <class T>
bool all_finite(const T* x, Size n) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Size i = 0; i < n; ++i) sum += x[i] * T{0};
  return sum == 0;
}

/// Rows [begin, end) of one head, on one thread.
template <class T>
class CausalHead {
 public:
  CausalHead(const CausalPlan& plan, Size task, Heads<const T> q, Heads<const T> k, Heads<const T> v, Heads<T> out)
      : p_(plan), b_(task / plan.heads), h_(task % plan.heads), q_(q), k_(k), v_(v), out_(out) {}

  /// state [features, values] += the sum of k_j^T v_j over [begin, end).
  void add(Size begin, Size end, T* state) const {
    if (is_finite(k_, p_.features, begin, end) && is_finite(v_, p_.values, begin, end)) {
      tile_product(Left::columns, p_.features, p_.values, end - begin, k_.row(b_, h_, begin), k_.row_stride,
                   v_.row(b_, h_, begin), v_.row_stride, state, p_.values, true);
      return;
    }
    for (Size j = begin; j < end; ++j)
      for (Size f = 0; f < p_.features; ++f) add_row(k_.row(b_, h_, j)[f], v_.row(b_, h_, j), state + f * p_.values);
  }

  /// The outputs of [begin, end), a chunk, after those of `state`. `work` has room for a chunk's keys and scores.
  void write(Size begin, Size end, const T* state, bool finite_state, T* work) const {
    if (!finite_state || !is_finite(q_, p_.features, begin, end) || !is_finite(k_, p_.features, begin, end) ||
        !is_finite(v_, p_.values, begin, end))
      return write_carefully(begin, end, state);
    const Size count = end - begin;
    T *const keys = work, *const scores = work + p_.features * chunk;
    for (Size j = 0; j < count; ++j) {
      const T* const row = k_.row(b_, h_, begin + j);
      for (Size f = 0; f < p_.features; ++f) keys[f * chunk + j] = row[f];
    }
    for (Size i = 0; i < count; i += block) {
      const Size rows = std::min(block, count - i);
      // The keys that the block's queries see, all of them or not.
      const Size from = p_.reverse ? i : 0, to = p_.reverse ? count : i + rows;
      tile_product(Left::rows, rows, to - from, p_.features, q_.row(b_, h_, begin + i), q_.row_stride, keys + from,
                   chunk, scores, chunk, false);
      for (Size r = 0; r < rows; ++r) {
        T* const row = scores + r * chunk - from;  // by the keys' places in the chunk
        if (p_.reverse)
          std::fill(row + from, row + i + r, T{0});
        else
          std::fill(row + i + r + 1, row + to, T{0});
      }
      T* const y = out_.row(b_, h_, begin + i);
      tile_product(Left::rows, rows, p_.values, to - from, scores, chunk, v_.row(b_, h_, begin + from), v_.row_stride,
                   y, out_.row_stride, false);
      tile_product(Left::rows, rows, p_.values, p_.features, q_.row(b_, h_, begin + i), q_.row_stride, state, p_.values,
                   y, out_.row_stride, true);
    }
  }

 private:
  bool is_finite(Heads<const T> x, Size d, Size begin, Size end) const {
    bool finite = true;
    for (Size i = begin; i < end; ++i) finite = finite && all_finite(x.row(b_, h_, i), d);
    return finite;
  }

  /// y += factor x, without the terms that have a factor of 0.
  void add_row(T factor, const T* x, T* y) const {
    if (factor == 0) return;
    for (Size c = 0; c < p_.values; ++c)
      if (x[c] != 0) y[c] += factor * x[c];
  }

  /// Without the terms that have a factor of 0.
  void write_carefully(Size begin, Size end, const T* state) const {
    for (Size i = begin; i < end; ++i) {
      const T* const q = q_.row(b_, h_, i);
      T* const y = out_.row(b_, h_, i);
      std::fill_n(y, p_.values, T{0});
      for (Size j = p_.reverse ? i : begin; j < (p_.reverse ? end : i + 1); ++j) {
        const T* const k = k_.row(b_, h_, j);
        T score = 0;
        for (Size f = 0; f < p_.features; ++f)
          if (q[f] != 0 && k[f] != 0) score += q[f] * k[f];
        add_row(score, v_.row(b_, h_, j), y);
      }
      for (Size f = 0; f < p_.features; ++f) add_row(q[f], state + f * p_.values, y);
    }
  }

  const CausalPlan& p_;
  Size b_, h_;
  Heads<const T> q_, k_, v_;
  Heads<T> out_;
};

/// Calls body(begin, end) for the chunks of [begin, end) in the order in which queries see them.
template <class F>
void each_chunk(Size begin, Size end, bool reverse, F&& body) {
  const Size chunks = pieces(end - begin, chunk);
  for (Size i = 0; i < chunks; ++i) {
    const Size at = begin + (reverse ? chunks - 1 - i : i) * chunk;
    body(at, std::min(at + chunk, end));
  }
}

}  // namespace

template <class T>
void causal_product(const CausalPlan& p, Heads<const T> q, Heads<const T> k, Heads<const T> v, Heads<T> out) {
  const Size tasks = p.batch * p.heads, state_size = p.features * p.values;
  if (tasks == 0 || p.length == 0 || p.values == 0) return;
  const Size wanted = tasks >= enough_tasks ? 1 : pieces(enough_tasks, tasks);
  const Size parts = std::max<Size>(std::min(wanted, p.length / least_segment), 1);
  const Size length = pieces(pieces(p.length, parts), chunk) * chunk;  // of a segment
  const Size segments = pieces(p.length, length);
  const Buffer<T> states(tasks * segments * state_size);
  const auto state_of = [&](Size task, Size segment) {
    return states.data() + (task * segments + segment) * state_size;
  };
  const auto head = [&](Size task) { return CausalHead<T>(p, task, q, k, v, out); };
  std::fill_n(states.data(), tasks * segments * state_size, T{0});

  // The state before each segment: first its neighbour's own sum, then with all that lies farther off.
  const Size step = p.reverse ? -1 : 1, first = p.reverse ? segments - 1 : 0;
  parallel_for(tasks * (segments - 1), 1, [&](Size begin, Size end) {
    for (Size i = begin; i < end; ++i) {
      const Size task = i / (segments - 1), segment = first + step * (i % (segments - 1));
      each_chunk(segment * length, std::min((segment + 1) * length, p.length), p.reverse,
                 [&](Size from, Size to) { head(task).add(from, to, state_of(task, segment + step)); });
    }
  });
  for (Size task = 0; task < tasks; ++task)
    for (Size i = 2; i < segments; ++i) {
      const T* const before = state_of(task, first + step * (i - 1));
      T* const state = state_of(task, first + step * i);
      for (Size c = 0; c < state_size; ++c) state[c] += before[c];
    }

  parallel_for(tasks * segments, 1, [&](Size begin, Size end) {
    const Buffer<T> work((p.features + block) * chunk);
    for (Size i = begin; i < end; ++i) {
      const Size task = i / segments, segment = i % segments;
      T* const state = state_of(task, segment);
      bool finite = all_finite(state, state_size);
      each_chunk(segment * length, std::min((segment + 1) * length, p.length), p.reverse, [&](Size from, Size to) {
        head(task).write(from, to, state, finite, work.data());
        head(task).add(from, to, state);
        finite = all_finite(state, state_size);
      });
    }
  });
}

template void causal_product<float>(const CausalPlan&, Heads<const float>, Heads<const float>, Heads<const float>,
                                    Heads<float>);
template void causal_product<double>(const CausalPlan&, Heads<const double>, Heads<const double>, Heads<const double>,
                                     Heads<double>);

}  // namespace attune::kernels
